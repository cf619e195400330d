import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compile } from "../common/compile.ts";
import { benchScale } from "./plugin_scale.ts";
import { benchStart } from "./plugin_start.ts";

/** The plugin, compiled as its image has it. Two tables: its start, and its work at several sizes. */
export async function benchPlugin(): Promise<Record<string, string>[][]> {
  const folder = await mkdtemp(join(tmpdir(), "bench-"));
  try {
    await writeFile(join(folder, "nothing.ts"), 'console.log("");');
    const nothing = await compile(join(folder, "nothing.ts"), join(folder, "nothing"));
    const plugin = await compile("plugin/main.ts", join(folder, "plugin"));
    const bare = await compile("bench/plugin/bare_plugin.ts", join(folder, "bare"));
    return [
      await benchStart({ nothing, plugin, directory: join(folder, "kubelet") }),
      await benchScale({ plugin, bare, folder }),
    ];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
