import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compile } from "../../program/processes/compile.ts";
import { benchScale } from "./plugin_scale.ts";
import { benchStart } from "./plugin_start.ts";

/** Measures the plugin, compiled as in its image. Returns two tables: its start, and its work at several pool sizes. */
export async function benchPlugin(): Promise<Record<string, string>[][]> {
  const folder = await mkdtemp(join(tmpdir(), "bench-"));
  try {
    await writeFile(join(folder, "empty.ts"), 'console.log("");');
    const empty = await compile(join(folder, "empty.ts"), join(folder, "empty"));
    const plugin = await compile("plugin/main.ts", join(folder, "plugin"));
    const baseline = await compile("bench/plugin/baseline_plugin.ts", join(folder, "baseline"));
    return [
      await benchStart({ empty, plugin, directory: join(folder, "kubelet") }),
      await benchScale({ plugin, baseline, folder }),
    ];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
