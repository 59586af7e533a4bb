/** Made-up tiles for tests. */
import { code, Tiles } from "../src/table.ts";

export interface Row {
  readonly id: string;
  readonly collection: string;
  readonly area: string;
  readonly start?: string;
  readonly end?: string;
  readonly valid?: number;
  readonly absent?: readonly string[];
  readonly split?: string;
}

export const MODALITIES = { france: ["s1", "s2", "osm"], usa: ["uavsar_1", "s2"] } as const;

export function made(rows: readonly Row[]): Tiles {
  const tiles = new Tiles();
  tiles.reserve(rows.length);
  for (const [name, modalities] of Object.entries(MODALITIES)) {
    const split = rows.some((row) => row.split && row.collection === name) ? "dream:split" : "";
    tiles.splitColumns[tiles.addCollection(name, modalities)] = split;
  }
  for (const row of rows) {
    const at = tiles.count++;
    const collection = tiles.collections.codes.get(row.collection) ?? 0;
    tiles.ids.push(row.id);
    tiles.collection[at] = collection;
    tiles.area[at] = code(tiles.areas, `${row.collection}/${row.area}`);
    tiles.start[at] = Date.parse(row.start ?? "2019-01-01T00:00:00Z");
    tiles.end[at] = Date.parse(row.end ?? row.start ?? "2019-01-01T00:00:00Z");
    tiles.valid[at] = row.valid ?? 100;
    tiles.setAbsent(at, collection, row.absent ?? []);
    if (row.split) tiles.split[at] = code(tiles.splits, row.split);
  }
  return tiles;
}

export const ROWS: readonly Row[] = [
  { id: "ventoux_x0066_y0478", collection: "france", area: "ventoux", valid: 70 },
  { id: "ventoux_x0067_y0478", collection: "france", area: "ventoux", absent: ["s1"], start: "2021-06-18T10:36:00Z" },
  {
    id: "beauce_x0040_y0520",
    collection: "france",
    area: "beauce",
    start: "2000-02-11T00:00:00Z",
    end: "2021-07-01T00:00:00Z",
  },
  { id: "fear_x0000_y0000", collection: "usa", area: "fear", valid: 99.5, split: "train" },
  { id: "fear_xm0001_y0000", collection: "usa", area: "fear", valid: 10, absent: ["s2"], split: "test" },
];
