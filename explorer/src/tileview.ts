/** One tile: all its modalities side by side, or two of them under a swipe, on the same pixels. */

import Projection from "ol/proj/Projection.js";
import { get as getProjection, transform } from "ol/proj.js";
import View from "ol/View.js";
import type { Mode, View as Place } from "./address.ts";
import { h, later, link } from "./dom.ts";
import { sentence, Trouble } from "./errors.ts";
import { type Grid, gridOf, Modality, pixelAt } from "./modality.ts";
import { isDefault, type Look } from "./paint.ts";
import { Panel } from "./panel.ts";
import type { Collection, Item } from "./release.ts";
import { Swipe } from "./swipe.ts";

export interface TileState {
  readonly mode: Mode;
  readonly swipe: readonly [string, string];
  readonly view: Place | null;
  readonly looks: Readonly<Record<string, Look>>;
}

const REST = 60; // milliseconds that the pointer rests before values are read
const CLOSEST = 1 / 24; // pixels of the tile a CSS pixel

export class TileView {
  readonly element: HTMLElement;
  private readonly panels: Panel[];
  private readonly modalities = new Map<string, Modality>();
  private readonly place = h(
    "output",
    { class: "place", "aria-label": "Place of the cursor" },
    "Point at a picture to read its pixels.",
  );
  private readonly grid: Grid;
  private readonly projection: Projection;
  private readonly view: View;
  private readonly stop = new AbortController();
  private readonly troubles = h("div");
  /** By modality, how to tell who waits for its picture that there is nothing more to wait for. */
  private readonly waiting = new Map<string, () => void>();
  private swipe: Swipe | null = null;
  private state: TileState;
  /** The place that shows all of the tile, which an address need not tell. */
  private fitted: Place | null = null;
  private asked = 0;

  constructor(
    private readonly item: Item,
    private readonly collection: Collection,
    state: TileState,
    private readonly changed: (state: TileState) => void,
  ) {
    this.state = state;
    const keys = Object.keys(collection.item_assets).filter((key) => key in item.assets);
    const first = keys[0];
    if (!first) throw new Trouble(`${item.url.href} has none of the modalities of its collection.`);
    this.grid = gridOf(item.assets[first] as Item["assets"][string], item.properties, item.url.href);
    const known = getProjection(this.grid.code);
    this.projection = known ?? new Projection({ code: this.grid.code, units: "m" });
    this.view = this.makeView();
    const events = {
      point: (coordinate: readonly number[] | null) => this.point(coordinate),
      look: (key: string, look: Look) => this.setLook(key, look),
    };
    this.panels = keys.map(
      (key) => new Panel(key, item.assets[key] as Item["assets"][string], collection, this.view, events),
    );
    this.element = h("div", { class: "modalities" });
  }

  /** Put the tile on the page and read its files; ends when every modality is drawn or has said why not. */
  async open(): Promise<void> {
    this.arrange();
    this.fit();
    await Promise.all(this.panels.map((panel) => this.load(panel)));
  }

  private async load(panel: Panel): Promise<void> {
    const { item, collection, projection, stop } = this;
    const look = this.state.looks[panel.name];
    const failed = (error: unknown) => this.complain(panel.name, error);
    try {
      const modality = await Modality.open(panel.name, item, collection, projection, look, failed, stop.signal);
      this.modalities.set(panel.name, modality);
      this.swipe?.add(this.loaded());
      const drawn = this.drawn(panel);
      panel.show(modality);
      await drawn;
    } catch (error) {
      if (!stop.signal.aborted) panel.fail(error);
    }
  }

  /** Wait until a panel is drawn, or has left the page. */
  private drawn(panel: Panel): Promise<void> {
    if (this.state.mode !== "side") return Promise.resolve();
    return new Promise((resolve) => {
      this.waiting.set(panel.name, resolve);
      panel.map.once("rendercomplete", () => resolve());
    });
  }

  private stopWaiting(): void {
    for (const resolve of this.waiting.values()) resolve();
    this.waiting.clear();
  }

  /** Say that a part of a file could not be read, once a modality, and offer another try. */
  private complain(name: string, error: unknown): void {
    this.waiting.get(name)?.(); // a map with a hole never calls itself complete
    if (this.stop.signal.aborted || this.troubles.querySelector(`[data-modality="${CSS.escape(name)}"]`)) return;
    const again = h("button", { type: "button" }, "Try again");
    const box = h(
      "p",
      { class: "trouble", role: "alert", "data-modality": name },
      `${name}: ${sentence(error)} `,
      again,
    );
    again.addEventListener("click", () => {
      box.remove();
      this.modalities.get(name)?.redraw();
    });
    this.troubles.append(box);
  }

  /** The modalities that are there, in the order of the template. */
  private loaded(): Modality[] {
    return this.panels.map(({ name }) => this.modalities.get(name)).filter((found) => found !== undefined);
  }

