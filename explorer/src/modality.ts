/** One modality of a tile as a layer of a map: its COG, how it is drawn, what its pixels say. */
import TileLayer from "ol/layer/Tile.js";
import type Projection from "ol/proj/Projection.js";
import ImageTile from "ol/source/ImageTile.js";
import TileGrid from "ol/tilegrid/TileGrid.js";
import { Cog, type Pixels } from "./cog.ts";
import { Trouble } from "./errors.ts";
import { inside } from "./layout.ts";
import { defaultLook, type Look, makePainter, type Painter, renderOf, type Subject } from "./paint.ts";
import type { Asset, Collection, Item, Render } from "./release.ts";
import { classesOf } from "./words.ts";

/** The grid of a tile: north up, as `catalog-builder build` makes them. */
export interface Grid {
  readonly code: string;
  /** West, south, east, north in units of the CRS. */
  readonly extent: [number, number, number, number];
  readonly pixel: readonly [width: number, height: number];
  readonly shape: readonly [rows: number, columns: number];
}

export function gridOf(asset: Asset, properties: Readonly<Record<string, unknown>>, where: string): Grid {
  const code = asset["proj:code"] ?? properties["proj:code"];
  const shape = asset["proj:shape"] ?? properties["proj:shape"];
  const transform = asset["proj:transform"] ?? properties["proj:transform"];
  if (typeof code !== "string" || !Array.isArray(shape) || !Array.isArray(transform)) {
    throw new Trouble(
      `${where}: no proj:code, proj:shape and proj:transform, so that nobody knows where its pixels lie.`,
    );
  }
  const [a, b, west, d, e, north] = transform as [number, number, number, number, number, number];
  const [rows, columns] = shape as [number, number];
  if (b || d || !(a > 0) || !(e < 0))
    throw new Trouble(`${where}: its pixels are turned; this page draws north up only.`);
  return { code, extent: [west, north + rows * e, west + columns * a, north], pixel: [a, -e], shape: [rows, columns] };
}

/** Column and row of the pixel at a coordinate of the CRS; null outside of the tile. */
export function pixelAt(grid: Grid, [x = 0, y = 0]: readonly number[]): [column: number, row: number] | null {
  const column = Math.floor((x - grid.extent[0]) / grid.pixel[0]);
  const row = Math.floor((grid.extent[3] - y) / grid.pixel[1]);
  const within = column >= 0 && row >= 0 && column < grid.shape[1] && row < grid.shape[0];
  return within ? [column, row] : null;
}

/** A source whose tiles can be asked for anew; those of before are shown until the new ones are there. */
class Pictures extends ImageTile {
  private version = 0;

  renew(): void {
    this.version += 1;
    this.setKey(String(this.version));
  }
}

export class Modality implements Subject {
  readonly isNodata = (band: number, value: number) => this.cog.isNodata(band, value);
  readonly render: Render;
  look: Look;
  private painter: Painter;
  private readonly source: Pictures;

  private constructor(
    readonly key: string,
    readonly asset: Asset,
    collection: Collection,
    readonly grid: Grid,
    readonly cog: Cog,
    /** All of the coarsest overview: what stretches are taken from. */
    readonly sample: readonly Pixels[],
    projection: Projection,
    look: Look | undefined,
    failed: (error: unknown) => void,
  ) {
    this.render = renderOf(key, asset, collection);
    this.look = look && fits(look, asset) ? look : defaultLook(this.render);
    this.painter = makePainter(this, this.look);
    this.source = new Pictures({
      projection,
      tileGrid: tileGrid(grid, cog),
      transition: 0,
      wrapX: false,
      interpolate: !this.hasClasses,
      loader: async (z, x, y) => {
        try {
          return await this.draw(z, x, y);
        } catch (error) {
          failed(error);
          throw error;
        }
      },
    });
  }

  static async open(
    key: string,
    item: Item,
    collection: Collection,
    projection: Projection,
    look: Look | undefined,
    failed: (error: unknown) => void,
    signal: AbortSignal,
  ): Promise<Modality> {
    const asset = item.assets[key] as Asset;
    const url = inside(item.root, asset.href, item.url).href;
    const grid = gridOf(asset, item.properties, url);
    const cog = await Cog.open(url, asset, signal);
    if (cog.height !== grid.shape[0] || cog.width !== grid.shape[1]) {
      throw new Trouble(
        `${url} has ${cog.width} x ${cog.height} pixels, its item says ${grid.shape[1]} x ${grid.shape[0]}.`,
      );
    }
    return new Modality(key, asset, collection, grid, cog, await cog.coarsest(), projection, look, failed);
  }

  layer(): TileLayer<ImageTile> {
    const layer = new TileLayer({ source: this.source });
    // From near, pixels are squares with an edge; from far, neighbours are mixed.
    layer.on("prerender", (event) => {
      const context = event.context as CanvasRenderingContext2D;
      const resolution = event.frameState?.viewState.resolution ?? 0;
      context.imageSmoothingEnabled = !this.hasClasses && resolution > this.grid.pixel[0];
    });
    return layer;
  }

  /** Whether values are labels, between which there is nothing. */
  private get hasClasses(): boolean {
    return this.render.colormap !== undefined || classesOf(this.asset).length > 0;
  }

  setLook(look: Look): void {
    this.look = look;
    this.painter = makePainter(this, this.look);
    this.redraw();
  }

  redraw(): void {
    this.source.renew();
  }

  /** Every band at a column and a row, as stored; null where it is nodata. */
  async values(column: number, row: number): Promise<(number | null)[]> {
    const values = await this.cog.values(column, row);
    return values.map((value, band) => (this.isNodata(band, value) ? null : value));
  }

  private async draw(z: number, x: number, y: number): Promise<HTMLCanvasElement> {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = this.cog.levels[z]?.block ?? [1, 1];
    canvas.getContext("2d")?.putImageData(this.painter(await this.cog.block(z, x, y)), 0, 0);
    return canvas;
  }
}

function fits(look: Look, asset: Asset): boolean {
  return look.bands.every((band) => band <= (asset.bands?.length ?? 0));
}

function tileGrid(grid: Grid, cog: Cog): TileGrid {
  return new TileGrid({
    extent: grid.extent,
    origin: [grid.extent[0], grid.extent[3]],
    resolutions: cog.levels.map((level) => (grid.pixel[0] * cog.width) / level.width),
    tileSizes: cog.levels.map((level) => [...level.block]),
  });
}
