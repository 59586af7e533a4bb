/** The index of a collection (stac-geoparquet) -> rows of `Tiles`, by byte ranges, one row group after the other. */
import { type AsyncBuffer, type FileMetaData, parquetMetadataAsync, parquetRead, type RowGroup } from "hyparquet";
import { wkbToGeojson } from "hyparquet/src/wkb.js";
import { decompressLz4Raw, decompressZstd } from "hyparquet-compressors";
import { Trouble } from "./errors.ts";
import { getRange } from "./http.ts";
import type { Collection } from "./release.ts";
import { code, type Tiles } from "./table.ts";

/** What a map, a filter or a selection asks of a tile. */
const COLUMNS = ["id", "bbox", "datetime", "start_datetime", "end_datetime", "dream:area", "dream:valid_percent"];
const ABSENT = "dream:absent";
const SPLIT = /(^|:)split$/;
/** Bytes at the end of an index that are fetched first; the footer of a small one is among them. */
const TAIL = 1 << 18;
/** Requests under way at a time: a browser sends no more to one server over HTTP/1.1. */
const AT_ONCE = 6;

/** What `catalog-builder build` packs an index with, and what it did once; others would make the page larger. */
const compressors = {
  LZ4_RAW: decompressLz4Raw,
  ZSTD: (input: Uint8Array, size: number) => decompressZstd(input, new Uint8Array(size)),
};

/** An index of which the footer is known. */
export interface Index {
  readonly url: string;
  readonly metadata: FileMetaData;
  readonly rows: number;
  readonly collection: Collection;
}

export async function openIndex(collection: Collection): Promise<Index> {
  const url = collection.index.href;
  const tail = await getTail(url);
  try {
    const metadata = await parquetMetadataAsync(tail, { initialFetchSize: TAIL, geoparquet: false });
    return { url, metadata, rows: Number(metadata.num_rows), collection };
  } catch (error) {
    if (error instanceof Trouble) throw error;
    throw damaged(url, error);
  }
}

/** The file as its last bytes, which are here already, and the rest, which is fetched. */
async function getTail(url: string): Promise<AsyncBuffer> {
  const { data: first, size } = await getRange(url, 0, 4);
  if (!Number.isFinite(size)) {
    throw new Trouble(
      `The server of ${url} hides how large it is from pages of other hosts: its CORS settings have to expose Content-Range, as those of \`catalog-builder policy\` do.`,
    );
  }
  if (new TextDecoder().decode(first) !== "PAR1") throw new Trouble(`${url} is no parquet file.`);
  return { byteLength: size, slice: async (start, end = size) => (await getRange(url, start, end)).data };
}

/** Names of the columns that this index has of those that the page can use. */
function wanted(index: Index): { columns: string[]; split: string } {
  const top = new Set(index.metadata.row_groups[0]?.columns.map((chunk) => chunk.meta_data?.path_in_schema[0] ?? ""));
  const split = [...top].find((name) => SPLIT.test(name)) ?? "";
  return { columns: [...COLUMNS, ABSENT, split].filter((name) => name && top.has(name)), split };
}

/** Rows of `Tiles` that stand in one row group, and their outlines for whoever looks closely. */
export interface Group {
  readonly first: number;
  readonly rows: number;
  /** The outer rings of each tile's footprint, in degrees. */
  readonly outlines: () => Promise<Ring[][]>;
}

export type Ring = ReadonlyArray<readonly number[]>;

/** Read all indexes into `tiles`, in their order; `progress` hears of each row group. */
export async function readIndexes(
  indexes: readonly Index[],
  tiles: Tiles,
  progress: (group: Group) => void,
): Promise<void> {
  const jobs = indexes.flatMap((index) => {
    const collection = tiles.addCollection(index.collection.id, Object.keys(index.collection.item_assets));
    const { columns, split } = wanted(index);
    tiles.splitColumns[collection] = split;
    let start = 0;
    return index.metadata.row_groups.map((group) => {
      const rowStart = start;
      start += Number(group.num_rows);
      const read = () => readGroup(index, group, rowStart, columns);
      const outlines = () => readOutlines(index, group, rowStart);
      return { rows: Number(group.num_rows), collection, split, read, outlines };
    });
  });
  const reading: Promise<Columns>[] = [];
  for (const [number, { collection, rows, split, outlines }] of jobs.entries()) {
    for (const job of jobs.slice(reading.length, number + AT_ONCE)) {
      const columns = job.read();
      columns.catch(() => undefined); // it is thrown where it is waited for
      reading.push(columns);
    }
    const columns = (await reading[number]) as Columns;
    delete reading[number];
    const first = tiles.count;
    append(tiles, collection, columns, rows, split);
    progress({ first, rows, outlines });
  }
}

