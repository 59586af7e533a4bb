/** The chosen tiles as text that somebody can run: Python, `aws s3 sync`, addresses. */
import { counts, type Filter, firstMoment, isEverything, lastMoment } from "./filters.ts";
import { areaFolder, assetHref, CATALOG, collectionHref, itemHref } from "./layout.ts";
import type { Tiles } from "./table.ts";

/** Where a release can be synchronised from. */
export interface Bucket {
  readonly url: string;
  readonly endpoint: string;
}

/** Hosts that name a service for buckets, the bucket before it or as the first part of the path. */
const SERVICE = /^(?:(?<bucket>.+)\.)?s3[.-](?<rest>.+)$/;
const LOOPBACK = /^(?:localhost|127\..+|\[::1\])$/;

/** The bucket behind a web address; null where the address does not tell. */
export function bucketOf(root: URL): Bucket | null {
  if (!/^https?:$/.test(root.protocol)) return null;
  const path = root.pathname.replace(/^\/+|\/+$/g, "");
  const service = SERVICE.exec(root.hostname)?.groups;
  if (!service && !LOOPBACK.test(root.hostname)) return null;
  const parts = [...(service?.bucket ? [service.bucket] : []), ...(path ? [path] : [])];
  if (!parts.length) return null;
  const amazon = root.hostname.endsWith(".amazonaws.com");
  const port = root.port ? `:${root.port}` : "";
  const host = service?.bucket ? root.hostname.slice(service.bucket.length + 1) : root.hostname;
  return { url: `s3://${parts.join("/")}`, endpoint: amazon ? "" : `${root.protocol}//${host}${port}` };
}

export function asPython(root: URL, tiles: Tiles, filter: Filter): string {
  if (!collectionsOf(tiles, filter).length || (filter.to && filter.from > filter.to))
    return "# No tile of this release is like that.\n";
  const lines = ["import catalog_builder", ""];
  lines.push(`client = catalog_builder.open(${python(new URL("catalog.json", root).href)})`);
  const given = [...parameters(tiles, filter)];
  lines.push(given.length ? "search = client.search(" : "search = client.search()");
  for (const [name, value] of given) lines.push(`    ${name}=${value},`);
  if (given.length) lines.push(")");
  lines.push("items = search.item_collection()", 'print(len(items), "tiles")');
  return `${lines.join("\n")}\n`;
}

function* parameters(tiles: Tiles, filter: Filter): Generator<[string, string]> {
  const collections = collectionsOf(tiles, filter);
  if (collections.length < tiles.collections.values.length) {
    yield ["collections", `[${collections.map(python).join(", ")}]`];
  }
  if (filter.from || filter.to) {
    const ends = [filter.from ? firstMoment(filter.from) : "..", filter.to ? lastMoment(filter.to) : ".."];
    yield ["datetime", python(ends.join("/"))];
  }
  const clauses = [...conditions(tiles, filter, collections)];
  if (clauses.length) yield ["filter", python(clauses.join(" AND "))];
}

/** The collections of which a tile can be chosen. */
function collectionsOf(tiles: Tiles, filter: Filter): string[] {
  const areas = new Set(filter.areas.map((area) => area.slice(0, area.indexOf("/"))));
  return tiles.collections.values.filter((name, number) => {
    if (filter.collections.length && !filter.collections.includes(name)) return false;
    if (areas.size && !areas.has(name)) return false;
    if (filter.splits.length && !tiles.splitColumns[number]) return false;
    return filter.has.every((modality) => tiles.everHas(number, modality));
  });
}

function* conditions(tiles: Tiles, filter: Filter, collections: readonly string[]): Generator<string> {
  if (filter.areas.length) {
    const known = filter.areas.map(splitArea).filter(([collection]) => collections.includes(collection));
    const shared = new Set(known.map(([collection]) => collection)).size > 1;
    const groups = [...new Set(known.map(([collection]) => collection))].map((collection) => {
      const areas = known.filter(([of]) => of === collection).map(([, name]) => literal(name));
      const clause = `"dream:area" IN (${areas.join(", ")})`;
      return shared ? `(collection = ${literal(collection)} AND ${clause})` : clause;
    });
    yield groups.length > 1 ? `(${groups.join(" OR ")})` : (groups[0] ?? "");
  }
  for (const modality of filter.has) {
    // Where no tile lacks anything, none says so, and a search for the property would be a mistake.
    if (!collections.some((name) => tiles.everLacks(tiles.collections.codes.get(name) ?? -1, modality))) continue;
    yield `("dream:absent" IS NULL OR NOT A_CONTAINS("dream:absent", (${literal(modality)})))`;
  }
  if (filter.valid > 0) yield `"dream:valid_percent" >= ${filter.valid}`;
  if (filter.splits.length) {
    const columns = new Set(
      collections.map((name) => tiles.splitColumns[tiles.collections.codes.get(name) ?? -1] ?? ""),
    );
    const clauses = [...columns].map((column) => `"${column}" IN (${filter.splits.map(literal).join(", ")})`);
    yield clauses.length > 1 ? `(${clauses.join(" OR ")})` : (clauses[0] ?? "");
  }
}

