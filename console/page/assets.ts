import { readdir, readFile } from "node:fs/promises";
import { extname, join } from "node:path";
import { ConfigError } from "../../program/config_error.ts";
import { messageOf } from "../../program/log/log.ts";

/** The files that browsers load, by path: /index.html and what it names. */
export type Assets = ReadonlyMap<string, Asset>;

export interface Asset {
  readonly content: Uint8Array<ArrayBuffer>;
  /** Its media type. */
  readonly type: string;
}

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** Bundles the page from its source, as the image's build does: `bun build console/page/client/index.html`. */
export async function bundleAssets(): Promise<Assets> {
  const { outputs } = await Bun.build({
    entrypoints: [join(import.meta.dir, "client/index.html")],
    target: "browser",
    minify: true,
  });
  const assets = outputs.map(
    async (output) => [pathOf(output.path), toAsset(output.path, new Uint8Array(await output.arrayBuffer()))] as const,
  );
  return new Map(await Promise.all(assets));
}

/**
 * Reads a folder with the bundled page.
 *
 * @throws {ConfigError} if it has no index.html.
 */
export async function readAssets(folder: string): Promise<Assets> {
  const names = await readdir(folder).catch((error) => {
    throw new ConfigError(`Cannot read ASSETS="${folder}": ${messageOf(error)}`);
  });
  const assets = names.map(async (name) => {
    return [`/${name}`, toAsset(name, new Uint8Array(await readFile(join(folder, name))))] as const;
  });
  const result = new Map(await Promise.all(assets));
  if (!result.has("/index.html")) throw new ConfigError(`Cannot use ASSETS="${folder}": it has no index.html`);
  return result;
}

function pathOf(output: string): string {
  return `/${output.replace(/^\.?\//, "")}`;
}

function toAsset(name: string, content: Uint8Array<ArrayBuffer>): Asset {
  return { content, type: TYPES[extname(name)] ?? "application/octet-stream" };
}
