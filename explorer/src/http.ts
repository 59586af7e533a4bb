/** Reading documents and parts of files, with errors that say what to do. */
import { refused, Trouble, unanswered } from "./errors.ts";

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
  const response = await get(url);
  try {
    const document = await response.json();
    if (document !== null && typeof document === "object") return document;
  } catch {
    // Said below.
  }
  throw new Trouble(`${url} is no JSON document: is this the address of a release?`);
}

/** Bytes `start` to `end` (exclusive) of a file, and the size of all of it. */
export async function getRange(url: string, start: number, end: number): Promise<{ data: ArrayBuffer; size: number }> {
  const response = await get(url, { headers: { Range: `bytes=${start}-${end - 1}` } });
  const data = await response.arrayBuffer();
  if (response.status === 206) {
    const total = response.headers.get("Content-Range")?.split("/")[1];
    // Without CORS for this header the size is not told; what was asked for is here all the same.
    return { data, size: total ? Number(total) : Number.NaN };
  }
  // A server that knows no ranges sends everything.
  return { data: data.slice(start, end), size: data.byteLength };
}
