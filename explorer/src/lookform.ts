/** The choice of bands and stretch of one modality. */
import { h } from "./dom.ts";
import type { Modality } from "./modality.ts";
import { defaultLook, type Look, rangeOf, type Stretch, showsOwn } from "./paint.ts";

const TEMPLATE = "";
const THREE = "three";
const STRETCHES: ReadonlyArray<readonly [string, string]> = [
  ["template", "of the collection"],
  ["spread", "middle 96 % of this tile, about"],
  ["full", "least to greatest of this tile"],
  ["range", "from … to …"],
];
const CHANNELS = ["Red", "Green", "Blue"] as const;

export function lookForm(modality: Modality, changed: (look: Look) => void): HTMLElement {
  const { render, asset, key } = modality;
  const bands = asset.bands ?? [];
  const own = defaultLook(render).bands;
  const box = h("fieldset", {}, h("legend", { class: "hidden" }, `Bands and stretch of ${key}`));
  const details = h("details", { class: "look" }, h("summary", {}, "Bands and stretch"), box);

  const draw = () => {
    const { look } = modality;
    const set = (next: Look) => {
      const name = document.activeElement?.closest("label")?.dataset.name;
      changed(next);
      draw();
      box.querySelector<HTMLElement>(`label[data-name="${name}"] select`)?.focus();
    };
    const shown = showsOwn(look, render) ? TEMPLATE : look.bands.length === 1 ? String(look.bands[0]) : THREE;
    const choices: [string, string][] = [[TEMPLATE, render.title || "as the collection has it"]];
    for (const [number, band] of bands.entries()) choices.push([String(number + 1), `${band.name} alone`]);
    if (bands.length > 1) choices.push([THREE, "three bands …"]);
    const fields: HTMLElement[] = [
      field(
        "Show",
        select(choices, shown, (value) => set({ ...look, bands: bandsFor(value, look, own) })),
      ),
    ];
    if (shown === THREE) {
      const names = bands.map((band, number) => [String(number + 1), band.name] as const);
      for (const [channel, name] of CHANNELS.entries()) {
        const choose = (value: string) =>
          set({ ...look, bands: look.bands.map((band, at) => (at === channel ? Number(value) : band)) });
        fields.push(field(name, select(names, String(look.bands[channel]), choose)));
      }
    }
    if (!(render.colormap && shown === TEMPLATE)) fields.push(...stretchFields(modality, set, changed));
    box.replaceChildren(box.firstElementChild as Element, ...fields);
  };
  draw();
  return details;
}

/** `set` draws the form anew, `changed` does not: a number that somebody types stays where it is. */
function stretchFields(modality: Modality, set: (look: Look) => void, changed: (look: Look) => void): HTMLElement[] {
  const { look } = modality;
  const now = typeof look.stretch === "string" ? look.stretch : "range";
  const choose = (value: string) => {
    set({ ...look, stretch: value === "range" ? rangeOf(modality, look, 0) : (value as Stretch) });
  };
  const fields = [field("Stretch", select(STRETCHES, now, choose))];
  if (typeof look.stretch === "string") return fields;
  const ends = [...look.stretch] as [number, number];
  const end = (at: 0 | 1, name: string) => {
    const change = (event: Event) => {
      ends[at] = (event.target as HTMLInputElement).valueAsNumber;
      if (Number.isFinite(ends[1] - ends[0]) && ends[0] < ends[1]) changed({ ...look, stretch: [...ends] });
    };
    return field(name, h("input", { type: "number", step: "any", value: ends[at], change }));
  };
  return [...fields, end(0, "From"), end(1, "To")];
}

function bandsFor(value: string, look: Look, own: readonly number[]): readonly number[] {
  if (value === TEMPLATE) return own;
  if (value !== THREE) return [Number(value)];
  return look.bands.length === 3 ? [...look.bands].reverse() : [1, 2, 1];
}

function select(
  choices: ReadonlyArray<readonly [string, string]>,
  chosen: string,
  changed: (value: string) => void,
): HTMLSelectElement {
  const options = choices.map(([value, text]) => h("option", { value, selected: value === chosen }, text));
  return h("select", { change: (event) => changed((event.target as HTMLSelectElement).value) }, ...options);
}

function field(name: string, control: HTMLElement): HTMLElement {
  return h("label", { "data-name": name }, h("span", {}, name), control);
}
