/** The colours of tiles on the map. */
import type { ColourBy } from "./address.ts";
import { NO_SPLIT, type Tiles } from "./table.ts";

/** Paul Tol's bright scheme, which people who confuse colours can tell apart, but for its grey. */
export const DISTINCT = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377"] as const;
export const NONE = "#767676";
/** From few to all pixels valid: five steps of viridis. */
export const STEPS = ["#440154", "#3b528b", "#21918c", "#5ec962", "#fde725"] as const;
const STEP = 100 / STEPS.length;

/** A colour for every row, as a number into `palette`. */
export interface Colouring {
  readonly palette: readonly string[];
  readonly of: (row: number) => number;
  /** What the colours mean. */
  readonly legend: ReadonlyArray<readonly [colour: string, meaning: string]>;
}

export function colouring(tiles: Tiles, by: ColourBy): Colouring {
  if (by === "valid") {
    const legend = STEPS.map((colour, step) => [colour, `${step * STEP} to ${(step + 1) * STEP} % valid`] as const);
    const of = (row: number) => Math.min(STEPS.length - 1, Math.floor((tiles.valid[row] ?? 0) / STEP));
    return { palette: STEPS, of, legend };
  }
  if (by === "split") {
    const palette = [...DISTINCT, NONE];
    const of = (row: number) => {
      const split = tiles.split[row] ?? NO_SPLIT;
      return split === NO_SPLIT ? DISTINCT.length : split % DISTINCT.length;
    };
    const named = tiles.splits.values.map((name, number) => [palette[number % DISTINCT.length] ?? NONE, name] as const);
    return { palette, of, legend: [...named, [NONE, "no split"]] };
  }
  const areas = tiles.areas.values
    .slice(0, MOST)
    .map((name, number) => [DISTINCT[number % DISTINCT.length] ?? NONE, name] as const);
  const rest = tiles.areas.values.length - areas.length;
  return {
    palette: DISTINCT,
    of: (row) => (tiles.area[row] ?? 0) % DISTINCT.length,
    legend: rest > 0 ? [...areas, [NONE, `and ${rest} more; colours repeat`]] : areas,
  };
}

/** Entries of a legend that can still be read. */
const MOST = 12;
