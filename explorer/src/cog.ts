/** A Cloud-Optimized GeoTIFF, read by byte ranges: blocks of its image and overviews, and the values of a pixel. */
import { BaseClient, BaseResponse, fromCustomClient, type GeoTIFF, type GeoTIFFImage, type TypedArray } from "geotiff";
import { Trouble } from "./errors.ts";
import { get } from "./http.ts";
import type { Asset } from "./release.ts";

/** Bands of a rectangle of pixels, each row by row. */
export interface Pixels {
  readonly bands: readonly TypedArray[];
  readonly width: number;
  readonly height: number;
}

export interface Level {
  readonly width: number;
  readonly height: number;
  /** Width and height of its blocks, in pixels. */
  readonly block: readonly [number, number];
  readonly image: GeoTIFFImage;
}

/** Bytes that are fetched at once: headers and offsets of a COG come with the first. */
const AT_ONCE = 1 << 16;
/** So many of them are kept, which is all: geotiff.js loses what it drops while others wait for it. */
const KEPT = 1 << 16;

/** Requests of geotiff.js by the page's own words for what goes wrong. */
class Client extends BaseClient {
  /** What went wrong last; geotiff.js says of a block that failed no more than that it did. */
  private trouble: unknown = null;

  constructor(
    url: string,
    private readonly signal: AbortSignal,
  ) {
    super(url);
  }

  override async request(options: RequestInit = {}): Promise<BaseResponse> {
    try {
      return new Answer(await get(this.url, { ...options, signal: this.signal }));
    } catch (error) {
      // Nobody waits for what was given up; geotiff.js would throw it where nobody catches it.
      if (this.signal.aborted) return new Promise(() => undefined);
      this.trouble = error;
      throw error;
    }
  }

  /** Do some reading; throws what went wrong in words that help. */
  async reading<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      const trouble = this.trouble;
      this.trouble = null;
      if (trouble) throw trouble;
      throw new Trouble(`${this.url} cannot be read as a GeoTIFF (${error instanceof Error ? error.message : error}).`);
    }
  }
}

class Answer extends BaseResponse {
  constructor(private readonly response: Response) {
    super();
  }

  override get status(): number {
    return this.response.status;
  }

  override getHeader(name: string): string | undefined {
    return this.response.headers.get(name) ?? undefined;
  }

  override getData(): Promise<ArrayBuffer> {
    return this.response.arrayBuffer();
  }
}

export class Cog {
  /** Decoded blocks by level, column and row: the picture and the values under the cursor are of the same. */
  private readonly blocks = new Map<string, Promise<Pixels>>();

  private constructor(
    private readonly client: Client,
    /** From the coarsest overview to the image itself. */
    readonly levels: readonly Level[],
    private readonly nodata: readonly number[],
  ) {}

  /** Open a file; `signal` ends all reading of it. */
  static async open(url: string, asset: Asset, signal: AbortSignal): Promise<Cog> {
    const client = new Client(url, signal);
    return client.reading(async () => {
      const options = { allowFullFile: true, blockSize: AT_ONCE, cacheSize: KEPT };
      const tiff: GeoTIFF = await fromCustomClient(client, options);
      const count = await tiff.getImageCount();
      const images = await Promise.all(Array.from({ length: count }, (_, number) => tiff.getImage(number)));
      const levels = images.filter((image) => !isMask(image)).map(levelOf);
      return new Cog(
        client,
        levels.sort((one, other) => one.width - other.width),
        nodataOf(asset),
      );
    });
  }

  get width(): number {
    return this.levels.at(-1)?.width ?? 0;
  }

  get height(): number {
    return this.levels.at(-1)?.height ?? 0;
  }

  /** A block of a level, by its column and row among the blocks; at the right and at the bottom it may be smaller. */
  block(level: number, x: number, y: number): Promise<Pixels> {
    const name = `${level}/${x}/${y}`;
    const known = this.blocks.get(name);
    if (known) return known;
    const read = this.client.reading(() => readBlock(this.levels[level] as Level, x, y));
    this.blocks.set(name, read);
    read.catch(() => this.blocks.delete(name)); // the next one asks again
    return read;
  }

  /** All of the coarsest overview, block by block. */
  async coarsest(): Promise<Pixels[]> {
    const { width, height, block } = this.levels[0] as Level;
    const reads: Promise<Pixels>[] = [];
    for (let y = 0; y * block[1] < height; y++) {
      for (let x = 0; x * block[0] < width; x++) reads.push(this.block(0, x, y));
    }
    return Promise.all(reads);
  }

  /** All bands at a column and a row of the image, as stored. */
  async values(column: number, row: number): Promise<number[]> {
    const finest = this.levels.length - 1;
    const [wide, high] = (this.levels[finest] as Level).block;
    const { bands, width } = await this.block(finest, Math.floor(column / wide), Math.floor(row / high));
    return bands.map((band) => Number(band[(row % high) * width + (column % wide)]));
  }

  /** Whether a value of a band means that nothing is there. */
  isNodata(band: number, value: number): boolean {
    const nodata = this.nodata[band];
    return Number.isNaN(value) || value === nodata;
  }
}

function levelOf(image: GeoTIFFImage): Level {
  const block = [image.getTileWidth(), image.getTileHeight()] as const;
  return { image, block, width: image.getWidth(), height: image.getHeight() };
}

async function readBlock({ image, block, width, height }: Level, x: number, y: number): Promise<Pixels> {
  const [left, top] = [x * block[0], y * block[1]];
  const [right, bottom] = [Math.min(left + block[0], width), Math.min(top + block[1], height)];
  const bands = (await image.readRasters({ window: [left, top, right, bottom] })) as TypedArray[];
  return { bands, width: right - left, height: bottom - top };
}

function isMask(image: GeoTIFFImage): boolean {
  const kind = Number(image.fileDirectory.getValue("NewSubfileType") ?? 0);
  return (kind & 4) !== 0;
}

/** Nodata of each band as its item says; the builder has read it back from the file. */
function nodataOf(asset: Asset): number[] {
  return (asset.bands ?? []).map((band) => (band.nodata === undefined ? Number.NaN : Number(band.nodata)));
}
