/** The page: reads the release, shows its tiles, and keeps the address true. */
import "ol/ol.css";
import "./explorer.css";
import { COLOURS, type ColourBy, decode, encode, MODES, type Mode, type State } from "./address.ts";
import { colouring } from "./colours.ts";
import { byId, h, sometimes } from "./dom.ts";
import { sentence, Trouble } from "./errors.ts";
import { filterForm } from "./filterform.ts";
import { type Chosen, choose, type Filter } from "./filters.ts";
import { openIndex, readIndexes } from "./index.ts";
import { itemHref, releaseRoot } from "./layout.ts";
import { ListView } from "./listview.ts";
import { OverviewMap } from "./map.ts";
import { type Release, readItem, readRelease } from "./release.ts";
import { SelectionView } from "./selectionview.ts";
import { Tiles } from "./table.ts";
import { facts, TileView } from "./tileview.ts";
import { count, percent } from "./words.ts";
import { useZstd } from "./zstd.ts";

const WORDS: Readonly<Record<ColourBy | Mode, string>> = {
  area: "area",
  valid: "valid share",
  split: "split",
  side: "Side by side",
  swipe: "Swipe",
};
const DRAWN_AT_MOST_EVERY = 200; // milliseconds, while the index arrives

class Explorer {
  private state: State = decode(location.hash);
  private readonly map: OverviewMap;
  private readonly list: ListView;
  private selection: SelectionView | null = null;
  private chosen: Chosen = { mask: new Uint8Array(), count: 0 };
  private view: TileView | null = null;
  private opened = 0;

  constructor(
    private readonly release: Release,
    private readonly tiles: Tiles,
  ) {
    byId("title").textContent = release.title;
    document.title = release.title;
    this.map = new OverviewMap(byId("map"), tiles, new URL("world.json", location.href), {
      open: (row) => this.go(row),
      hover: (row, pixel) => this.hover(row, pixel),
      moved: (map) => this.set({ map }),
    });
    this.list = new ListView(
      byId("list"),
      tiles,
      (row) => this.go(row),
      (row) => this.map.highlight(row),
    );
    if (this.state.map) this.map.goTo(this.state.map);
    else this.map.fit(release.collections.map((collection) => collection.bbox));
    window.addEventListener("hashchange", () => this.follow());
    byId("skip").addEventListener("click", () => byId(this.state.tile ? "tile-title" : "tiles-heading").focus());
  }

  /** Read the indexes; the map fills while they arrive. */
  async read(): Promise<void> {
    const status = byId("status");
    // A link to a tile need not wait for all the others.
    const tile = this.state.tile ? this.showTile() : null;
    const draw = sometimes(DRAWN_AT_MOST_EVERY, () => this.map.show(null, colouring(this.tiles, this.state.colour)));
    const indexes = await Promise.all(this.release.collections.map((collection) => openIndex(collection)));
    const total = indexes.reduce((sum, index) => sum + index.rows, 0);
    this.tiles.reserve(total);
    await readIndexes(indexes, this.tiles, (group) => {
      this.map.addGroup(group);
      status.textContent = `${count(this.tiles.count)} of ${count(total)} tiles read`;
      draw();
    });
    status.textContent = "";
    this.mapBar();
    this.selection = new SelectionView(byId("selection"), this.release.root, this.tiles, this.state.filter);
    this.filtered();
    this.form();
    this.renewTileBar();
    this.map.whenDrawn(() => {
      document.documentElement.dataset.map = "ready";
      performance.mark("explorer:map");
    });
    await tile;
  }

  /** Change what the address says. */
  private set(part: Partial<State>, push = false): void {
    this.state = { ...this.state, ...part };
    const address = `#${encode(this.state)}`;
    if (address === location.hash || (address === "#" && !location.hash)) return;
    if (push) history.pushState(null, "", address);
    else history.replaceState(null, "", address);
  }

  /** Do as the address says: somebody went back, or wrote another one. */
  private follow(): void {
    const before = this.state;
    this.state = decode(location.hash);
    this.filtered();
    this.form();
    if (this.state.map && !same(this.state.map, before.map)) this.map.goTo(this.state.map);
    this.mapBar();
    if (!same(tilePart(this.state), tilePart(before))) void this.showTile();
    else this.renewTileBar();
  }

