/** The form that chooses tiles. */
import { h } from "./dom.ts";
import { counts, EVERYTHING, type Filter } from "./filters.ts";
import type { Tiles } from "./table.ts";
import { count } from "./words.ts";

/** Fill `form` with what there is to choose; `changed` hears every change. */
export function filterForm(form: HTMLElement, tiles: Tiles, filter: Filter, changed: (filter: Filter) => void): void {
  let now = filter;
  const set = (part: Partial<Filter>) => {
    now = { ...now, ...part };
    changed(now);
  };
  const perCollection = counts(tiles.collection, tiles.count, tiles.collections.values.length);
  const perArea = counts(tiles.area, tiles.count, tiles.areas.values.length);
  const collections = tiles.collections.values.map(
    (name, number) => [name, `${name} (${count(perCollection[number] ?? 0)})`] as const,
  );
  const modalities = tiles.modalities.values.map((name) => [name, name] as const);
  const areas = h("select", {
    multiple: true,
    size: Math.min(6, Math.max(2, tiles.areas.values.length)),
  });
  areas.append(
    ...tiles.areas.values.map((name, number) =>
      h("option", { value: name, selected: filter.areas.includes(name) }, `${name} (${count(perArea[number] ?? 0)})`),
    ),
  );
  areas.addEventListener("change", () => set({ areas: Array.from(areas.selectedOptions, (option) => option.value) }));
  const splits = tiles.splits.values.map((name) => [name, name] as const);

  form.replaceChildren(
    h("h2", {}, "Filter"),
    boxes("Collection", collections, filter.collections, (chosen) => set({ collections: chosen })),
    h("label", {}, h("span", {}, "Area"), areas, h("small", {}, "None chosen: all. Ctrl or ⌘ for several.")),
    h(
      "fieldset",
      { class: "pair" },
      h("legend", {}, "Date, of any modality"),
      date("From", filter.from, (from) => set({ from })),
      date("To", filter.to, (to) => set({ to })),
    ),
    boxes("With all of", modalities, filter.has, (has) => set({ has })),
    h(
      "label",
      {},
      h("span", {}, "Valid, at least (%)"),
      percent(filter.valid, (valid) => set({ valid })),
    ),
    ...(splits.length ? [boxes("Split", splits, filter.splits, (chosen) => set({ splits: chosen }))] : []),
    h("button", { type: "button", class: "clear", click: () => clear(form, tiles, changed) }, "Clear"),
  );
}

function clear(form: HTMLElement, tiles: Tiles, changed: (filter: Filter) => void): void {
  filterForm(form, tiles, EVERYTHING, changed);
  form.querySelector<HTMLElement>(".clear")?.focus();
  changed(EVERYTHING);
}

function boxes(
  name: string,
  choices: ReadonlyArray<readonly [value: string, text: string]>,
  chosen: readonly string[],
  changed: (chosen: string[]) => void,
): HTMLElement {
  const inputs = choices.map(([value]) => h("input", { type: "checkbox", value, checked: chosen.includes(value) }));
  const listen = () => changed(inputs.filter((input) => input.checked).map((input) => input.value));
  for (const input of inputs) input.addEventListener("change", listen);
  const labels = choices.map(([, text], number) => h("label", { class: "box" }, inputs[number] as HTMLElement, text));
  return h("fieldset", {}, h("legend", {}, name), h("div", { class: "boxes" }, ...labels));
}

function date(name: string, value: string, changed: (value: string) => void): HTMLElement {
  const change = (event: Event) => changed((event.target as HTMLInputElement).value);
  return h("label", {}, h("span", {}, name), h("input", { type: "date", value, change }));
}

function percent(value: number, changed: (value: number) => void): HTMLElement {
  const change = (event: Event) =>
    changed(Math.min(100, Math.max(0, (event.target as HTMLInputElement).valueAsNumber || 0)));
  return h("input", { type: "number", min: 0, max: 100, step: "any", value, change });
}
