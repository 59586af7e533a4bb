/** The map of all tiles. */
import { defaults as defaultControls, ScaleLine } from "ol/control.js";
import { createEmpty, extend, isEmpty } from "ol/extent.js";
import { defaults as defaultInteractions } from "ol/interaction.js";
import type Layer from "ol/layer/Layer.js";
import OlTileLayer from "ol/layer/Tile.js";
import VectorLayer from "ol/layer/Vector.js";
import OlMap from "ol/Map.js";
import { fromLonLat, toLonLat } from "ol/proj.js";
import VectorSource from "ol/source/Vector.js";
import XYZ from "ol/source/XYZ.js";
import { Fill, Stroke, Style } from "ol/style.js";
import View from "ol/View.js";
import type { View as Place } from "./address.ts";
import type { Colouring } from "./colours.ts";
import { later } from "./dom.ts";
import type { Group } from "./index.ts";
import { readLand } from "./land.ts";
import type { Tiles } from "./table.ts";
import { TileMap } from "./tilemap.ts";

/** The one other host that this page ever asks, and only when somebody turns it on. */
const BASEMAP = {
  url: "https://tile.openstreetmap.org/{z}/{x}/{y}.png",
  attributions: '© <a href="https://www.openstreetmap.org/copyright">OpenStreetMap</a> contributors',
};
const LAND = new Style({ fill: new Fill({ color: "#e4e0d5" }), stroke: new Stroke({ color: "#a9a495", width: 0.7 }) });
const PADDING = [40, 40, 40, 40];
/** Zoom at which a single tile is shown: its surroundings, too. */
const CLOSE = 11;

export interface MapEvents {
  readonly open: (row: number) => void;
  /** The row under the pointer, or -1, and the pointer's place on the map, in CSS pixels. */
  readonly hover: (row: number, pixel: readonly number[]) => void;
  readonly moved: (place: Place) => void;
}

export class OverviewMap {
  private readonly map: OlMap;
  private readonly tileMap: TileMap;
  private basemap: OlTileLayer<XYZ> | null = null;

  constructor(target: HTMLElement, tiles: Tiles, world: URL, events: MapEvents) {
    this.tileMap = new TileMap(tiles);
    target.tabIndex = 0;
    this.map = new OlMap({
      target,
      layers: [landLayer(world), this.tileMap.layer],
      controls: defaultControls({ rotate: false }).extend([new ScaleLine()]),
      interactions: defaultInteractions({ altShiftDragRotate: false, pinchRotate: false }),
      view: new View({ center: [0, 0], zoom: 1, maxZoom: 18, enableRotation: false, showFullExtent: true }),
    });
    this.map.on("pointermove", (event) => {
      const row = event.dragging ? -1 : this.rowAt(event.pixel);
      this.tileMap.highlight(row);
      target.style.cursor = row < 0 ? "" : "pointer";
      events.hover(row, event.pixel);
    });
    target.addEventListener("pointerleave", () => {
      this.tileMap.highlight(-1);
      events.hover(-1, []);
    });
    this.map.on("singleclick", (event) => {
      const row = this.rowAt(event.pixel);
      if (row >= 0) events.open(row);
    });
    this.map.on(
      "moveend",
      later(150, () => events.moved(this.place())),
    );
  }

  private rowAt(pixel: readonly number[]): number {
    const coordinate = this.map.getCoordinateFromPixel([...pixel]);
    const resolution = this.map.getView().getResolution();
    return coordinate && resolution ? this.tileMap.rowAt(coordinate, resolution) : -1;
  }

  private place(): Place {
    const view = this.map.getView();
    const [x = 0, y = 0] = toLonLat(view.getCenter() ?? [0, 0]);
    return { x, y, scale: view.getZoom() ?? 1 };
  }

  goTo(place: Place): void {
    this.map.getView().setCenter(fromLonLat([place.x, place.y]));
    this.map.getView().setZoom(place.scale);
  }

  /** Show all of some boxes: west, south, east, north in degrees. */
  fit(boxes: Iterable<readonly number[]>): void {
    const extent = createEmpty();
    for (const box of boxes) {
      if (box.length !== 4) continue;
      const [west = 0, south = 0, east = 0, north = 0] = box;
      const corners = [...fromLonLat([west, south]), ...fromLonLat([east < west ? east + 360 : east, north])];
      extend(extent, corners);
    }
    if (!isEmpty(extent)) this.map.getView().fit(extent, { padding: PADDING, maxZoom: CLOSE });
  }

  addGroup(group: Group): void {
    this.tileMap.addGroup(group);
  }

  show(mask: Uint8Array | null, colouring: Colouring): void {
    this.tileMap.show(mask, colouring);
  }

  highlight(row: number): void {
    this.tileMap.highlight(row);
  }

  setBasemap(on: boolean): void {
    if (on && !this.basemap) {
      this.basemap = new OlTileLayer({
        source: new XYZ({ ...BASEMAP, crossOrigin: "anonymous", referrerPolicy: "origin" }),
      });
      this.map.getLayers().insertAt(0, this.basemap);
    }
    this.basemap?.setVisible(on);
    this.map
      .getLayers()
      .item(on || this.basemap ? 1 : 0)
      .setVisible(!on);
  }

  resize(): void {
    this.map.updateSize();
  }

  /** Hear once what has been asked for is drawn. */
  whenDrawn(work: () => void): void {
    this.map.once("rendercomplete", work);
    this.map.render();
  }
}

/** Coast and borders. The map is of use without them, so that nobody waits for them, nor hears of their failing. */
function landLayer(world: URL): Layer {
  const source = new VectorSource({ attributions: "Made with Natural Earth" });
  readLand(world).then(
    (features) => source.addFeatures(features),
    () => undefined,
  );
  return new VectorLayer({ source, style: LAND });
}
