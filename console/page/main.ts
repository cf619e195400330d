import { connectKubernetes } from "../../kubernetes/client.ts";
import { runProgram } from "../../program/run.ts";
import { bundleAssets, readAssets } from "./assets.ts";
import { servePage } from "./page.ts";
import { readSettings } from "./settings.ts";

await runProgram("console", async ({ environment, log, signal }) => {
  const { assets: folder, ...settings } = readSettings(environment);
  const { request } = connectKubernetes();
  const assets = folder === undefined ? await bundleAssets() : await readAssets(folder);
  await servePage({ request, settings, assets, log }, signal);
});
