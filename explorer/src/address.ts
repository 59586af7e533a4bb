/** The state of the page as the part of its address after `#`, so that a link can be sent; and back. */
import { EVERYTHING, type Filter } from "./filters.ts";
import { type Look, STRETCHES, type Stretch } from "./paint.ts";

export const COLOURS = ["area", "valid", "split"] as const;
export type ColourBy = (typeof COLOURS)[number];

export const MODES = ["side", "swipe"] as const;
export type Mode = (typeof MODES)[number];

/** Centre and scale of a view; longitude, latitude and zoom on the map, CRS units and units a pixel in a tile. */
export interface View {
  readonly x: number;
  readonly y: number;
  readonly scale: number;
}

export interface State {
  readonly filter: Filter;
  readonly colour: ColourBy;
  readonly map: View | null;
  readonly tile: { readonly collection: string; readonly id: string } | null;
  readonly mode: Mode;
  /** Keys of the two modalities of the swipe; empty where the page may choose. */
  readonly swipe: readonly [string, string];
  readonly view: View | null;
  /** Looks that differ from the template's, by modality. */
  readonly looks: Readonly<Record<string, Look>>;
}

export const START: State = {
  filter: EVERYTHING,
  colour: "area",
  map: null,
  tile: null,
  mode: "side",
  swipe: ["", ""],
  view: null,
  looks: {},
};

const LIST = ",";
const DEEPEST = 30; // zoom
const LOOK = "look.";

export function encode(state: State): string {
  const parts = new URLSearchParams();
  const put = (name: string, value: string) => {
    if (value) parts.set(name, value);
  };
  const { filter } = state;
  put("collection", filter.collections.join(LIST));
  put("area", filter.areas.join(LIST));
  put("from", filter.from);
  put("to", filter.to);
  put("has", filter.has.join(LIST));
  put("valid", filter.valid > 0 ? String(filter.valid) : "");
  put("split", filter.splits.map(encodeURIComponent).join(LIST));
  put("colour", state.colour === START.colour ? "" : state.colour);
  put("map", state.map ? [state.map.x.toFixed(5), state.map.y.toFixed(5), state.map.scale.toFixed(2)].join(LIST) : "");
  if (state.tile) {
    put("tile", `${state.tile.collection}/${state.tile.id}`);
    put("mode", state.mode === START.mode ? "" : state.mode);
    put("swipe", state.swipe[0] && state.swipe[1] ? state.swipe.join(LIST) : "");
    put(
      "view",
      state.view ? [state.view.x, state.view.y, state.view.scale].map((value) => +value.toFixed(6)).join(LIST) : "",
    );
    for (const [key, look] of Object.entries(state.looks)) put(LOOK + key, encodeLook(look));
  }
  // Slashes and commas may stand in a fragment as they are, and read better.
  return parts.toString().replaceAll("%2C", ",").replaceAll("%2F", "/").replaceAll("%3A", ":").replaceAll("%7E", "~");
}

export function decode(fragment: string): State {
  const parts = new URLSearchParams(fragment.replace(/^#/, ""));
  const list = (name: string) => (parts.get(name) ?? "").split(LIST).filter(Boolean);
  const [, collection, id] = /^([^/]+)\/([^/]+)$/.exec(parts.get("tile") ?? "") ?? [];
  const swipe = list("swipe");
  const looks: Record<string, Look> = {};
  for (const [name, value] of parts) {
    const look = name.startsWith(LOOK) ? decodeLook(value) : null;
    if (look) looks[name.slice(LOOK.length)] = look;
  }
  return {
    filter: {
      collections: list("collection"),
      areas: list("area"),
      from: day(parts.get("from")),
      to: day(parts.get("to")),
      has: list("has"),
      valid: Math.min(100, Math.max(0, Number(parts.get("valid")) || 0)),
      splits: list("split").map(safeDecode),
    },
    colour: COLOURS.find((name) => name === parts.get("colour")) ?? START.colour,
    map: onEarth(view(list("map"))),
    tile: collection && id ? { collection, id } : null,
    mode: MODES.find((name) => name === parts.get("mode")) ?? START.mode,
    swipe: [swipe[0] ?? "", swipe[1] ?? ""],
    view: view(list("view")),
    looks,
  };
}

function encodeLook({ bands, stretch }: Look): string {
  return `${bands.join("-")}:${typeof stretch === "string" ? stretch : stretch.join("~")}`;
}

function decodeLook(text: string): Look | null {
  const [bands = "", stretch = ""] = text.split(":");
  const numbers = bands.split("-").map(Number);
  const sound =
    (numbers.length === 1 || numbers.length === 3) && numbers.every((band) => Number.isInteger(band) && band > 0);
  const found = decodeStretch(stretch);
  return sound && found ? { bands: numbers, stretch: found } : null;
}

function decodeStretch(text: string): Stretch | null {
  const known = STRETCHES.find((name) => name === text);
  if (known) return known;
  const [low, high] = text.split("~").map((part) => (part ? Number(part) : Number.NaN));
  return low !== undefined && high !== undefined && low < high && Number.isFinite(high - low) ? [low, high] : null;
}

/** A day that there is: `Date` takes the 30th of February for the 2nd of March. */
function day(text: string | null): string {
  if (!text || !/^[1-9]\d{3}-\d{2}-\d{2}$/.test(text) || Number.isNaN(Date.parse(text))) return "";
  return new Date(text).toISOString().startsWith(text) ? text : "";
}

function view(parts: readonly string[]): View | null {
  const [x, y, scale] = parts.map(Number);
  const sound = parts.length === 3 && [x, y, scale].every(Number.isFinite) && (scale as number) > 0;
  return sound ? { x: x as number, y: y as number, scale: scale as number } : null;
}

function onEarth(place: View | null): View | null {
  return place && Math.abs(place.x) <= 540 && Math.abs(place.y) <= 90 && place.scale <= DEEPEST ? place : null;
}

function safeDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
