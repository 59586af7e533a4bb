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

export function classesOf(asset: Asset, band = 1): readonly ClassEntry[] {
  return asset.bands?.[band - 1]?.["classification:classes"] ?? [];
}

/** A value of a band as people read it: of 32 bit floats the seven digits that they hold. */
export function valueText(value: number | null, band: Band | undefined): string {
  if (value === null) return "no data";
  const found = band?.["classification:classes"]?.find((entry) => entry.value === value);
  if (found) return `${value} ${found.title ?? found.name ?? ""}`.trim();
  const shown = band?.data_type === "float32" ? Number(value.toPrecision(7)) : value;
  return `${shown}${band?.unit ? ` ${band.unit}` : ""}`;
}

/** A share of valid pixels; only what is whole is called so. */
export function percent(value: number): string {
  return Number.isNaN(value) ? "" : `${Math.floor(value * 100) / 100} %`;
}

export function size(bytes: number | undefined): string {
  if (bytes === undefined) return "";
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

export function count(number: number): string {
  return number.toLocaleString("en");
}