  private form(): void {
    filterForm(byId("filters"), this.tiles, this.state.filter, (filter: Filter) => {
      this.set({ filter });
      this.filtered();
    });
  }

  private filtered(): void {
    this.chosen = choose(this.tiles, this.state.filter);
    this.selection?.show(this.chosen, this.state.filter);
    this.list.show(this.chosen.mask, this.chosen.count);
    this.paint();
  }

  private paint(): void {
    const colours = colouring(this.tiles, this.state.colour);
    this.map.show(this.chosen.count < this.tiles.count ? this.chosen.mask : null, colours);
    byId("legend").replaceChildren(
      ...colours.legend.map(([colour, meaning]) => {
        const swatch = h("span", { class: "swatch", "aria-hidden": "true" });
        swatch.style.background = colour;
        return h("li", {}, swatch, meaning);
      }),
    );
  }

  private mapBar(): void {
    const colours = COLOURS.filter((name) => name !== "split" || this.tiles.splits.values.length);
    const options = colours.map((name) =>
      h("option", { value: name, selected: name === this.state.colour }, WORDS[name]),
    );
    const recolour = (event: Event) => {
      this.set({ colour: (event.target as HTMLSelectElement).value as ColourBy });
      this.paint();
    };
    const basemap = (event: Event) => this.map.setBasemap((event.target as HTMLInputElement).checked);
    byId("map-bar").replaceChildren(
      h("label", {}, h("span", {}, "Colour by"), h("select", { change: recolour }, ...options)),
      h("button", { type: "button", click: () => this.fitChosen() }, "Show all chosen"),
      h("label", { class: "box" }, h("input", { type: "checkbox", change: basemap }), "Basemap of openstreetmap.org"),
    );
  }

  private fitChosen(): void {
    const boxes: number[][] = [];
    this.chosen.mask.forEach((chosen, row) => {
      if (chosen) boxes.push(Array.from(this.tiles.bbox.subarray(4 * row, 4 * row + 4)));
    });
    this.map.fit(boxes);
  }

  private hover(row: number, pixel: readonly number[]): void {
    const tip = byId("tip");
    tip.hidden = row < 0;
    if (row < 0) return;
    const map = byId("map");
    const share = percent(this.tiles.valid[row] ?? Number.NaN);
    const words = [this.tiles.idOf(row), share && `${share} valid`, this.tiles.modalitiesOf(row).join(", ")];
    tip.textContent = words.filter(Boolean).join(" · ");
    tip.style.left = `${map.offsetLeft + (pixel[0] ?? 0)}px`;
    tip.style.top = `${map.offsetTop + (pixel[1] ?? 0)}px`;
  }

  // --- one tile ---------------------------------------------------------------------------------------------------

  private go(row: number): void {
    const tile = row < 0 ? null : { collection: this.tiles.collectionOf(row), id: this.tiles.idOf(row) };
    this.set({ tile, view: null }, true);
    void this.showTile();
  }

  private showOnMap(row: number): void {
    this.go(-1);
    this.map.fit([Array.from(this.tiles.bbox.subarray(4 * row, 4 * row + 4))]);
    this.map.highlight(row);
  }

  private async showTile(): Promise<void> {
    const section = byId("tile");
    const { tile } = this.state;
    const asked = ++this.opened;
    const left = section.dataset.tile ?? "";
    this.view?.close();
    this.view = null;
    section.hidden = !tile;
    byId("overview").hidden = Boolean(tile);
    delete section.dataset.state;
    section.dataset.tile = tile?.id ?? "";
    document.title = tile ? `${tile.id} · ${this.release.title}` : this.release.title;
    if (!tile) {
      this.map.resize();
      if (left && !this.list.focus(left)) byId("map").focus();
      return;
    }
    const title = h("h2", { id: "tile-title", tabindex: -1 }, tile.id);
    section.replaceChildren(this.tileBar(), title, h("p", { role: "status" }, "Reading …"));
    title.focus();
    window.scrollTo(0, 0);
    try {
      await this.openTile(section, title, asked);
    } catch (error) {
      if (asked === this.opened) section.replaceChildren(this.tileBar(), title, troubleBox(error));
    }
    if (asked === this.opened) {
      section.dataset.state = "ready";
      performance.mark("explorer:tile");
    }
  }

