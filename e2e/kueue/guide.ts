import { readFile } from "node:fs/promises";
import { parseAllDocuments } from "yaml";
import type { Manifest } from "../steps/manifests.ts";

/** The objects in docs/kueue.md, in their order. */
export async function readGuide(): Promise<Manifest[]> {
  const guide = await readFile("docs/kueue.md", "utf8");
  const blocks = [...guide.matchAll(/^```yaml\n(.*?)^```/gms)].map(([, text = ""]) => text);
  return blocks.flatMap((text) => parseAllDocuments(text).map((document) => document.toJS() as Manifest));
}
