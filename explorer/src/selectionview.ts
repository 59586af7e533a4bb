/** How many tiles are chosen, and the choice as text to copy. */
import { h } from "./dom.ts";
import type { Chosen, Filter } from "./filters.ts";
import { asPython, asSync, asUrls, bucketOf } from "./selection.ts";
import type { Tiles } from "./table.ts";
import { count } from "./words.ts";

const KINDS = [
  ["python", "Python"],
  ["sync", "aws s3 sync"],
  ["urls", "Addresses"],
] as const;
type Kind = (typeof KINDS)[number][0];
/** Characters of a text that are shown; what is copied is whole. */
const SHOWN = 20_000;

export class SelectionView {
  private readonly number = h("output", { id: "count" });
  private readonly text = h("textarea", {
    readonly: true,
    rows: 8,
    spellcheck: false,
    wrap: "off",
    "aria-label": "The chosen tiles as text",
  });
  private readonly said = h("span", { role: "status", class: "said" });
  private readonly kind = h("select", { "aria-label": "Copy as", change: () => this.write() });
  private readonly modalities = h("div", { class: "boxes" });
  private chosen: Chosen = { mask: new Uint8Array(), count: 0 };
  private whole = "";

  constructor(
    element: HTMLElement,
    private readonly root: URL,
    private readonly tiles: Tiles,
    private filter: Filter,
  ) {
    this.kind.append(...KINDS.map(([value, name]) => h("option", { value }, name)));
    element.replaceChildren(
      h("h2", { id: "selection-heading" }, "Chosen"),
      h("p", {}, this.number),
      h(
        "div",
        { class: "copy" },
        this.kind,
        h("button", { type: "button", click: () => void this.copy() }, "Copy"),
        this.said,
      ),
      h("details", {}, h("summary", {}, "Files of some modalities only"), this.modalities),
      this.text,
    );
    this.modalities.append(
      ...tiles.modalities.values.map((name) => {
        const input = h("input", { type: "checkbox", value: name, change: () => this.write() });
        return h("label", { class: "box" }, input, name);
      }),
    );
  }

  show(chosen: Chosen, filter: Filter): void {
    this.chosen = chosen;
    this.filter = filter;
    this.number.textContent = `${count(chosen.count)} of ${count(this.tiles.count)} tiles`;
    this.number.dataset.count = String(chosen.count);
    this.write();
  }

  private write(): void {
    this.whole = this.make(this.kind.value as Kind);
    this.text.value = this.whole.length > SHOWN ? `${this.whole.slice(0, SHOWN)}\n… (all of it is copied)` : this.whole;
    this.said.textContent = "";
  }

  private make(kind: Kind): string {
    const { tiles, filter, root, chosen } = this;
    const boxes = this.modalities.querySelectorAll<HTMLInputElement>("input:checked");
    const modalities = Array.from(boxes, (box) => box.value);
    if (kind === "python") return asPython(root, tiles, filter);
    if (kind === "sync") return asSync(bucketOf(root), tiles, chosen.mask, filter, modalities);
    return asUrls(root, tiles, chosen.mask, modalities);
  }

  private async copy(): Promise<void> {
    try {
      await navigator.clipboard.writeText(this.whole);
      this.said.textContent = "Copied.";
    } catch {
      // No permission, or no https: the text is there to be copied by hand.
      this.text.value = this.whole;
      this.text.select();
      this.said.textContent = "Press Ctrl or ⌘ + C.";
    }
  }
}
