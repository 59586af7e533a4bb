/** Pixels -> colours: the renders of a collection (STAC render extension), and the stretches that people choose. */
import colormaps from "../../catalog_builder/colormaps.json" with { type: "json" };
import type { Pixels } from "./cog.ts";
import type { Asset, Collection, Render } from "./release.ts";

export type Range = readonly [number, number];
type Colour = readonly [number, number, number];

/** How one modality is drawn. */
export interface Look {
  /** Bands counted from 1: one is drawn in grey or by a ramp, three are red, green and blue. */
  readonly bands: readonly number[];
  readonly stretch: Stretch;
}

/** `template`: as its author says; `spread`: the middle 96 % of this tile; `full`: all of it; else from low to high. */
export const STRETCHES = ["template", "spread", "full"] as const;
export type Stretch = (typeof STRETCHES)[number] | Range;

/** What a modality is drawn by: the render that the template has for it, or a stretch by the statistics. */
export function renderOf(key: string, asset: Asset, collection: Collection): Render {
  const named = collection.renders[key];
  const all = [...(named ? [named] : []), ...Object.values(collection.renders)];
  const found = all.find((render) => render.assets.length === 1 && render.assets[0] === key);
  if (found) return { ...found, title: found.title ?? "" };
  const bands = asset.bands ?? [];
  return { title: bands[0]?.name ?? key, assets: [key], bidx: [1], rescale: [around(asset, 1)] };
}

export function defaultLook(render: Render): Look {
  return { bands: render.bidx ?? [1], stretch: "template" };
}

/** Whether a look is the one that the template has. */
export function isDefault(look: Look, render: Render): boolean {
  return look.stretch === "template" && showsOwn(look, render);
}

/** Two standard deviations about the mean. */
function around(asset: Asset, band: number): Range {
  const statistics = asset.bands?.[band - 1]?.statistics;
  if (!statistics) return [0, 255];
  const half = 2 * statistics.stddev || 1;
  return [statistics.mean - half, statistics.mean + half];
}

/** What is drawn: a modality of a tile. */
export interface Subject {
  readonly render: Render;
  readonly asset: Asset;
  /** All of the coarsest overview, from which stretches are taken. */
  readonly sample: readonly Pixels[];
  /** Whether a value of a band, counted from 0, means that nothing is there. */
  readonly isNodata: (band: number, value: number) => boolean;
}

/** A function that paints pixels of one modality; what is not valid stays transparent. */
export type Painter = (pixels: Pixels) => ImageData;

export function makePainter(subject: Subject, look: Look): Painter {
  const { render, isNodata } = subject;
  const own = showsOwn(look, render);
  if (render.colormap && own) return classPainter(render.colormap, (look.bands[0] ?? 1) - 1, isNodata);
  const ranges = look.bands.map((_, channel) => rangeOf(subject, look, channel));
  const ramp = look.bands.length === 1 ? table(own ? render.colormap_name : undefined) : null;
  return (pixels) => paintLevels(pixels, look.bands, ranges, ramp, isNodata);
}

/** Whether a look shows the bands of the template. */
export function showsOwn(look: Look, render: Render): boolean {
  return look.bands.join() === defaultLook(render).bands.join();
}

/** The range of values of a channel that is spread over dark to bright. */
export function rangeOf({ render, asset, sample, isNodata }: Subject, look: Look, channel: number): Range {
  const band = look.bands[channel] ?? 1;
  if (typeof look.stretch !== "string") return look.stretch;
  if (look.stretch === "template") {
    const own = showsOwn(look, render);
    const authored = own ? (render.rescale?.[channel] ?? render.rescale?.[0]) : authoredFor(render, band);
    if (authored && render.colormap_name && own) return localRamp(authored, asset, band);
    return authored ?? around(asset, band);
  }
  const statistics = asset.bands?.[band - 1]?.statistics;
  if (look.stretch === "full" && statistics && statistics.maximum > statistics.minimum) {
    return [statistics.minimum, statistics.maximum];
  }
  return quantiles(sample, band - 1, look.stretch === "spread" ? 0.02 : 0, isNodata);
}

/** The range that a template gives to a band in whichever channel it shows it. */
function authoredFor(render: Render, band: number): Range | undefined {
  const channel = (render.bidx ?? [1]).indexOf(band);
  return channel < 0 ? undefined : (render.rescale?.[channel] ?? render.rescale?.[0]);
}

/**
 * A ramp of colours over the values of this tile, as `catalog-builder figures` draws it: a plain has hills too. The part
 * of the ramp for values below zero, such as the sea, stays theirs.
 */