/**
 * `aws s3 sync` of the chosen tiles, area by area, so that no more is listed than those; with the documents that lead to
 * them. The indexes tell of all tiles, and stay where they are.
 */
export function asSync(
  bucket: Bucket | null,
  tiles: Tiles,
  mask: Uint8Array,
  filter: Filter,
  modalities: readonly string[],
): string {
  const source = bucket?.url ?? "s3://BUCKET/PREFIX";
  const access = ["--no-sign-request", ...(bucket?.endpoint ? [`--endpoint-url ${shell(bucket.endpoint)}`] : [])];
  // Without it a file that changed, but not in size, stays as it was.
  const options = ["--exact-timestamps", ...access];
  const command = (folder: string, patterns: readonly string[]) => {
    const [from, to] = folder ? [`${source}/${folder}`, `mirror/${folder}`] : [source, "mirror"];
    const line = `aws s3 sync ${shell(from)} ${shell(to)} ${options.join(" ")}`;
    const included = patterns.map((pattern) => `  --include ${shell(pattern)}`);
    return included.length ? [`${line} --exclude '*'`, ...included].join(" \\\n") : line;
  };
  const note = bucket ? [] : ["# Put the address of the bucket in place of s3://BUCKET/PREFIX."];
  if (isEverything(filter) && !modalities.length) return `${[...note, command("", [])].join("\n")}\n`;
  const chosen = chosenAreas(tiles, mask);
  const collections = new Set(chosen.map(({ folder }) => folder.slice(0, folder.indexOf("/"))));
  const documents = chosen.length ? [CATALOG, ...Array.from(collections, collectionHref)] : [];
  const copies = documents.map(
    (href) => `aws s3 cp ${shell(`${source}/${href}`)} ${shell(`mirror/${href}`)} ${access.join(" ")}`,
  );
  const lines = chosen.flatMap(({ folder, items }) => {
    const patterns = items
      ? ["*catalog.json", ...items.flatMap((item) => wanted(`${item}/`, modalities))]
      : wanted("*", modalities);
    return inParts(modalities.length || items ? patterns : []).map((some) => command(folder, some));
  });
  return `${[...note, ...copies, ...lines].join("\n")}\n`;
}

/** Patterns of the files below some folders: all, or documents and some modalities. */
function wanted(folder: string, modalities: readonly string[]): string[] {
  if (!modalities.length) return [`${folder}*`];
  const inside = folder.endsWith("/") ? folder : `${folder}/`;
  return [folder.endsWith("/") ? `${folder}*.json` : "*.json", ...modalities.map((name) => `${inside}${name}.tif`)];
}

/** A command line has its limits: several commands, each with some of the patterns. */
function inParts(patterns: readonly string[]): string[][] {
  const parts: string[][] = patterns.length ? [] : [[]];
  for (let first = 0; first < patterns.length; first += PATTERNS) parts.push(patterns.slice(first, first + PATTERNS));
  return parts;
}

const PATTERNS = 200;

interface ChosenArea {
  readonly folder: string;
  /** Ids of its chosen items; null where all of them are. */
  readonly items: readonly string[] | null;
}

function chosenAreas(tiles: Tiles, mask: Uint8Array): ChosenArea[] {
  const all = counts(tiles.area, tiles.count, tiles.areas.values.length);
  const rows = new Map<number, number[]>();
  for (let row = 0; row < tiles.count; row++) {
    if (!mask[row]) continue;
    const area = tiles.area[row] ?? 0;
    const known = rows.get(area);
    if (known) known.push(row);
    else rows.set(area, [row]);
  }
  return Array.from(rows, ([area, chosen]) => ({
    folder: areaFolder(tiles.collectionOf(chosen[0] ?? 0), tiles.areaOf(chosen[0] ?? 0)),
    items: all[area] === chosen.length ? null : chosen.map((row) => tiles.idOf(row)),
  }));
}

/** One address a line: of the items, or of the files of some modalities where a tile has them. */
export function asUrls(root: URL, tiles: Tiles, mask: Uint8Array, modalities: readonly string[]): string {
  const lines: string[] = [];
  for (let row = 0; row < tiles.count; row++) {
    if (!mask[row]) continue;
    const place = [tiles.collectionOf(row), tiles.idOf(row)] as const;
    if (!modalities.length) lines.push(new URL(itemHref(...place), root).href);
    const there = modalities.length ? tiles.modalitiesOf(row) : [];
    for (const modality of modalities) {
      if (there.includes(modality)) lines.push(new URL(assetHref(...place, modality), root).href);
    }
  }
  return lines.length ? `${lines.join("\n")}\n` : "";
}

function splitArea(area: string): [string, string] {
  const cut = area.indexOf("/");
  return [area.slice(0, cut), area.slice(cut + 1)];
}

/** A string of CQL2. */
function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** A string of Python. */
function python(text: string): string {
  // JSON's escapes are among Python's, and no lone surrogate comes out of a URL or an id.
  return text.includes('"') && !text.includes("'") && !text.includes("\\") ? `'${text}'` : JSON.stringify(text);
}

/** A word for a POSIX shell. */
function shell(text: string): string {
  return /^[A-Za-z0-9_./:-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
