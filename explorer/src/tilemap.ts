/**
 * Tiles drawn on a map: a hundred thousand of them, straight from the columns of `Tiles`.
 *
 * OpenLayers' own vector layers want an object for every feature, which for so many takes seconds to make; this layer
 * fills rectangles. From near, where tiles are large, their true outlines are read from the index and drawn instead.
 */

import Layer from "ol/layer/Layer.js";
import type { FrameState } from "ol/Map.js";
import { fromEPSG4326 } from "ol/proj/epsg3857.js";
import type { Colouring } from "./colours.ts";
import type { Group } from "./index.ts";
import type { Tiles } from "./table.ts";

const WORLD = 2 * Math.PI * 6378137;
/** A tile is drawn no smaller than this, in CSS pixels, so that one area in a country is seen. */
const SMALLEST = 6;
/** From this width on tiles are drawn by their outlines. */
const OUTLINED = 14;
const LEFT_OUT = "#c9c9c9";
const LEFT_OUT_EDGE = "#767676";
const INK = "#1a1a1a";
/** Of the inside of a tile that is drawn by its outline: the map is seen through it. */
const OPACITY = 0.6;

interface Part {
  readonly group: Group;
  /** In EPSG:3857. */
  readonly box: readonly [number, number, number, number];
  /** Rings of each tile in EPSG:3857, x and y in turn. */
  rings: Float64Array[][] | null;
  asked: boolean;
}

export class TileMap {
  readonly layer: Layer;
  private readonly canvas = document.createElement("canvas");
  private readonly parts: Part[] = [];
  /** West, south, east, north of every row in EPSG:3857. */
  private boxes = new Float64Array();
  private mask: Uint8Array | null = null;
  private colouring: Colouring = { palette: [INK], of: () => 0, legend: [] };
  private marked = -1;

  constructor(private readonly tiles: Tiles) {
    this.canvas.style.position = "absolute";
    this.layer = new Layer({ render: (frame) => this.render(frame) });
  }

  addGroup(group: Group): void {
    if (!this.boxes.length) this.boxes = new Float64Array(this.tiles.bbox.length);
    const slice = this.tiles.bbox.subarray(4 * group.first, 4 * (group.first + group.rows));
    fromEPSG4326(slice as unknown as number[], this.boxes.subarray(4 * group.first) as unknown as number[], 2, 2);
    let [west, south, east, north] = [Infinity, Infinity, -Infinity, -Infinity];
    for (let at = 4 * group.first; at < 4 * (group.first + group.rows); at += 4) {
      west = Math.min(west, this.boxes[at] as number);
      south = Math.min(south, this.boxes[at + 1] as number);
      east = Math.max(east, this.boxes[at + 2] as number);
      north = Math.max(north, this.boxes[at + 3] as number);
    }
    this.parts.push({ group, box: [west, south, east, north], rings: null, asked: false });
    this.layer.changed();
  }

  /** Draw the rows of a mask by a colouring, others in grey; without a mask all are chosen. */
  show(mask: Uint8Array | null, colouring: Colouring): void {
    this.mask = mask;
    this.colouring = colouring;
    this.layer.changed();
  }

  highlight(row: number): void {
    if (row === this.marked) return;
    this.marked = row;
    this.layer.changed();
  }

  /** The chosen row at a place (EPSG:3857), the nearest where several are; -1 where none is. */
  rowAt(coordinate: readonly number[], resolution: number): number {
    const [x = 0, y = 0] = coordinate;
    const slack = (SMALLEST / 2 + 2) * resolution;
    let [found, nearest] = [-1, Infinity];
    for (const { group, box } of this.parts) {
      if (y < box[1] - slack || y > box[3] + slack) continue;
      for (let row = group.first; row < group.first + group.rows; row++) {
        if (this.mask && !this.mask[row]) continue;
        const [west, south, east, north] = this.box(row);
        if (y < south - slack || y > north + slack) continue;
        const turned = x + Math.round(((west + east) / 2 - x) / WORLD) * WORLD;
        if (turned < west - slack || turned > east + slack) continue;
        const distance = Math.hypot(turned - (west + east) / 2, y - (south + north) / 2);
        if (distance < nearest) [found, nearest] = [row, distance];
      }
    }
    return found;
  }

  private box(row: number): [number, number, number, number] {
    const at = 4 * row;
    const { boxes } = this;
    return [boxes[at] as number, boxes[at + 1] as number, boxes[at + 2] as number, boxes[at + 3] as number];
  }

