/** Reading documents and parts of files, with errors that say what to do. */
import { refused, Trouble, unanswered } from "./errors.ts";

/** Bytes of a file that may be read as a whole for the sake of a part. */
const SMALL = 1 << 22;

export async function get(url: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw unanswered(url);
  }
  if (!response.ok) throw refused(url, response.status);
  return response;
}

// biome-ignore lint/suspicious/noExplicitAny: a STAC document may hold anything; who reads it looks.
export async function getJson(url: string): Promise<any> {
  const text = await whole(url, (await get(url)).text());
  try {
    const document = JSON.parse(text);
    if (document !== null && typeof document === "object") return document;
  } catch {
    // Said below.
  }
  throw new Trouble(`${url} is no JSON document: is this the address of a release?`);
}

/** Bytes `start` to `end` (exclusive) of a file, and the size of all of it. */
export async function getRange(url: string, start: number, end: number): Promise<{ data: ArrayBuffer; size: number }> {
  const response = await get(url, { headers: { Range: `bytes=${start}-${end - 1}` } });
  const data = await whole(url, response.arrayBuffer());
  if (response.status === 206) {
    const total = response.headers.get("Content-Range")?.split("/")[1];
    // Without CORS for this header the size is not told; what was asked for is here all the same.
    return { data, size: total ? Number(total) : Number.NaN };
  }
  // A server that knows no ranges sends everything, each time.
  if (data.byteLength > SMALL) {
    throw new Trouble(
      `The server of ${url} gives no parts of files (byte ranges), and this file is too large without.`,
    );
  }
  return { data: data.slice(start, end), size: data.byteLength };
}

/** A body to its end. */
async function whole<T>(url: string, body: Promise<T>): Promise<T> {
  try {
    return await body;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Trouble(`${url} was cut off on its way. Load the page again.`);
  }
}