  private makeView(): View {
    const { extent, pixel } = this.grid;
    const view = new View({
      projection: this.projection,
      center: [(extent[0] + extent[2]) / 2, (extent[1] + extent[3]) / 2],
      resolution: pixel[0],
      minResolution: pixel[0] * CLOSEST,
      maxResolution: pixel[0] * 32,
      enableRotation: false,
    });
    const viewed = later(150, () => this.viewed());
    view.on("change:center", viewed);
    view.on("change:resolution", viewed);
    return view;
  }

  private viewed(): void {
    const now = this.placed();
    const whole = JSON.stringify(now) === JSON.stringify(this.fitted);
    this.update({ view: whole ? null : now });
  }

  private placed(): Place {
    const [x = 0, y = 0] = this.view.getCenter() ?? [];
    return { x, y, scale: this.view.getResolution() ?? 1 };
  }

  /** Show all of the tile, or the part that the address names. */
  fit(): void {
    const { view } = this.state;
    if (view) {
      this.view.setCenter([view.x, view.y]);
      this.view.setResolution(view.scale);
      return;
    }
    this.showAll();
  }

  showAll(): void {
    const screen = this.element.querySelector(".screen");
    const size = [screen?.clientWidth || 256, screen?.clientHeight || 256];
    this.view.fit(this.grid.extent, { size });
    this.fitted = this.placed();
  }

  setMode(mode: Mode): void {
    this.update({ mode });
    this.stopWaiting();
    this.arrange();
    if (!this.state.view) this.showAll();
  }

  private update(part: Partial<TileState>): void {
    if (this.stop.signal.aborted) return; // another tile has the address now
    this.state = { ...this.state, ...part };
    this.changed(this.state);
  }

  private setLook(key: string, look: Look): void {
    const { [key]: _, ...others } = this.state.looks;
    const modality = this.modalities.get(key);
    const same = modality && isDefault(look, modality.render);
    this.update({ looks: same ? others : { ...others, [key]: look } });
  }

  private arrange(): void {
    this.swipe?.close();
    this.swipe = null;
    if (this.state.mode === "side") {
      this.element.replaceChildren(
        this.place,
        this.troubles,
        h("div", { class: "panels" }, ...this.panels.map((panel) => panel.element)),
      );
      for (const panel of this.panels) panel.map.updateSize();
      return;
    }
    this.swipe = new Swipe(this.loaded(), this.state.swipe, this.view, {
      point: (coordinate) => this.point(coordinate),
      pair: (swipe) => this.update({ swipe }),
    });
    const failed = this.panels.filter((panel) => panel.element.matches(".failed"));
    this.element.replaceChildren(
      this.place,
      this.troubles,
      this.swipe.element,
      ...failed.map((panel) => panel.element),
    );
    this.swipe.map.updateSize();
  }

  private point(coordinate: readonly number[] | null): void {
    for (const panel of this.panels) panel.point(coordinate);
    this.swipe?.point(coordinate);
    this.asked++;
    if (coordinate) this.read(coordinate, this.asked);
    else this.place.textContent = "Point at a picture to read its pixels.";
  }

  private readonly read = later(REST, (coordinate: readonly number[], asked: number) => {
    const pixel = pixelAt(this.grid, coordinate);
    const still = () => asked === this.asked;
    if (!still()) return;
    this.place.textContent = this.describe(coordinate, pixel);
    this.place.dataset.pixel = JSON.stringify(pixel);
    for (const panel of this.panels) void panel.readValues(pixel, still);
    void this.swipe?.readValues(pixel, still);
  });

  private describe(coordinate: readonly number[], pixel: readonly [number, number] | null): string {
    const [x = 0, y = 0] = coordinate;
    const words = [
      pixel ? `column ${pixel[0]}, row ${pixel[1]}` : "outside of the tile",
      `${x.toFixed(0)} E ${y.toFixed(0)} N`,
    ];
    if (getProjection(this.grid.code)) {
      const [longitude = 0, latitude = 0] = transform([x, y], this.projection, "EPSG:4326");
      words.push(
        `${Math.abs(latitude).toFixed(5)}° ${latitude < 0 ? "S" : "N"} ${Math.abs(longitude).toFixed(5)}° ${longitude < 0 ? "W" : "E"}`,
      );
    }
    return words.join(" · ");
  }

  close(): void {
    this.stop.abort();
    this.asked++;
    this.stopWaiting();
    this.swipe?.close();
    for (const panel of this.panels) panel.close();
  }
}

/** What is said above the pictures. */
export function facts(item: Item, collection: Collection): HTMLElement {
  const properties = item.properties;
  const valid = properties["dream:valid_percent"];
  const absent = properties["dream:absent"];
  const shape = properties["proj:shape"];
  const words = [
    collection.title,
    String(properties["proj:code"] ?? ""),
    Array.isArray(shape) ? `${shape[1]} × ${shape[0]} pixels of ${properties.gsd} m` : "",
    typeof valid === "number" ? `${valid} % valid` : "",
    Array.isArray(absent) && absent.length ? `not here: ${absent.join(", ")}` : "",
  ];
  return h("p", { class: "facts" }, `${words.filter(Boolean).join(" · ")} · `, link(item.url.href, "STAC item"));
}
