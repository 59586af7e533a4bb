/** Which tiles are chosen, and which values there are to choose from. */
import { NO_SPLIT, type Tiles } from "./table.ts";

export interface Filter {
  readonly collections: readonly string[];
  /** `collection/area`. */
  readonly areas: readonly string[];
  /** Days, `2021-06-18`, both included; empty is open. */
  readonly from: string;
  readonly to: string;
  /** Modalities, of which a tile must have every one. */
  readonly has: readonly string[];
  /** Percent. */
  readonly valid: number;
  readonly splits: readonly string[];
}

export const EVERYTHING: Filter = { collections: [], areas: [], from: "", to: "", has: [], valid: 0, splits: [] };

export function isEverything(filter: Filter): boolean {
  return JSON.stringify(filter) === JSON.stringify(EVERYTHING);
}

export interface Chosen {
  /** 1 for every chosen row. */
  readonly mask: Uint8Array;
  readonly count: number;
}

export function choose(tiles: Tiles, filter: Filter): Chosen {
  const collections = among(tiles.collections.values, filter.collections);
  const areas = among(tiles.areas.values, filter.areas);
  const splits = among(tiles.splits.values, filter.splits);
  const wanted = tiles.bitsOf(filter.has);
  const from = filter.from ? Date.parse(firstMoment(filter.from)) : Number.NEGATIVE_INFINITY;
  const to = filter.to ? Date.parse(lastMoment(filter.to)) : Number.POSITIVE_INFINITY;
  const dated = Boolean(filter.from || filter.to);
  const mask = new Uint8Array(tiles.count);
  let count = 0;
  if (from > to) return { mask, count };
  for (let row = 0; row < tiles.count; row++) {
    const start = tiles.start[row] ?? Number.NaN;
    const end = tiles.end[row] ?? Number.NaN;
    if (collections && !collections[tiles.collection[row] ?? 0]) continue;
    if (areas && !areas[tiles.area[row] ?? 0]) continue;
    if (splits && !splits[tiles.split[row] ?? NO_SPLIT]) continue;
    if (((tiles.has[row] ?? 0) & wanted) >>> 0 !== wanted) continue;
    if (filter.valid > 0 && !((tiles.valid[row] ?? 0) >= filter.valid)) continue;
    if (dated && !(end >= from && start <= to)) continue;
    mask[row] = 1;
    count++;
  }
  return { mask, count };
}

/** The interval that the Python client is asked for, and that `choose` compares with. */
export function firstMoment(day: string): string {
  return `${day}T00:00:00Z`;
}

export function lastMoment(day: string): string {
  return `${day}T23:59:59.999999Z`; // the index counts microseconds
}

/** How many tiles have each value of a column of codes. */
export function counts(codes: ArrayLike<number>, length: number, values: number): number[] {
  const found = new Array<number>(values).fill(0);
  for (let row = 0; row < length; row++) {
    const value = codes[row] ?? 0;
    if (value < values) found[value] = (found[value] ?? 0) + 1;
  }
  return found;
}

function among(values: readonly string[], wanted: readonly string[]): boolean[] | null {
  return wanted.length ? values.map((value) => wanted.includes(value)) : null;
}
