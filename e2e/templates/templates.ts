import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { parse } from "yaml";
import type { Pod } from "../../webhook/pod/pod.ts";

/** A pod as another project creates it. */
export interface Template {
  /** Its file without the extension, such as `vllm`. */
  readonly name: string;
  readonly pod: Pod;
}

/** Reads the pods in e2e/templates. */
export async function readTemplates(): Promise<Template[]> {
  const files = [...new Bun.Glob("*.yaml").scanSync(import.meta.dir)].sort();
  return Promise.all(
    files.map(async (file) => ({
      name: basename(file, ".yaml"),
      pod: parse(await readFile(join(import.meta.dir, file), "utf8")) as Pod,
    })),
  );
}
