/** What the colours of one modality mean. */
import { h } from "./dom.ts";
import type { Modality } from "./modality.ts";
import { gradient, type Range, rangeOf, showsOwn } from "./paint.ts";
import { classesOf } from "./words.ts";

const CHANNELS = ["red", "green", "blue"] as const;

export function legend(modality: Modality): HTMLElement {
  const { render, look, asset } = modality;
  const own = showsOwn(look, render);
  if (render.colormap && own) return classLegend(modality);
  const ranges = look.bands.map((_, channel) => rangeOf(modality, look, channel));
  const bands = asset.bands ?? [];
  if (look.bands.length === 1) {
    const band = bands[(look.bands[0] ?? 1) - 1];
    const [low, high] = ends(ranges[0] ?? [0, 1]);
    const bar = h("span", { class: "ramp" });
    bar.style.background = gradient(own ? render : { assets: [] });
    const unit = band?.unit ? ` ${band.unit}` : "";
    return h("p", { class: "range" }, `${low} `, bar, ` ${high}${unit}`);
  }
  const words = look.bands.map((band, channel) => {
    const [low, high] = ends(ranges[channel] ?? [0, 1]);
    const [colour, name] = [CHANNELS[channel], bands[band - 1]?.name ?? String(band)];
    return `${colour === name ? name : `${colour} ${name}`} (${low} to ${high})`;
  });
  return h("p", { class: "range" }, words.join(", "));
}

function ends([low, high]: Range): [string, string] {
  return [String(Number(low.toPrecision(3))), String(Number(high.toPrecision(3)))];
}

function classLegend({ asset, render }: Modality): HTMLElement {
  const entries = classesOf(asset, render.bidx?.[0]).filter((entry) => !entry.nodata && render.colormap?.[entry.value]);
  const rows = entries.map((entry) => {
    const colour = (render.colormap?.[entry.value] ?? []).slice(0, 3).map(Number);
    const swatch = h("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = `rgb(${colour.join(" ")})`;
    return h("li", { title: entry.description ?? "" }, swatch, entry.title ?? entry.name ?? String(entry.value));
  });
  return h("details", { open: true }, h("summary", {}, "Classes"), h("ul", { class: "classes" }, ...rows));
}
