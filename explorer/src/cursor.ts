/** Where on a map somebody points: by mouse, by touch, or by the keys that move the map under its middle. */
import type OlMap from "ol/Map.js";

export function follow(map: OlMap, screen: HTMLElement, point: (coordinate: readonly number[] | null) => void): void {
  let keys = false;
  const middle = () => {
    if (keys) point(map.getView().getCenter() ?? null);
  };
  map.on("pointermove", (event) => {
    keys = false;
    point(event.dragging ? null : event.coordinate);
  });
  map.on("click", (event) => point(event.coordinate));
  map.on("moveend", middle);
  screen.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") point(null); // a finger leaves with every tap
  });
  screen.addEventListener("keydown", () => {
    keys = true;
  });
  screen.addEventListener("focus", () => {
    keys = screen.matches(":focus-visible");
    middle();
  });
  screen.addEventListener("blur", () => {
    if (keys) point(null);
    keys = false;
  });
}
