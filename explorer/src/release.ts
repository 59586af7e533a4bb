/** The documents of a release, as far as the page needs them. */
import { Trouble } from "./errors.ts";
import { getJson } from "./http.ts";
import { CATALOG, inside } from "./layout.ts";

export interface Statistics {
  readonly minimum: number;
  readonly maximum: number;
  readonly mean: number;
  readonly stddev: number;
}

export interface ClassEntry {
  readonly value: number;
  readonly name?: string;
  readonly title?: string;
  readonly description?: string;
  readonly color_hint?: string;
  readonly nodata?: boolean;
}

export interface Band {
  readonly name: string;
  readonly description?: string;
  readonly data_type?: string;
  readonly nodata?: number | string;
  readonly unit?: string;
  readonly statistics?: Statistics;
  readonly "classification:classes"?: readonly ClassEntry[];
}

export interface Asset {
  readonly href: string;
  readonly title?: string;
  readonly description?: string;
  readonly license?: string;
  readonly bands?: readonly Band[];
  readonly start_datetime?: string;
  readonly end_datetime?: string;
  readonly "dream:attribution"?: string;
  readonly "dream:synthetic"?: boolean;
  readonly "proj:code"?: string;
  readonly "proj:shape"?: readonly [number, number];
  readonly "proj:transform"?: readonly number[];
  readonly "file:size"?: number;
}

export interface Render {
  readonly title?: string;
  readonly assets: readonly string[];
  readonly bidx?: readonly number[];
  readonly rescale?: ReadonlyArray<readonly [number, number]>;
  readonly colormap?: Readonly<Record<string, readonly number[]>>;
  readonly colormap_name?: string;
}

export interface Link {
  readonly rel: string;
  readonly href: string;
  readonly title?: string;
}

export interface Collection {
  readonly id: string;
  readonly title: string;
  readonly item_assets: Readonly<Record<string, Asset>>;
  readonly renders: Readonly<Record<string, Render>>;
  readonly links: readonly Link[];
  /** West, south, east, north in degrees, of all its items. */
  readonly bbox: readonly number[];
  /** Where the index of its items lies. */
  readonly index: URL;
  readonly url: URL;
}

export interface Item {
  readonly id: string;
  readonly title: string;
  readonly collection: string;
  readonly bbox: readonly number[];
  readonly assets: Readonly<Record<string, Asset>>;
  readonly properties: Readonly<Record<string, unknown>>;
  readonly url: URL;
  /** Of the release. */
  readonly root: URL;
}

export interface Release {
  readonly root: URL;
  readonly title: string;
  readonly collections: readonly Collection[];
}

export async function readRelease(root: URL): Promise<Release> {
  const url = new URL(CATALOG, root);
  const catalog = await getJson(url.href);
  const children = links(catalog).filter((link) => link.rel === "child");
  if (catalog.type !== "Catalog" || !children.length) {
    throw new Trouble(`${url.href} is not the catalog of a release: it links to no collection.`);
  }
  const collections = await Promise.all(children.map((link) => readCollection(root, inside(root, link.href, url))));
  return { root, title: String(catalog.title ?? catalog.id), collections };
}

async function readCollection(root: URL, url: URL): Promise<Collection> {
  const document = await getJson(url.href);
  const index = Object.values<{ href?: string; roles?: string[] }>(document.assets ?? {}).find((asset) =>
    asset.roles?.includes("collection-mirror"),
  );
  if (!index?.href) throw new Trouble(`${url.href} names no index of its items: was it built by catalog-builder?`);
  return {
    id: String(document.id),
    title: String(document.title ?? document.id),
    item_assets: document.item_assets ?? {},
    renders: document.renders ?? {},
    links: links(document),
    bbox: document.extent?.spatial?.bbox?.[0] ?? [],
    index: inside(root, index.href, url),
    url,
  };
}

export async function readItem(root: URL, url: URL): Promise<Item> {
  const document = await getJson(url.href);
  if (document.type !== "Feature" || !document.assets) throw new Trouble(`${url.href} is no STAC item.`);
  return {
    id: String(document.id),
    title: String(document.properties?.title ?? document.id),
    collection: String(document.collection),
    bbox: document.bbox ?? [],
    assets: document.assets,
    properties: document.properties ?? {},
    url,
    root,
  };
}

function links(document: { links?: unknown }): Link[] {
  return Array.isArray(document.links) ? document.links : [];
}
