/** Addresses inside a release; the same layout as `catalog_builder/layout.py`. */

import { Trouble } from "./errors.ts";

export const CATALOG = "catalog.json";

/** The root of the release that a page shows: `?release=URL`, else the folder above the page's own. */
export function releaseRoot(page: URL): URL {
  const asked = page.searchParams.get("release");
  if (!asked) return new URL("../", page);
  const url = new URL(asked, page);
  return url.pathname.endsWith(".json") || url.pathname.endsWith("/") ? new URL("./", url) : new URL(`${url.href}/`);
}

/** An address that a document of a release names. Throws where it leads out of the release. */
export function inside(root: URL, href: string, document: URL): URL {
  const url = URL.canParse(href, document) ? new URL(href, document) : null;
  if (url?.href.startsWith(root.href)) return url;
  throw new Trouble(`${document.href} names ${href}, which lies outside of its release; this page does not go there.`);
}

export function collectionHref(collection: string): string {
  return `${collection}/collection.json`;
}

/** The folder of an item, by its id alone: `ventoux_x0066_y0478` is of the area `ventoux`. */
export function itemFolder(collection: string, item: string): string {
  return `${areaFolder(collection, item.replace(/_xm?\d{4,}_ym?\d{4,}$/, ""))}/${item}`;
}

export function areaFolder(collection: string, area: string): string {
  return `${collection}/${area}`;
}

export function itemHref(collection: string, item: string): string {
  return `${itemFolder(collection, item)}/${item}.json`;
}

export function assetHref(collection: string, item: string, modality: string): string {
  return `${itemFolder(collection, item)}/${modality}.tif`;
}
