import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, encode, START, type State } from "../src/address.ts";
import { EVERYTHING } from "../src/filters.ts";

test("an empty address is the start, and the start an empty address", () => {
  assert.deepEqual(decode(""), START);
  assert.deepEqual(decode("#"), START);
  assert.equal(encode(START), "");
});

test("a state comes back from its address", () => {
  const state: State = {
    filter: {
      collections: ["france", "usa"],
      areas: ["france/ventoux", "usa/fear"],
      from: "2019-01-01",
      to: "2021-12-31",
      has: ["s1", "osm"],
      valid: 99.5,
      splits: ["train", "a,b & c"],
    },
    colour: "valid",
    map: { x: -78.61234, y: 34.5, scale: 11.25 },
    tile: { collection: "france", id: "ventoux_x0066_y0478" },
    mode: "swipe",
    swipe: ["s1", "osm"],
    view: { x: 700000.5, y: 4890000, scale: 2.5 },
    looks: { s2: { bands: [4, 3, 2], stretch: "spread" }, srtm: { bands: [1], stretch: [-5, 1200.5] } },
  };
  assert.deepEqual(decode(`#${encode(state)}`), state);
});

test("nonsense in an address is left out, not believed", () => {
  const address =
    "#collection=,,&from=2019-13-01&to=yesterday&valid=NaN&colour=red&map=1,2&tile=a&mode=x&view=1,2,-3&look.s2=0:template&look.s1=1-2:full&look.osm=1:5~";
  assert.deepEqual(decode(address), START);
  assert.equal(decode("#map=1e99,-1e99,1e99").map, null);
  assert.equal(decode("#from=2019-02-30").filter.from, "");
  assert.equal(decode("#valid=1e9").filter.valid, 100);
  assert.equal(decode("#valid=-4").filter.valid, EVERYTHING.valid);
  assert.deepEqual(decode("#split=%25E0%25A4%25A").filter.splits, ["%E0%A4%A"]);
});
