/** What is said of a modality: dates, licence, values. */
import type { Asset, Band, ClassEntry, Collection, Link } from "./release.ts";

export function dates(asset: Asset): string {
  const { start_datetime: start = "", end_datetime: end = "" } = asset;
  if (!start) return "";
  return start === end
    ? `${start.slice(0, 10)} ${start.slice(11, 16)} UTC`
    : `${start.slice(0, 10)} to ${end.slice(0, 10)}`;
}

/** The licence of a modality and, of links such as "s1, s2: legal notice …", the one that speaks of it. */
export function licence(key: string, asset: Asset, collection: Collection): { name: string; link: Link | undefined } {
  const link = collection.links.find(({ rel, title = "" }) => {
    const named = title.split(":")[0]?.split(",") ?? [];
    return rel === "license" && named.some((name) => name.trim() === key);
  });
  const stated = asset.license ?? "";
  const told = link?.title?.slice(link.title.indexOf(":") + 1).trim();
  return { name: stated && stated !== "other" ? stated : (told ?? (stated || "not stated")), link };
}

export function classesOf(asset: Asset): readonly ClassEntry[] {
  return asset.bands?.[0]?.["classification:classes"] ?? [];
}

/** A value of a band as people read it: floats to the seven digits that 32 bits hold. */
export function valueText(value: number | null, band: Band | undefined, classes: readonly ClassEntry[]): string {
  if (value === null) return "no data";
  const found = classes.find((entry) => entry.value === value);
  if (found) return `${value} ${found.title ?? found.name ?? ""}`.trim();
  return `${Number(value.toPrecision(7))}${band?.unit ? ` ${band.unit}` : ""}`;
}

export function size(bytes: number | undefined): string {
  return bytes === undefined ? "" : `${(bytes / 1e6).toFixed(1)} MB`;
}

export function count(number: number): string {
  return number.toLocaleString("en");
}