function localRamp([low, high]: Range, asset: Asset, band: number): Range {
  const statistics = asset.bands?.[band - 1]?.statistics;
  if (!statistics) return [low, high];
  const base = Math.max(statistics.minimum, Math.min(statistics.maximum, 0));
  const below = low < 0 && high > 0 ? -low / high : 0;
  const span = Math.max(statistics.maximum - base, 1);
  return [Math.min(base - below * span, base), base + span];
}

function quantiles(
  sample: readonly Pixels[],
  band: number,
  share: number,
  isNodata: (band: number, value: number) => boolean,
): Range {
  const values = Float64Array.from(sample.flatMap(({ bands }) => Array.from(bands[band] ?? []))).filter(
    (value) => !isNodata(band, value),
  );
  if (!values.length) return [0, 1];
  values.sort();
  const at = (place: number) => values[Math.round(place * (values.length - 1))] ?? 0;
  const [low, high] = [at(share), at(1 - share)];
  return high > low ? [low, high] : [low, low + 1];
}

function paintLevels(
  pixels: Pixels,
  bands: readonly number[],
  ranges: readonly Range[],
  ramp: Uint8ClampedArray | null,
  isNodata: (band: number, value: number) => boolean,
): ImageData {
  const image = new ImageData(pixels.width, pixels.height);
  const { data } = image;
  const channels = bands.map((band, channel) => {
    const [low, high] = ranges[channel] ?? [0, 1];
    return { values: pixels.bands[band - 1] ?? [], band: band - 1, low, scale: 255 / (high - low) };
  });
  const count = pixels.width * pixels.height;
  for (const [channel, { values, band, low, scale }] of channels.entries()) {
    for (let pixel = 0; pixel < count; pixel++) {
      const value = values[pixel] ?? Number.NaN;
      if (isNodata(band, value)) continue;
      const target = 4 * pixel;
      const level = Math.max(0, Math.min(255, Math.round((value - low) * scale)));
      data[target + 3] = (data[target + 3] ?? 0) + 1;
      if (ramp) data.set(ramp.subarray(3 * level, 3 * level + 3), target);
      else if (channels.length === 1) data.fill(level, target, target + 3);
      else data[target + channel] = level;
    }
  }
  // A pixel is shown where every band that is drawn is valid.
  for (let alpha = 3; alpha < data.length; alpha += 4) data[alpha] = data[alpha] === channels.length ? 255 : 0;
  return image;
}

function classPainter(
  colours: Readonly<Record<string, readonly number[]>>,
  band: number,
  isNodata: (band: number, value: number) => boolean,
): Painter {
  const bytes = new Uint8ClampedArray(4);
  const table = new Map<number, number>();
  for (const [value, colour] of Object.entries(colours)) {
    bytes.set([...colour.map(Number), 255].slice(0, 4));
    table.set(Number(value), new Uint32Array(bytes.buffer)[0] ?? 0);
  }
  return (pixels) => {
    const image = new ImageData(pixels.width, pixels.height);
    const target = new Uint32Array(image.data.buffer);
    const labels = pixels.bands[band] ?? [];
    for (let pixel = 0; pixel < target.length; pixel++) {
      const label = labels[pixel] ?? 0;
      if (!isNodata(band, label)) target[pixel] = table.get(label) ?? 0;
    }
    return image;
  };
}

/** 256 colours of a ramp, red, green and blue in turn. */
function table(name: string | undefined): Uint8ClampedArray | null {
  const places = (colormaps as unknown as Record<string, [number, Colour][]>)[name ?? ""];
  if (!places) return null;
  const found = new Uint8ClampedArray(3 * 256);
  for (let level = 0; level < 256; level++) {
    const place = level / 255;
    const next = Math.max(
      1,
      places.findIndex(([at]) => at >= place),
    );
    const [from, first] = places[next - 1] as [number, Colour];
    const [to, second] = places[next] as [number, Colour];
    const share = (place - from) / (to - from);
    for (const channel of [0, 1, 2] as const) {
      found[3 * level + channel] = Math.round(first[channel] + share * (second[channel] - first[channel]));
    }
  }
  return found;
}

/** CSS of a ramp, from low to high. */
export function gradient(render: Render): string {
  const ramp = table(render.colormap_name) ?? (table("gray") as Uint8ClampedArray);
  const stops = Array.from({ length: 9 }, (_, step) => {
    const level = Math.round((255 * step) / 8);
    return `rgb(${ramp[3 * level]} ${ramp[3 * level + 1]} ${ramp[3 * level + 2]})`;
  });
  return `linear-gradient(to right, ${stops.join(", ")})`;
}