type Columns = Map<string, ArrayLike<unknown>>;

/** Some columns of one row group, by one request: what lies between them is little. */
async function readGroup(index: Index, group: RowGroup, rowStart: number, columns: string[]): Promise<Columns> {
  const [first, last] = span(group, columns);
  const { data } = await getRange(index.url, first, last);
  const file: AsyncBuffer = {
    byteLength: last,
    slice: (start, end = last) => {
      if (start < first || end > last) throw new Error(`bytes ${start} to ${end} were not asked for`);
      return data.slice(start - first, end - first);
    },
  };
  const found: Columns = new Map();
  try {
    await parquetRead({
      file,
      metadata: index.metadata,
      columns,
      rowStart,
      rowEnd: rowStart + Number(group.num_rows),
      compressors,
      geoparquet: false,
      utf8: false, // text says that it is text; a geometry is bytes
      onChunk: ({ columnName, columnData }) => {
        const before = found.get(columnName);
        found.set(columnName, before ? [...Array.from(before), ...Array.from(columnData)] : columnData);
      },
    });
  } catch (error) {
    throw damaged(index.url, error);
  }
  return found;
}

async function readOutlines(index: Index, group: RowGroup, rowStart: number): Promise<Ring[][]> {
  const columns = await readGroup(index, group, rowStart, ["geometry"]);
  return Array.from(columns.get("geometry") ?? [], (value) => {
    const bytes = value as Uint8Array;
    const geometry = wkbToGeojson({ view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), offset: 0 });
    if (geometry.type === "Polygon") return [geometry.coordinates[0] as Ring];
    return geometry.type === "MultiPolygon" ? geometry.coordinates.map((polygon) => polygon[0] as Ring) : [];
  });
}

function span(group: RowGroup, columns: readonly string[]): [number, number] {
  let [first, last] = [Number.POSITIVE_INFINITY, 0];
  for (const { meta_data: chunk } of group.columns) {
    if (!chunk || !columns.includes(chunk.path_in_schema[0] ?? "")) continue;
    const start = Number(chunk.dictionary_page_offset ?? chunk.data_page_offset);
    first = Math.min(first, start);
    last = Math.max(last, start + Number(chunk.total_compressed_size));
  }
  return [first, last];
}

function append(tiles: Tiles, collection: number, columns: Columns, rows: number, splitColumn: string): void {
  const column = (name: string) => columns.get(name) ?? [];
  const [ids, boxes, areas] = [column("id"), column("bbox"), column("dream:area")];
  const [when, start, end] = [column("datetime"), column("start_datetime"), column("end_datetime")];
  const [valid, absent, split] = [column("dream:valid_percent"), column(ABSENT), column(splitColumn)];
  for (let number = 0; number < rows; number++) {
    const row = tiles.count++;
    const box = boxes[number] as { xmin: number; ymin: number; xmax: number; ymax: number };
    const both = start[number] != null && end[number] != null;
    tiles.ids.push(String(ids[number]));
    tiles.collection[row] = collection;
    tiles.area[row] = code(tiles.areas, `${tiles.collections.values[collection]}/${areas[number]}`);
    tiles.bbox.set([box.xmin, box.ymin, box.xmax + (box.xmax < box.xmin ? 360 : 0), box.ymax], 4 * row);
    tiles.start[row] = time(both ? start[number] : when[number]);
    tiles.end[row] = time(both ? end[number] : when[number]);
    tiles.valid[row] = Number(valid[number] ?? Number.NaN);
    tiles.setAbsent(row, collection, (absent[number] as string[] | undefined) ?? []);
    if (split[number] != null) tiles.split[row] = code(tiles.splits, String(split[number]));
  }
}

function time(value: unknown): number {
  return value instanceof Date ? value.getTime() : Number.NaN;
}

function damaged(url: string, error: unknown): Trouble {
  if (error instanceof Trouble) return error;
  const why = error instanceof Error ? error.message : String(error);
  return new Trouble(`${url} cannot be read as an index (${why}): is it whole? \`catalog-builder verify\` tells.`);
}
