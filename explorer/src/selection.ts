/** The chosen tiles as text that somebody can run: Python, `aws s3 sync`, addresses. */
import { type Filter, firstMoment, isEverything, lastMoment } from "./filters.ts";
import { areaFolder, assetHref, itemFolder, itemHref } from "./layout.ts";
import type { Tiles } from "./table.ts";

/** Where a release can be synchronised from. */
export interface Bucket {
  readonly url: string;
  readonly endpoint: string;
}

const AMAZON = /^(?:(?<host>.+)\.)?s3[.-](?:dualstack\.)?(?:[a-z0-9-]+\.)?amazonaws\.com$/;

/** The bucket behind a web address: of Amazon by its host, of others by the first part of the path. */
export function bucketOf(root: URL): Bucket | null {
  if (!/^https?:$/.test(root.protocol)) return null;
  const path = decodeURIComponent(root.pathname).replace(/^\/+|\/+$/g, "");
  const amazon = AMAZON.exec(root.hostname);
  if (amazon) {
    const bucket = amazon.groups?.host;
    return { url: ["s3:/", ...(bucket ? [bucket] : []), path].join("/").replace(/\/$/, ""), endpoint: "" };
  }
  return path ? { url: `s3://${path}`, endpoint: root.origin } : null;
}

export function asPython(root: URL, tiles: Tiles, filter: Filter): string {
  if (!collectionsOf(tiles, filter).length) return "# No tile of this release is like that.\n";
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
  if (filter.splits.length) yield `"${tiles.splitColumn}" IN (${filter.splits.map(literal).join(", ")})`;
}

/** `aws s3 sync` of whole areas, else of the folders of single tiles; documents and indexes come along. */
export function asSync(
  bucket: Bucket | null,
  tiles: Tiles,
  mask: Uint8Array,
  filter: Filter,
  modalities: readonly string[],
): string {
  const source = bucket?.url ?? "s3://BUCKET/PREFIX";
  const options = ["--no-sign-request", ...(bucket?.endpoint ? [`--endpoint-url ${shell(bucket.endpoint)}`] : [])];
  const command = `aws s3 sync ${shell(source)} mirror ${options.join(" ")}`;
  const note = bucket ? [] : ["# Put the address of the bucket in place of s3://BUCKET/PREFIX."];
  if (isEverything(filter) && !modalities.length) return `${[...note, command].join("\n")}\n`;
  const patterns = [...folders(tiles, mask)].flatMap((folder) =>
    modalities.length
      ? [`${folder}/*.json`, ...modalities.map((modality) => `${folder}/*${modality}.tif`)]
      : [`${folder}/*`],
  );
  // A command line has its limits: several commands, each for some of the folders.
  const lines = [...note];
  for (let first = 0; first < patterns.length; first += PATTERNS) {
    const some = patterns.slice(first, first + PATTERNS).map((pattern) => `  --include ${shell(pattern)}`);
    lines.push([`${command} --exclude '*'`, ...some].join(" \\\n"));
  }
  return `${lines.join("\n")}\n`;
}

const PATTERNS = 200;

/** Folders that hold the chosen tiles and no others: areas that are chosen as a whole, tiles of the rest. */
function* folders(tiles: Tiles, mask: Uint8Array): Generator<string> {
  const all = new Map<number, number>();
  const chosen = new Map<number, number>();
  for (let row = 0; row < tiles.count; row++) {
    const area = tiles.area[row] ?? 0;
    all.set(area, (all.get(area) ?? 0) + 1);
    if (mask[row]) chosen.set(area, (chosen.get(area) ?? 0) + 1);
  }
  const told = new Set<number>();
  for (let row = 0; row < tiles.count; row++) {
    const area = tiles.area[row] ?? 0;
    if (!mask[row] || told.has(area)) continue;
    const [collection, name] = [tiles.collectionOf(row), tiles.areaOf(row)];
    if (all.get(area) === chosen.get(area)) {
      told.add(area);
      yield areaFolder(collection, name);
    } else {
      yield itemFolder(collection, tiles.idOf(row));
    }
  }
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
