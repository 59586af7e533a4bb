/** What went wrong, in a sentence that helps. Everything that is shown to people as an error is one of these. */
export class Trouble extends Error {}

/** The sentence for anything that was thrown. */
export function sentence(error: unknown): string {
  if (error instanceof Trouble) return error.message;
  return `Something unexpected went wrong: ${error instanceof Error ? error.message : String(error)}`;
}

/** Why a request came back with this status. */
export function refused(url: string, status: number): Trouble {
  if (status === 404) return new Trouble(`${url} is not there (404).`);
  if (status === 401 || status === 403) return new Trouble(`${url} may not be read (${status}): is it public?`);
  return new Trouble(`${url} cannot be read: the server answers ${status}.`);
}

/** Why a request did not come back at all; a browser does not tell a page which of the causes it was. */
export function unanswered(url: string): Trouble {
  if (location.protocol === "file:") {
    return new Trouble(
      "A page that was opened from a disk may not read files. Run `catalog-builder serve RELEASE` and open the link that it prints.",
    );
  }
  if (new URL(url).origin === location.origin)
    return new Trouble(`${url} cannot be reached: the server does not answer.`);
  return new Trouble(
    `${url} cannot be read from this page. Either its server does not answer, or it does not allow pages of other hosts to read it (CORS): \`catalog-builder policy\` prints the settings that a bucket needs.`,
  );
}
