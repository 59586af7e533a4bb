/** The chosen tiles as a list: what the map shows, for those who do not see it or do not use a pointer. */
import { h } from "./dom.ts";
import type { Tiles } from "./table.ts";
import { count, percent } from "./words.ts";

const PAGE = 50;

export class ListView {
  private rows: Uint32Array = new Uint32Array();
  private page = 0;

  constructor(
    private readonly element: HTMLElement,
    private readonly tiles: Tiles,
    private readonly open: (row: number) => void,
    private readonly mark: (row: number) => void,
  ) {}

  show(mask: Uint8Array, chosen: number): void {
    this.rows = new Uint32Array(chosen);
    let at = 0;
    for (let row = 0; row < mask.length; row++) if (mask[row]) this.rows[at++] = row;
    this.page = 0;
    this.draw();
  }

  /** The chosen row before or after one; -1 where there is none. */
  neighbour(row: number, step: 1 | -1): number {
    const at = this.rows.indexOf(row);
    return at < 0 ? -1 : (this.rows[at + step] ?? -1);
  }

  /** Put the focus on a tile, where its page is shown; says whether it could. */
  focus(id: string): boolean {
    const button = Array.from(this.element.querySelectorAll("button")).find(({ textContent }) => textContent === id);
    button?.focus();
    return button !== undefined;
  }

  private draw(): void {
    const first = this.page * PAGE;
    const shown = Array.from(this.rows.subarray(first, first + PAGE));
    const pages = Math.ceil(this.rows.length / PAGE);
    const turn = (step: number) => () => {
      this.page += step;
      this.draw();
      const [before, after] = this.element.querySelectorAll<HTMLButtonElement>(".pages button");
      const used = step > 0 ? after : before;
      (used?.disabled ? (step > 0 ? before : after) : used)?.focus();
    };
    const body = h("tbody", {}, ...shown.map((row) => this.line(row)));
    const head = h(
      "tr",
      {},
      ...["Tile", "Collection", "Modalities", "Valid"].map((name) => h("th", { scope: "col" }, name)),
    );
    this.element.replaceChildren(
      shown.length
        ? h("div", { class: "wide" }, h("table", {}, h("thead", {}, head), body))
        : h("p", {}, "No tile is like that."),
      pages > 1
        ? h(
            "p",
            { class: "pages" },
            h("button", { type: "button", disabled: this.page === 0, click: turn(-1) }, "Before"),
            ` ${count(first + 1)} to ${count(first + shown.length)} of ${count(this.rows.length)} `,
            h("button", { type: "button", disabled: this.page === pages - 1, click: turn(1) }, "After"),
          )
        : "",
    );
  }

  private line(row: number): HTMLElement {
    const { tiles } = this;
    const open = h(
      "button",
      {
        type: "button",
        class: "plain",
        click: () => this.open(row),
        focus: () => this.mark(row),
        blur: () => this.mark(-1),
      },
      tiles.idOf(row),
    );
    return h(
      "tr",
      {},
      h("td", {}, open),
      h("td", {}, tiles.collectionOf(row)),
      h("td", {}, tiles.modalitiesOf(row).join(", ")),
      h("td", { class: "number" }, percent(tiles.valid[row] ?? Number.NaN)),
    );
  }
}
