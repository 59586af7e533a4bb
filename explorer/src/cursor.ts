/** Where on a map somebody points: by mouse, by touch, or by the keys that move the map under its middle. */
import type Collection from "ol/Collection.js";
import { noModifierKeys } from "ol/events/condition.js";
import DragPan from "ol/interaction/DragPan.js";
import { defaults } from "ol/interaction/defaults.js";
import type Interaction from "ol/interaction/Interaction.js";
import MouseWheelZoom from "ol/interaction/MouseWheelZoom.js";
import Kinetic from "ol/Kinetic.js";
import type OlMap from "ol/Map.js";
import type MapBrowserEvent from "ol/MapBrowserEvent.js";

/**
 * How a picture among others is moved: by mouse as any map, by two fingers, for one scrolls the page, and by the wheel
 * where the picture has the focus or a key is held, for else it scrolls the page, too.
 */
export function interactions(screen: HTMLElement): Collection<Interaction> {
  const dragged = ({ originalEvent, activePointers }: MapBrowserEvent) =>
    (originalEvent as PointerEvent).pointerType !== "touch" || (activePointers?.length ?? 0) > 1;
  const wheeled = ({ originalEvent }: MapBrowserEvent) =>
    screen.contains(document.activeElement) ||
    (originalEvent as WheelEvent).ctrlKey ||
    (originalEvent as WheelEvent).metaKey;
  return defaults({ altShiftDragRotate: false, pinchRotate: false, dragPan: false, mouseWheelZoom: false }).extend([
    new DragPan({
      condition: (event) => noModifierKeys(event) && dragged(event),
      kinetic: new Kinetic(-0.005, 0.05, 100),
    }),
    new MouseWheelZoom({ condition: wheeled }),
  ]);
}

export function follow(map: OlMap, screen: HTMLElement, point: (coordinate: readonly number[] | null) => void): void {
  map.getViewport()?.style.setProperty("touch-action", "pan-x pan-y"); // of one finger, which is the page's
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
