/** Coast and borders of Natural Earth, as world-atlas has them: drawn on a sphere, here cut for a flat map. */
import type Feature from "ol/Feature.js";
import TopoJSON from "ol/format/TopoJSON.js";
import MultiPolygon from "ol/geom/MultiPolygon.js";
import Polygon from "ol/geom/Polygon.js";
import { getJson } from "./http.ts";

type Ring = number[][];

export async function readLand(url: URL): Promise<Feature[]> {
  const features = new TopoJSON({ layers: ["countries"] }).readFeatures(await getJson(url.href)) as Feature[];
  for (const feature of features) {
    const geometry = feature.getGeometry();
    if (geometry instanceof Polygon) geometry.setCoordinates(geometry.getCoordinates().map(unrolled));
    if (geometry instanceof MultiPolygon) {
      geometry.setCoordinates(geometry.getCoordinates().map((rings) => rings.map(unrolled)));
    }
    geometry?.transform("EPSG:4326", "EPSG:3857");
  }
  return features;
}

/**
 * A ring without jumps from 180 degrees to -180: beyond the antimeridian it goes on counting. A ring around the pole,
 * which is Antarctica's, is closed along the rim of the map.
 */
export function unrolled(ring: Ring): Ring {
  let turn = 0;
  const points = ring.map(([longitude = 0, latitude = 0], at) => {
    const before = ring[at - 1]?.[0] ?? longitude;
    if (longitude - before > 180) turn -= 360;
    if (longitude - before < -180) turn += 360;
    return [longitude + turn, latitude];
  });
  const [first, last] = [points[0]?.[0] ?? 0, points.at(-1)?.[0] ?? 0];
  return Math.abs(last - first) < 180 ? points : [...points, [last, -89.9], [first, -89.9], points[0] as number[]];
}