  private async openTile(section: HTMLElement, title: HTMLElement, asked: number): Promise<void> {
    const { tile } = this.state;
    const collection = this.release.collections.find(({ id }) => id === tile?.collection);
    if (!tile || !collection) throw new Trouble(`This release has no collection ${tile?.collection}.`);
    const item = await readItem(this.release.root, new URL(itemHref(tile.collection, tile.id), this.release.root));
    if (asked !== this.opened) return;
    title.textContent = item.title;
    document.title = `${item.title} · ${this.release.title}`;
    const { mode, swipe, view, looks } = this.state;
    this.view = new TileView(item, collection, { mode, swipe, view, looks }, (state) => this.set(state));
    const focused = document.activeElement === title;
    section.replaceChildren(this.tileBar(), title, facts(item, collection), this.modeBar(), this.view.element);
    if (focused) title.focus();
    await this.view.open();
  }

  private tileBar(): HTMLElement {
    const { tile } = this.state;
    const row = tile ? this.tiles.find(tile.collection, tile.id) : -1;
    const step = (name: string, by: 1 | -1) => {
      const next = this.list.neighbour(row, by);
      return h("button", { type: "button", disabled: next < 0, click: () => this.go(next) }, name);
    };
    return h(
      "nav",
      { "aria-label": "Tiles" },
      h("button", { type: "button", click: () => this.go(-1) }, "← All tiles"),
      h("button", { type: "button", disabled: row < 0, click: () => this.showOnMap(row) }, "On the map"),
      step("Tile before", -1),
      step("Tile after", 1),
      h("button", { type: "button", click: (event) => void copyLink(event.target as HTMLElement) }, "Copy link"),
    );
  }

  /** Draw the bar anew, now that more is known; the focus stays on its button. */
  private renewTileBar(): void {
    const old = byId("tile").querySelector("nav");
    if (!old) return;
    const at = Array.from(old.children).indexOf(document.activeElement as Element);
    const bar = this.tileBar();
    old.replaceWith(bar);
    (bar.children[at] as HTMLElement | undefined)?.focus();
  }

  private modeBar(): HTMLElement {
    const choices = MODES.map((mode) => {
      const input = h("input", { type: "radio", name: "mode", value: mode, checked: mode === this.state.mode });
      input.addEventListener("change", () => this.view?.setMode(mode));
      return h("label", { class: "box" }, input, WORDS[mode]);
    });
    const all = h("button", { type: "button", click: () => this.view?.showAll() }, "Whole tile");
    return h("div", { class: "modes" }, h("fieldset", {}, h("legend", { class: "hidden" }, "View"), ...choices), all);
  }
}

async function copyLink(button: HTMLElement): Promise<void> {
  const name = button.textContent;
  try {
    await navigator.clipboard.writeText(location.href);
    button.textContent = "Copied";
  } catch {
    button.textContent = "It is in the address bar";
  }
  setTimeout(() => {
    button.textContent = name;
  }, 2000);
}

function troubleBox(error: unknown): HTMLElement {
  return h("p", { class: "trouble", role: "alert" }, sentence(error));
}

/** What of a state concerns the tile that is open. */
function tilePart({ tile, mode, swipe, view, looks }: State): unknown {
  return tile && { tile, mode, swipe, view, looks };
}

function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

async function start(): Promise<void> {
  useZstd();
  let explorer: Explorer | null = null;
  try {
    const release = await readRelease(releaseRoot(new URL(location.href)));
    explorer = new Explorer(release, new Tiles());
    await explorer.read();
  } catch (error) {
    const box = byId("trouble");
    box.hidden = false;
    box.textContent = sentence(error);
    byId("status").textContent = "";
    byId("overview").hidden ||= !explorer;
    document.documentElement.dataset.map = "failed";
  }
}

void start();
