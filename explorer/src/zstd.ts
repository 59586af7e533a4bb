/**
 * Zstandard for geotiff.js, which knows it already, but waits forever for the rest of a block that was cut short or
 * damaged. A block of a TIFF says how large it is; one that does not come to that is an error.
 */
import { addDecoder, BaseDecoder, type ImageFileDirectory } from "geotiff";
import { ZSTDDecoder } from "zstddec";

const ZSTD = 50000;
const PLANAR = 2;
const zstd = new ZSTDDecoder();

interface Parameters {
  readonly tileWidth: number;
  readonly tileHeight: number;
  readonly planarConfiguration: number;
  readonly bitsPerSample: ArrayLike<number>;
  readonly predictor: number;
}

class Decoder extends BaseDecoder {
  override decodeBlock(buffer: ArrayBuffer): ArrayBuffer {
    const { tileWidth, tileHeight, planarConfiguration, bitsPerSample } = this.parameters as unknown as Parameters;
    const samples = planarConfiguration === PLANAR ? [bitsPerSample[0] ?? 0] : Array.from(bitsPerSample);
    const size = (tileWidth * tileHeight * samples.reduce((sum, bits) => sum + bits, 0)) / 8;
    const decoded = zstd.decode(new Uint8Array(buffer), size);
    if (decoded.byteLength !== size) throw new Error("a block is damaged or cut short");
    return decoded.buffer as ArrayBuffer;
  }
}

async function parametersOf(directory: ImageFileDirectory): Promise<Parameters> {
  return {
    tileWidth: await directory.loadValue("TileWidth"),
    tileHeight: await directory.loadValue("TileLength"),
    planarConfiguration: await directory.loadValue("PlanarConfiguration"),
    bitsPerSample: await directory.loadValue("BitsPerSample"),
    predictor: (await directory.loadValue("Predictor")) || 1,
  } as Parameters;
}

/** Have geotiff.js decode Zstandard by this. */
export function useZstd(): void {
  const load = async () => {
    await zstd.init();
    return Decoder;
  };
  // biome-ignore lint/suspicious/noExplicitAny: geotiff.js types its parameters by what its own decoders take.
  addDecoder(ZSTD, load as any, parametersOf as any);
}