  private render(frame: FrameState): HTMLElement {
    const { canvas } = this;
    const [width = 0, height = 0] = frame.size;
    canvas.width = Math.round(width * frame.pixelRatio);
    canvas.height = Math.round(height * frame.pixelRatio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const context = canvas.getContext("2d");
    if (!context) return canvas;
    const { center, resolution } = frame.viewState;
    const [west = 0, south = 0, east = 0, north = 0] = frame.extent ?? [];
    for (
      let world = Math.floor((west + WORLD / 2) / WORLD) - 1;
      world <= Math.floor((east + WORLD / 2) / WORLD);
      world++
    ) {
      const left = (center[0] as number) - (width / 2) * resolution - world * WORLD;
      const top = (center[1] as number) + (height / 2) * resolution;
      const scale = frame.pixelRatio / resolution;
      context.setTransform(scale, 0, 0, -scale, -left * scale, top * scale);
      this.drawWorld(context, [west - world * WORLD, south, east - world * WORLD, north], resolution);
    }
    return canvas;
  }

  /** Draw what lies in a box, in units of the map. */
  private drawWorld(context: CanvasRenderingContext2D, view: readonly number[], resolution: number): void {
    const [west = 0, south = 0, east = 0, north = 0] = view;
    const inView = this.parts.filter(
      ({ box }) => box[0] <= east && box[2] >= west && box[1] <= north && box[3] >= south,
    );
    context.lineWidth = 1.2 * resolution;
    const left = [false, true].filter((chosen) => chosen || this.mask);
    // Edges of small tiles first, so that of a crowd only the rim has one.
    for (const edge of [true, false]) {
      const drawn = new Drawn(view, resolution);
      for (const chosen of left) {
        for (const part of inView) this.drawPart(context, part, { chosen, edge }, drawn);
      }
    }
    if (this.marked >= 0) this.drawMarked(context, resolution);
  }

  private drawPart(
    context: CanvasRenderingContext2D,
    part: Part,
    { chosen, edge }: { chosen: boolean; edge: boolean },
    drawn: Drawn,
  ): void {
    const { boxes, mask, colouring } = this;
    const { first, rows } = part.group;
    const { resolution } = drawn;
    const margin = edge ? resolution : 0;
    const line = chosen ? INK : LEFT_OUT_EDGE;
    let current = -2;
    for (let row = first; row < first + rows; row++) {
      if (mask && Boolean(mask[row]) !== chosen) continue;
      const left = boxes[4 * row] as number;
      const bottom = boxes[4 * row + 1] as number;
      const right = boxes[4 * row + 2] as number;
      const top = boxes[4 * row + 3] as number;
      const large = right - left > OUTLINED * resolution;
      if (large && edge) continue;
      const colour = chosen ? colouring.of(row) : -1;
      const wide = Math.max(right - left, SMALLEST * resolution);
      const high = Math.max(top - bottom, SMALLEST * resolution);
      const [x, y] = [(left + right - wide) / 2, (bottom + top - high) / 2];
      if (!drawn.isNew(x, y, wide, high, edge ? Number(chosen) : colour)) continue;
      if (colour !== current) {
        current = colour;
        context.fillStyle = edge ? line : (colouring.palette[colour] ?? LEFT_OUT);
        context.strokeStyle = line;
      }
      if (!large) {
        context.fillRect(x - margin, y - margin, wide + 2 * margin, high + 2 * margin);
        continue;
      }
      this.ask(part);
      const rings = part.rings?.[row - first];
      outline(context, rings?.length ? rings : [Float64Array.of(left, bottom, right, bottom, right, top, left, top)]);
    }
  }

  private drawMarked(context: CanvasRenderingContext2D, resolution: number): void {
    const [left, bottom, right, top] = this.box(this.marked);
    const least = 2 * SMALLEST * resolution;
    const [wide, high] = [Math.max(right - left, least), Math.max(top - bottom, least)];
    context.lineWidth = 2.5 * resolution;
    context.strokeStyle = INK;
    context.strokeRect((left + right - wide) / 2, (bottom + top - high) / 2, wide, high);
  }

  /** Fetch the outlines of a part, once. Where that fails its tiles stay rectangles, which say nearly the same. */
  private ask(part: Part): void {
    if (part.asked) return;
    part.asked = true;
    part.group.outlines().then(
      (outlines) => {
        part.rings = outlines.map((rings, number) =>
          rings.map((ring) => this.project(ring, part.group.first + number)),
        );
        this.layer.changed();
      },
      () => undefined,
    );
  }

  /** A ring in degrees -> EPSG:3857, on the side of the antimeridian where the row's box is. */
  private project(ring: ReadonlyArray<readonly number[]>, row: number): Float64Array {
    const east = (this.tiles.bbox[4 * row + 2] as number) > 180;
    const flat = ring.flatMap(([longitude = 0, latitude = 0]) => [
      longitude + (east && longitude < 0 ? 360 : 0),
      latitude,
    ]);
    return Float64Array.from(fromEPSG4326(flat, undefined, 2, 2));
  }
}

/** What one drawing has put where, so that of a thousand tiles on one pixel only one is drawn. */
class Drawn {
  private readonly columns: number;
  private readonly colours: Int16Array;

  constructor(
    private readonly view: readonly number[],
    readonly resolution: number,
  ) {
    const [west = 0, south = 0, east = 0, north = 0] = view;
    this.columns = Math.ceil((east - west) / resolution) + 1;
    this.colours = new Int16Array(this.columns * (Math.ceil((north - south) / resolution) + 1)).fill(-2);
  }

  /** Whether something is in view, and nothing of its colour stands where it would begin. */
  isNew(x: number, y: number, wide: number, high: number, colour: number): boolean {
    const [west = 0, south = 0, east = 0, north = 0] = this.view;
    if (x > east || x + wide < west || y > north || y + high < south) return false;
    if (wide > SMALLEST * this.resolution || x < west || y < south) return true;
    const at = Math.floor((x - west) / this.resolution) + this.columns * Math.floor((y - south) / this.resolution);
    if (this.colours[at] === colour) return false;
    this.colours[at] = colour;
    return true;
  }
}

function outline(context: CanvasRenderingContext2D, rings: readonly Float64Array[]): void {
  context.beginPath();
  for (const ring of rings) {
    for (let at = 0; at < ring.length; at += 2) {
      if (at) context.lineTo(ring[at] as number, ring[at + 1] as number);
      else context.moveTo(ring[0] as number, ring[1] as number);
    }
    context.closePath();
  }
  context.globalAlpha = OPACITY;
  context.fill();
  context.globalAlpha = 1;
  context.stroke();
}
