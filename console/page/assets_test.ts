import { expect, test } from "bun:test";
import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bundleAssets, readAssets } from "./assets.ts";

test("bundleAssets() makes a page that names its own files, and has nothing inline", async () => {
  const assets = await bundleAssets();
  const html = new TextDecoder().decode(assets.get("/index.html")?.content);
  const named = [...html.matchAll(/(?:src|href)="\.(\/[^"]+)"/g)].map(([, path]) => path);
  expect(named).toHaveLength(3);
  expect([...assets.keys()].sort()).toEqual(["/index.html", ...named].map(String).sort());
  expect(html).not.toMatch(/<style|style=|<script(?![^>]* src=)| on[a-z]+=|https?:/);
});

test("readAssets() reads a bundled page, and says what a folder lacks", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "assets-"));
  const read = () => readAssets(folder.path);
  expect(read()).rejects.toThrow(`Cannot use ASSETS="${folder.path}": it has no index.html`);
  await writeFile(join(folder.path, "index.html"), "<!doctype html>");
  await writeFile(join(folder.path, "page.css"), "body {}");
  const types = [...(await read())].map(([path, { type }]) => `${path} ${type}`);
  expect(types.sort()).toEqual(["/index.html text/html; charset=utf-8", "/page.css text/css; charset=utf-8"]);
  expect(readAssets(join(folder.path, "none"))).rejects.toThrow(`Cannot read ASSETS="${folder.path}/none"`);
});
