import { expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

test("the demo shows the whole way of a pod, plain when piped, and leaves nothing behind", async () => {
  const folder = await mkdtemp(join(tmpdir(), "d-"));
  try {
    const env = { PATH: process.env.PATH, HOME: process.env.HOME, TMPDIR: folder };
    const demo = Bun.spawn([process.execPath, "demo/main.ts"], { env, stdio: ["ignore", "pipe", "pipe"] });
    const [said, complained] = await Promise.all([new Response(demo.stdout).text(), new Response(demo.stderr).text()]);
    expect(complained).toBe("");
    expect(await demo.exited).toBe(0);
    expect(said).not.toContain("\u001b");
    expect(said).toMatch(/\+ +- \/bitfusion\/bin\/bitfusion/);
    expect(said).toMatch(/- +bitfusion\.io\/gpu-num: 1/);
    expect(said).toMatch(/gpu-server-\w +injection\/bf-pkgs\/bf-pkgs +100 %/);
    expect(said).toMatch(/gpu-server-b killed .* 200 of 300/);
    expect(said).toMatch(/gpu-server-b started again .* 300 of 300/);
    expect(await readdir(folder)).toEqual([]);
    expect(await processesNaming(folder)).toEqual([]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}, 60_000);

test("the demo that is interrupted ends its programs and removes its files", async () => {
  const folder = await mkdtemp(join(tmpdir(), "d-"));
  try {
    const env = { PATH: process.env.PATH, HOME: process.env.HOME, TMPDIR: folder };
    const demo = Bun.spawn([process.execPath, "demo/main.ts"], { env, stdio: ["ignore", "pipe", "pipe"] });
    for await (const chunk of demo.stdout) if (new TextDecoder().decode(chunk).includes("Holding")) break;
    demo.kill("SIGINT");
    expect(await demo.exited).toBe(1);
    expect(await readdir(folder)).toEqual([]);
    expect(await processesNaming(folder)).toEqual([]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}, 60_000);

/** Command lines and environments that name the folder: whatever the demo starts has TMPDIR from it. */
async function processesNaming(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of await readdir("/proc").catch(() => [])) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    const environment = await Bun.file(`/proc/${pid}/environ`)
      .text()
      .catch(() => "");
    if (environment.includes(folder)) found.push(pid);
  }
  return found;
}
