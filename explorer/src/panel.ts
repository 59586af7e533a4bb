/** One modality of a tile beside the others: a small map with its words, its legend and its settings. */
import OlMap from "ol/Map.js";
import type View from "ol/View.js";
import { follow, interactions } from "./cursor.ts";
import { h, link } from "./dom.ts";
import { sentence } from "./errors.ts";
import { legend } from "./legend.ts";
import { lookForm } from "./lookform.ts";
import type { Modality } from "./modality.ts";
import type { Look } from "./paint.ts";
import type { Asset, Collection } from "./release.ts";
import { dates, licence, size, valueText } from "./words.ts";

const PATIENCE = 150; // milliseconds

export interface PanelEvents {
  /** The pointer is over a coordinate of the CRS, or has left. */
  readonly point: (coordinate: readonly number[] | null) => void;
  readonly look: (key: string, look: Look) => void;
}

export class Panel {
  readonly element: HTMLElement;
  readonly map: OlMap;
  private readonly screen: HTMLElement;
  private readonly values: HTMLElement;
  private readonly settings: HTMLElement;
  private readonly key: HTMLElement;
  private readonly cross = h("div", { class: "cross", "aria-hidden": "true", hidden: true });
  private modality: Modality | null = null;
  private cursor: readonly number[] | null = null;

  constructor(
    readonly name: string,
    private readonly asset: Asset,
    collection: Collection,
    view: View,
    private readonly events: PanelEvents,
  ) {
    const title = asset.title ?? name;
    this.screen = h("div", {
      class: "screen",
      tabindex: 0,
      role: "application",
      "aria-label": `${title}: picture of the tile. Arrow keys move it, plus and minus zoom; the pixel in the middle is read.`,
    });
    this.values = h("output", { class: "values", "aria-label": `Values of ${name} under the cursor` }, "–");
    this.settings = h("div");
    this.key = h("div", { class: "key" });
    this.element = h(
      "figure",
      { class: "panel", "data-modality": name },
      h("figcaption", {}, h("h3", {}, h("code", {}, name), ` ${title}`), h("p", { class: "dates" }, dates(asset))),
      this.screen,
      this.values,
      this.key,
      this.settings,
      credits(name, asset, collection),
    );
    this.map = new OlMap({
      target: this.screen,
      view,
      controls: [],
      interactions: interactions(this.screen),
    });
    this.screen.append(this.cross);
    follow(this.map, this.screen, events.point);
    this.map.on("postrender", () => this.placeCross());
  }

  show(modality: Modality): void {
    this.modality = modality;
    this.map.addLayer(modality.layer());
    this.describe();
  }

  private describe(): void {
    const { modality } = this;
    if (!modality) return;
    this.key.replaceChildren(legend(modality));
    this.settings.replaceChildren(
      lookForm(modality, (look) => {
        modality.setLook(look);
        this.key.replaceChildren(legend(modality));
        this.events.look(this.name, look);
      }),
    );
  }

  fail(error: unknown): void {
    this.element.classList.add("failed");
    this.screen.replaceChildren(h("p", { role: "alert", class: "trouble" }, sentence(error)));
  }

  /** Mark a coordinate of the CRS, and say what was read of the pixel there. */
  point(coordinate: readonly number[] | null): void {
    this.cursor = coordinate;
    this.placeCross();
    if (!coordinate) this.say("–", null);
  }

  async readValues(pixel: readonly [number, number] | null, still: () => boolean): Promise<void> {
    if (!this.modality || !pixel) {
      this.say("–", null);
      return;
    }
    // What stands there is of another pixel; it goes as soon as reading takes longer than the eye does.
    const waiting = setTimeout(() => still() && this.say("…", null), PATIENCE);
    try {
      const values = await this.modality.values(...pixel);
      if (still()) this.tell(values);
    } catch (error) {
      if (still()) this.say(sentence(error), null);
    } finally {
      clearTimeout(waiting);
    }
  }

  private tell(values: readonly (number | null)[]): void {
    const bands = this.asset.bands ?? [];
    const words = values.map((value, number) => {
      const name = bands.length > 1 ? `${bands[number]?.name ?? number + 1} ` : "";
      return name + valueText(value, bands[number]);
    });
    this.say(words.join(" · "), values);
  }

  private say(text: string, values: readonly (number | null)[] | null): void {
    this.values.textContent = text;
    // The numbers as they are stored, for programs that look at the page.
    this.values.dataset.values = JSON.stringify(values);
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

function credits(name: string, asset: Asset, collection: Collection): HTMLElement {
  const { name: stated, link: where } = licence(name, asset, collection);
  const told = asset["dream:attribution"];
  return h(
    "p",
    { class: "credits" },
    asset["dream:synthetic"] ? h("strong", {}, "Synthetic: no instrument measured it. ") : null,
    told ? `${told}. ` : null,
    "Licence: ",
    where ? link(where.href, stated) : stated,
    asset["file:size"] ? ` · ${size(asset["file:size"])}` : null,
  );
}
