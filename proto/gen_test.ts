import { expect, test } from "bun:test";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

async function filesBelow(folder: string): Promise<Record<string, string>> {
  const names = [...new Bun.Glob("**/*").scanSync(folder)].sort();
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name), "utf8")] as const)),
  );
}

test("proto/gen is what buf generates from the proto files (bun run generate)", async () => {
  const folder = await mkdtemp(join(tmpdir(), "gen-"));
  try {
    const buf = Bun.spawn(["buf", "generate", "--output", folder], {
      env: { ...process.env, PATH: `${resolve("node_modules/.bin")}:${process.env.PATH}` },
      stdio: ["ignore", "pipe", "pipe"],
    });
    expect(await buf.exited, await new Response(buf.stderr).text()).toBe(0);
    const generated = await filesBelow(join(folder, "proto/gen"));
    expect(Object.keys(generated).length).toBeGreaterThan(2);
    expect(await filesBelow("proto/gen")).toEqual(generated);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}, 20_000);
