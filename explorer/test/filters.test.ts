import assert from "node:assert/strict";
import { test } from "node:test";
import { choose, counts, EVERYTHING, type Filter } from "../src/filters.ts";
import { MODALITIES, made, ROWS, type Row } from "./made.ts";

const tiles = made(ROWS);

/** The same question, asked of plain rows. */
function wanted(row: Row, filter: Filter): boolean {
  const modalities = (MODALITIES[row.collection as keyof typeof MODALITIES] as readonly string[]).filter(
    (name) => !row.absent?.includes(name),
  );
  const start = row.start ?? "2019-01-01T00:00:00Z";
  const end = row.end ?? start;
  return (
    (!filter.collections.length || filter.collections.includes(row.collection)) &&
    (!filter.areas.length || filter.areas.includes(`${row.collection}/${row.area}`)) &&
    (!filter.splits.length || (row.split !== undefined && filter.splits.includes(row.split))) &&
    filter.has.every((name) => modalities.includes(name)) &&
    (row.valid ?? 100) >= filter.valid &&
    (!filter.from || end.slice(0, 10) >= filter.from) &&
    (!filter.to || start.slice(0, 10) <= filter.to)
  );
}

function* cases(): Generator<Filter> {
  for (const collections of [[], ["usa"], ["france", "usa"], ["nowhere"]]) {
    for (const areas of [[], ["france/ventoux"], ["usa/fear", "france/beauce"]]) {
      for (const has of [[], ["s2"], ["s1", "osm"], ["uavsar_1"], ["none"]]) {
        for (const [from, to] of [
          ["", ""],
          ["2019-01-01", ""],
          ["", "2018-12-31"],
          ["2021-06-18", "2021-06-18"],
        ] as const) {
          for (const valid of [0, 70, 99.5]) {
            for (const splits of [[], ["train"]]) yield { collections, areas, has, from, to, valid, splits };
          }
        }
      }
    }
  }
}

test("every combination finds what a look at each row finds", () => {
  let found = 0;
  for (const filter of cases()) {
    const expected = ROWS.map((row) => (wanted(row, filter) ? 1 : 0));
    const { mask, count } = choose(tiles, filter);
    assert.deepEqual(Array.from(mask), expected, JSON.stringify(filter));
    assert.equal(
      count,
      expected.reduce((sum: number, one) => sum + one, 0),
    );
    found += count;
  }
  assert.ok(found > 50);
});

test("without a filter all tiles are chosen, of which none may lack a valid share", () => {
  assert.equal(choose(tiles, EVERYTHING).count, ROWS.length);
});

test("a share that is exactly as asked is enough, and one that is not told is no reason", () => {
  const rows = [
    { ...(ROWS[0] as Row), valid: 99.1 },
    { ...(ROWS[0] as Row), valid: Number.NaN },
  ];
  assert.deepEqual(Array.from(choose(made(rows), { ...EVERYTHING, valid: 99.1 }).mask), [1, 0]);
  assert.equal(choose(made(rows), EVERYTHING).count, 2);
});

test("a period that ends before it starts has no tile", () => {
  assert.equal(choose(tiles, { ...EVERYTHING, from: "2021-01-01", to: "2020-01-01" }).count, 0);
});

test("a modality that nobody knows is not added by asking", () => {
  assert.equal(choose(tiles, { ...EVERYTHING, has: ["nonsense"] }).count, 0);
  assert.ok(!tiles.modalities.values.includes("nonsense"));
});

test("counts by code", () => {
  assert.deepEqual(counts(tiles.area, tiles.count, tiles.areas.values.length), [2, 1, 2]);
});
