/**
 * Make the page: everything that explore/ of a release holds, in one folder.
 *
 *   node build.mjs [FOLDER]      default: ../catalog_builder/explorer_page, from where `catalog-builder build` takes it
 *
 * Names carry a hash of their content, but for index.html and for world.json, which `catalog-builder figures` reads too.
 * The folder appears whole or not at all, and the same packages give the same bytes.
 */

import { copyFile, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = path.dirname(fileURLToPath(import.meta.url));
const target = path.resolve(process.argv[2] ?? path.join(here, "../catalog_builder/explorer_page"));
const partial = `${target}.partial`;

await rm(partial, { recursive: true, force: true });
await mkdir(partial, { recursive: true });

const { metafile } = await build({
  absWorkingDir: here,
  entryPoints: { explorer: "src/main.ts" },
  outdir: partial,
  bundle: true,
  splitting: true,
  format: "esm",
  target: "es2022",
  minify: true,
  metafile: true,
  legalComments: "none",
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  logLevel: "warning",
});

const made = (await readdir(partial)).sort();
const entry = (ending) => made.find((name) => name.startsWith("explorer-") && name.endsWith(ending));
const page = await readFile(path.join(here, "index.html"), "utf8");
const html = page.replaceAll("{{script}}", entry(".js")).replaceAll("{{style}}", entry(".css"));
await writeFile(path.join(partial, "index.html"), html);
await copyFile(path.join(here, "node_modules/world-atlas/countries-50m.json"), path.join(partial, "world.json"));
await writeFile(path.join(partial, "LICENSES.txt"), await licenses());

await rm(target, { recursive: true, force: true });
await rename(partial, target);
for (const name of (await readdir(target)).sort()) console.log(path.join(path.relative(process.cwd(), target), name));

/** The licence of every package of which a part is in the page. */
async function licenses() {
  const folders = new Set(["node_modules/world-atlas"]);
  for (const input of Object.keys(metafile.inputs)) {
    const match = input.match(/^.*node_modules\/(?:@[^/]+\/)?[^/]+/);
    if (match) folders.add(match[0]);
  }
  const parts = ["The explorer is part of catalog-builder (Apache-2.0). It contains parts of these packages.\n"];
  for (const folder of [...folders].sort()) {
    const about = JSON.parse(await readFile(path.join(here, folder, "package.json"), "utf8"));
    const file = (await readdir(path.join(here, folder))).sort().find((name) => /^(licen[cs]e|copying)/i.test(name));
    const text = file ? await readFile(path.join(here, folder, file), "utf8") : "";
    parts.push(`\n=== ${about.name} ${about.version}: ${about.license ?? "see below"}\n\n${text.trim()}\n`);
  }
  parts.push("\nCoast and borders: made with Natural Earth (public domain).\n");
  return parts.join("");
}
