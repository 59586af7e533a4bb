import assert from "node:assert/strict";
import { test } from "node:test";
import { choose, EVERYTHING } from "../src/filters.ts";
import { itemHref, releaseRoot } from "../src/layout.ts";
import { asPython, asSync, asUrls, bucketOf } from "../src/selection.ts";
import { made, ROWS } from "./made.ts";

const tiles = made(ROWS);
const root = new URL("https://dream.s3.eu-west-3.amazonaws.com/v1.0.0/");

test("Python asks for no more than the filter says", () => {
  assert.match(asPython(root, tiles, EVERYTHING), /client\.search\(\)\n/);
  const text = asPython(root, tiles, { ...EVERYTHING, collections: ["usa"], from: "2019-01-01", valid: 50 });
  assert.match(text, /collections=\["usa"\]/);
  assert.match(text, /datetime="2019-01-01T00:00:00Z\/\.\."/);
  assert.match(text, /filter='"dream:valid_percent" >= 50'/);
});

test("a modality is asked for only where one is lacking, and only of collections that know it", () => {
  const osm = asPython(root, tiles, { ...EVERYTHING, has: ["osm"] });
  assert.match(osm, /collections=\["france"\]/);
  assert.doesNotMatch(osm, /absent/);
  const s2 = asPython(root, tiles, { ...EVERYTHING, has: ["s2"] });
  assert.match(s2, /A_CONTAINS\(\\"dream:absent\\", \('s2'\)\)/);
});

test("areas of two collections keep to their own", () => {
  const text = asPython(root, tiles, { ...EVERYTHING, areas: ["france/ventoux", "usa/fear"] });
  assert.match(text, /collection = 'france' AND \\"dream:area\\" IN \('ventoux'\)/);
  assert.match(text, / OR /);
});

test("whole areas are synchronised as areas, parts of them by tiles", () => {
  const filter = { ...EVERYTHING, valid: 80 };
  const text = asSync(bucketOf(root), tiles, choose(tiles, filter).mask, filter, []);
  assert.match(text, /^aws s3 cp s3:\/\/dream\/v1\.0\.0\/catalog\.json mirror\/catalog\.json --no-sign-request\n/);
  assert.match(text, /\/ventoux mirror\/france\/ventoux --exact-timestamps --no-sign-request --exclude '\*' \\\n/);
  assert.match(text, /--include 'ventoux_x0067_y0478\/\*'/);
  assert.match(
    text,
    /sync s3:\/\/dream\/v1\.0\.0\/france\/beauce mirror\/france\/beauce --exact-timestamps --no-sign-request\n/,
  );
  assert.doesNotMatch(text, /ventoux_x0066/);
  const s1 = asSync(bucketOf(root), tiles, choose(tiles, filter).mask, filter, ["s1"]);
  assert.match(s1, /--include ventoux_x0067_y0478\/s1\.tif\n/);
  assert.match(s1, /--include '\*\/s1\.tif'/);
});

test("addresses of items, and of files where a tile has them", () => {
  const { mask } = choose(tiles, EVERYTHING);
  assert.equal(asUrls(root, tiles, mask, []).trim().split("\n").length, ROWS.length);
  const s1 = asUrls(root, tiles, mask, ["s1"]).trim().split("\n");
  assert.deepEqual(s1, [
    `${root}france/ventoux/ventoux_x0066_y0478/s1.tif`,
    `${root}france/beauce/beauce_x0040_y0520/s1.tif`,
  ]);
});

test("the bucket behind an address", () => {
  const bucket = (url: string) => bucketOf(new URL(url));
  assert.deepEqual(bucket("https://dream.s3.eu-west-3.amazonaws.com/v1/"), { url: "s3://dream/v1", endpoint: "" });
  assert.deepEqual(bucket("https://s3.eu-west-3.amazonaws.com/dream/v1/"), { url: "s3://dream/v1", endpoint: "" });
  assert.deepEqual(bucket("https://dream.s3.amazonaws.com/"), { url: "s3://dream", endpoint: "" });
  assert.deepEqual(bucket("http://127.0.0.1:8333/dream/v1/"), {
    url: "s3://dream/v1",
    endpoint: "http://127.0.0.1:8333",
  });
  assert.deepEqual(bucket("https://dream.s3.fr-par.scw.cloud/v1/"), {
    url: "s3://dream/v1",
    endpoint: "https://s3.fr-par.scw.cloud",
  });
  assert.equal(bucket("http://127.0.0.1:8000/"), null);
  assert.equal(bucket("https://d1.cloudfront.net/v1.0.0/"), null);
  assert.equal(bucket("https://user.github.io/100%/v1/"), null);
});

test("where a release lies", () => {
  const of = (page: string) => releaseRoot(new URL(page)).href;
  assert.equal(of("https://h/p/v1/explore/index.html#tile=a/b"), "https://h/p/v1/");
  assert.equal(of("https://h/explore/index.html?release=https://o/x/catalog.json"), "https://o/x/");
  assert.equal(of("https://h/explore/index.html?release=https://o/x"), "https://o/x/");
  assert.equal(
    itemHref("usa", "cape_fear_xm0001_y0000"),
    "usa/cape_fear/cape_fear_xm0001_y0000/cape_fear_xm0001_y0000.json",
  );
});
