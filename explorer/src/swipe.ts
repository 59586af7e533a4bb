/** Two modalities of a tile on one map, with a line between them that moves. */
import { defaults as defaultControls, ScaleLine } from "ol/control.js";
import type TileLayer from "ol/layer/Tile.js";
import OlMap from "ol/Map.js";
import { getRenderPixel } from "ol/render.js";
import type ImageTile from "ol/source/ImageTile.js";
import type View from "ol/View.js";
import { follow, interactions } from "./cursor.ts";
import { h } from "./dom.ts";
import { sentence } from "./errors.ts";
import { legend } from "./legend.ts";
import type { Modality } from "./modality.ts";
import { valueText } from "./words.ts";

type Pair = readonly [left: string, right: string];

export interface SwipeEvents {
  readonly point: (coordinate: readonly number[] | null) => void;
  readonly pair: (pair: Pair) => void;
}

export class Swipe {
  readonly element: HTMLElement;
  readonly map: OlMap;
  private readonly slider: HTMLInputElement;
  private readonly line = h("div", { class: "line", "aria-hidden": "true" });
  private readonly cross = h("div", { class: "cross", "aria-hidden": "true", hidden: true });
  private readonly sides: HTMLElement;
  private readonly values = h("output", { class: "values", "aria-label": "Values under the cursor" }, "–");
  private layers: TileLayer<ImageTile>[] = [];
  private cursor: readonly number[] | null = null;

  constructor(
    private modalities: readonly Modality[],
    /** The two that are asked for; where they are not there, the first and the last are shown. */
    private wanted: Pair,
    view: View,
    private readonly events: SwipeEvents,
  ) {
    const screen = h("div", {
      class: "screen",
      tabindex: 0,
      role: "application",
      "aria-label":
        "Two modalities of the tile. Arrow keys move them, plus and minus zoom; the pixel in the middle is read.",
    });
    this.slider = h("input", {
      type: "range",
      min: 0,
      max: 100,
      value: 50,
      step: 0.5,
      "aria-label": "Place of the line between the two modalities",
      input: () => this.draw(),
    });
    this.sides = h("div", { class: "sides" });
    this.element = h("div", { class: "swipe" }, this.sides, this.slider, screen, this.values);
    this.map = new OlMap({
      target: screen,
      view,
      controls: defaultControls({ rotate: false, attribution: false }).extend([new ScaleLine()]),
      interactions: interactions(screen),
    });
    screen.append(this.line, this.cross);
    follow(this.map, screen, events.point);
    this.map.on("postrender", () => this.placeCross());
    this.show();
  }

  /** Show what has become readable since. */
  add(modalities: readonly Modality[]): void {
    const before = this.pair;
    this.modalities = modalities;
    if (before.join() !== this.pair.join()) this.show();
    else this.fillSelects();
  }

  private get pair(): Pair {
    const keys = this.modalities.map(({ key }) => key);
    return this.wanted.every((key) => keys.includes(key)) ? this.wanted : [keys[0] ?? "", keys.at(-1) ?? ""];
  }

  private show(): void {
    const { pair } = this;
    const [left, right] = pair.map((key) => this.modalities.find((modality) => modality.key === key));
    this.layers = [left, right].filter((found) => found !== undefined).map((modality) => modality.layer());
    this.map.setLayers(this.layers);
    const [first, second] = this.layers;
    first?.on("prerender", (event) => this.clip(event.context as CanvasRenderingContext2D, event, false));
    second?.on("prerender", (event) => this.clip(event.context as CanvasRenderingContext2D, event, true));
    for (const layer of this.layers) {
      layer.on("postrender", (event) => (event.context as CanvasRenderingContext2D).restore());
    }
    const side = (at: 0 | 1, name: string, modality: Modality | undefined) =>
      h("div", {}, h("label", {}, h("span", {}, name), this.select(at)), modality ? legend(modality) : null);
    this.sides.replaceChildren(side(0, "Left", left), side(1, "Right", right));
    this.draw();
  }

  private select(at: 0 | 1): HTMLSelectElement {
    const choose = (event: Event) => {
      const key = (event.target as HTMLSelectElement).value;
      this.wanted = at ? [this.pair[0], key] : [key, this.pair[1]];
      this.show();
      this.events.pair(this.wanted);
      this.sides.querySelectorAll("select")[at]?.focus();
    };
    return h("select", { change: choose }, ...this.options(at));
  }

  private options(at: 0 | 1): HTMLElement[] {
    return this.modalities.map(({ key, asset }) =>
      h("option", { value: key, selected: key === this.pair[at] }, `${key}: ${asset.title ?? key}`),
    );
  }

  private fillSelects(): void {
    const [left, right] = this.sides.querySelectorAll("select");
    left?.replaceChildren(...this.options(0));
    right?.replaceChildren(...this.options(1));
  }

  /** Leave of a layer only what is on its side of the line. */
  private clip(context: CanvasRenderingContext2D, event: Parameters<typeof getRenderPixel>[0], right: boolean): void {
    const [width = 0, height = 0] = this.map.getSize() ?? [];
    const at = width * (this.slider.valueAsNumber / 100);
    const [from, to] = right ? [at, width] : [0, at];
    const corners = [
      [from, 0],
      [to, 0],
      [to, height],
      [from, height],
    ].map((corner) => getRenderPixel(event, corner));
    context.save();
    context.beginPath();
    for (const [x = 0, y = 0] of corners) context.lineTo(x, y);
    context.closePath();
    context.clip();
  }

  private draw(): void {
    this.line.style.left = `${this.slider.valueAsNumber}%`;
    this.map.render();
  }

  point(coordinate: readonly number[] | null): void {
    this.cursor = coordinate;
    this.placeCross();
    if (!coordinate) this.values.textContent = "–";
  }

  async readValues(pixel: readonly [number, number] | null, still: () => boolean): Promise<void> {
    if (!pixel) {
      this.values.textContent = "–";
      return;
    }
    const words = await Promise.all(this.modalities.map((modality) => describe(modality, pixel)));
    if (still()) this.values.replaceChildren(...words.map((text) => h("span", {}, text)));
  }

  private placeCross(): void {
    const pixel = this.cursor && this.map.getPixelFromCoordinate([...this.cursor]);
    this.cross.hidden = !pixel;
    if (pixel) this.cross.style.transform = `translate(${pixel[0]}px, ${pixel[1]}px)`;
  }

  close(): void {
    this.map.setTarget(undefined);
    this.map.dispose();
  }
}

async function describe(modality: Modality, pixel: readonly [number, number]): Promise<string> {
  try {
    const values = await modality.values(...pixel);
    const bands = modality.asset.bands ?? [];
    const words = values.map((value, band) => `${bands[band]?.name ?? band + 1} ${valueText(value, bands[band])}`);
    return `${modality.key}: ${words.join(" · ")}`;
  } catch (error) {
    return `${modality.key}: ${sentence(error)}`;
  }
}
