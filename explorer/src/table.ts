/** What the page knows of every tile, column by column: 100,000 objects would be slow to make and to keep. */
import { Trouble } from "./errors.ts";

export interface Names {
  readonly values: string[];
  readonly codes: Map<string, number>;
}

export function names(): Names {
  return { values: [], codes: new Map() };
}

export function code(table: Names, value: string): number {
  let found = table.codes.get(value);
  if (found === undefined) {
    found = table.values.length;
    table.values.push(value);
    table.codes.set(value, found);
  }
  return found;
}

export const NO_SPLIT = 65535;
/** Modalities of a release, each with a bit of its own. */
const MOST = 31;

/** One row a tile. Rows below `count` are filled; they only grow. */
export class Tiles {
  count = 0;
  readonly ids: string[] = [];
  readonly collections: Names = names();
  /** Area names with their collection, `france/ventoux`, because two collections may have an area of one name. */
  readonly areas: Names = names();
  readonly modalities: Names = names();
  readonly splits: Names = names();
  collection = new Uint8Array();
  area = new Uint32Array();
  split = new Uint16Array();
  /** West, south, east, north in degrees; east is beyond 180 where a tile crosses the antimeridian. */
  bbox = new Float64Array();
  /** First and last moment, milliseconds since 1970, as a search by `datetime` sees them; NaN where there is none. */
  start = new Float64Array();
  end = new Float64Array();
  /** Percent; NaN where the index does not tell. */
  valid = new Float64Array();
  /** A bit for every modality of `modalities` that the tile has. */
  has = new Uint32Array();
  /** The same bits by collection: modalities that its template knows. */
  readonly known: number[] = [];
  /** By collection, the property that tells the split of its tiles; empty where it has none. */
  readonly splitColumns: string[] = [];
  private readonly lacked: number[] = [];

  /** Make room for so many rows; to be called once, before the first. */
  reserve(rows: number): void {
    this.collection = new Uint8Array(rows);
    this.area = new Uint32Array(rows);
    this.split = new Uint16Array(rows).fill(NO_SPLIT);
    this.bbox = new Float64Array(4 * rows);
    this.start = new Float64Array(rows);
    this.end = new Float64Array(rows);
    this.valid = new Float64Array(rows);
    this.has = new Uint32Array(rows);
  }

  /** Name a collection and the modalities that its tiles may have; gives its code. */
  addCollection(id: string, modalities: readonly string[]): number {
    const number = code(this.collections, id);
    for (const name of modalities) code(this.modalities, name);
    if (this.modalities.values.length > MOST) throw new Trouble(`This page knows no more than ${MOST} modalities.`);
    this.known[number] = this.bitsOf(modalities);
    this.lacked[number] = 0;
    return number;
  }

  /** Say which modalities a tile of a collection has: all that it knows but these. */
  setAbsent(row: number, collection: number, absent: readonly string[]): void {
    const bits = this.bitsOf(absent);
    this.has[row] = (this.known[collection] ?? 0) & ~bits;
    this.lacked[collection] = (this.lacked[collection] ?? 0) | bits;
  }

  everHas(collection: number, modality: string): boolean {
    return ((this.known[collection] ?? 0) & this.bitsOf([modality])) !== 0;
  }

  /** Whether some tile of a collection lacks a modality. */
  everLacks(collection: number, modality: string): boolean {
    return ((this.lacked[collection] ?? 0) & this.bitsOf([modality])) !== 0;
  }

  /** The bits of some modalities; one that no collection knows has the bit that no tile has. */
  bitsOf(modalities: readonly string[]): number {
    const bits = modalities.map((name) => 1 << (this.modalities.codes.get(name) ?? MOST));
    return bits.reduce((all, bit) => all | bit, 0) >>> 0;
  }

  collectionOf(row: number): string {
    return this.collections.values[this.collection[row] ?? 0] ?? "";
  }

  areaOf(row: number): string {
    const name = this.areas.values[this.area[row] ?? 0] ?? "";
    return name.slice(name.indexOf("/") + 1);
  }

  idOf(row: number): string {
    return this.ids[row] ?? "";
  }

  modalitiesOf(row: number): string[] {
    return this.modalities.values.filter((_, bit) => ((this.has[row] ?? 0) >>> bit) & 1);
  }

  find(collection: string, id: string): number {
    const wanted = this.collections.codes.get(collection);
    for (let row = 0; row < this.count; row++) {
      if (this.ids[row] === id && this.collection[row] === wanted) return row;
    }
    return -1;
  }
}
