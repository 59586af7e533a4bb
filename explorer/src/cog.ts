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
  readonly image: GeoTIFFImage;
}

/** Requests of geotiff.js by the page's own words for what goes wrong. */
class Client extends BaseClient {
  override async request(options: RequestInit = {}): Promise<BaseResponse> {
    return new Answer(await get(this.url, options));
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
  private constructor(
    readonly url: string,
    /** From the coarsest overview to the image itself. */
    readonly levels: readonly Level[],
    private readonly nodata: readonly number[],
  ) {}

  static async open(url: string, asset: Asset): Promise<Cog> {
    return reading(url, async () => {
      const tiff: GeoTIFF = await fromCustomClient(new Client(url), { allowFullFile: true });
      tiff.cache = true; // decoded blocks: the picture and the values under the cursor are of the same
      const count = await tiff.getImageCount();
      const images = await Promise.all(Array.from({ length: count }, (_, number) => tiff.getImage(number)));
      const levels = images
        .filter((image) => !isMask(image))
        .map((image) => ({ image, width: image.getWidth(), height: image.getHeight() }))
        .sort((one, other) => one.width - other.width);
      return new Cog(url, levels, nodataOf(asset));
    });
  }

  get width(): number {
    return this.levels.at(-1)?.width ?? 0;
  }

  get height(): number {
    return this.levels.at(-1)?.height ?? 0;
  }

  /** Pixels `[left, top, right, bottom]` of a level, right and bottom exclusive. */
  async read(level: number, window: [number, number, number, number], signal?: AbortSignal): Promise<Pixels> {
    return reading(this.url, async () => {
      const image = (this.levels[level] as Level).image;
      const bands = (await image.readRasters({ window, ...(signal ? { signal } : {}) })) as TypedArray[];
      return { bands, width: window[2] - window[0], height: window[3] - window[1] };
    });
  }

  /** All bands at a column and a row of the image, as stored. */
  async values(column: number, row: number): Promise<number[]> {
    const { bands } = await this.read(this.levels.length - 1, [column, row, column + 1, row + 1]);
    return bands.map((band) => Number(band[0]));
  }

  /** Whether a value of a band means that nothing is there. */
  isNodata(band: number, value: number): boolean {
    const nodata = this.nodata[band];
    return Number.isNaN(value) || value === nodata;
  }
}

function isMask(image: GeoTIFFImage): boolean {
  const kind = Number(image.fileDirectory.getValue("NewSubfileType") ?? 0);
  return (kind & 4) !== 0;
}

/** Nodata of each band as its item says; the builder has read it back from the file. */
function nodataOf(asset: Asset): number[] {
  return (asset.bands ?? []).map((band) => (band.nodata === undefined ? Number.NaN : Number(band.nodata)));
}

async function reading<T>(url: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Trouble || (error instanceof DOMException && error.name === "AbortError")) throw error;
    // geotiff.js gathers what went wrong with several blocks.
    const inner = error instanceof AggregateError ? error.errors[0] : error;
    if (inner instanceof Trouble) throw inner;
    throw new Trouble(`${url} cannot be read as a GeoTIFF (${inner instanceof Error ? inner.message : inner}).`);
  }
}
