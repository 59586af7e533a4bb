import assert from "node:assert/strict";
import { test } from "node:test";
import { unrolled } from "../src/land.ts";

test("a ring across the antimeridian goes on beyond 180", () => {
  const ring = [
    [170, 60],
    [-170, 60],
    [-170, 70],
    [170, 70],
    [170, 60],
  ];
  assert.deepEqual(
    unrolled(ring).map(([longitude]) => longitude),
    [170, 190, 190, 170, 170],
  );
});

test("a ring around the pole is closed along the rim", () => {
  const ring = [-180, -90, 0, 90, 179, -180].map((longitude) => [longitude, -70]);
  const points = unrolled(ring);
  assert.deepEqual(points.at(5), [180, -70]);
  assert.deepEqual(points.slice(6), [
    [180, -89.9],
    [-180, -89.9],
    [-180, -70],
  ]);
});

test("other rings stay as they are", () => {
  const ring = [
    [0, 0],
    [10, 0],
    [10, 10],
    [0, 0],
  ];
  assert.deepEqual(unrolled(ring), ring);
});
