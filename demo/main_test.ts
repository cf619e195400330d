import { expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

test("the demo shows each step, prints no colors when piped, and leaves no files or processes behind", async () => {
  const folder = await mkdtemp(join(tmpdir(), "d-"));
  try {
    const env = { PATH: process.env.PATH, HOME: process.env.HOME, TMPDIR: folder };
    const demo = Bun.spawn([process.execPath, "demo/main.ts"], { env, stdio: ["ignore", "pipe", "pipe"] });
    const [output, errors] = await Promise.all([new Response(demo.stdout).text(), new Response(demo.stderr).text()]);
    expect(errors).toBe("");
    expect(await demo.exited).toBe(0);
    expect(output).not.toContain("\u001b");
    expect(output).toMatch(/\+ +- \/bitfusion\/bin\/bitfusion/);
    expect(output).toMatch(/- +bitfusion\.io\/gpu-num: 1/);
    expect(output).toMatch(/gpu-server-\w +injection\/bf-pkgs\/bf-pkgs +100 %/);
    expect(output).toMatch(/gpu-server-b killed .* 200 of 300/);
    expect(output).toMatch(/gpu-server-b started again .* 300 of 300/);
    expect(await readdir(folder)).toEqual([]);
    expect(await processesUsing(folder)).toEqual([]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}, 60_000);

test("the demo ends its programs and removes its files on SIGINT", async () => {
  const folder = await mkdtemp(join(tmpdir(), "d-"));
  try {
    const env = { PATH: process.env.PATH, HOME: process.env.HOME, TMPDIR: folder };
    const demo = Bun.spawn([process.execPath, "demo/main.ts"], { env, stdio: ["ignore", "pipe", "pipe"] });
    for await (const chunk of demo.stdout) if (new TextDecoder().decode(chunk).includes("Holding")) break;
    demo.kill("SIGINT");
    expect(await demo.exited).toBe(1);
    expect(await readdir(folder)).toEqual([]);
    expect(await processesUsing(folder)).toEqual([]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}, 60_000);

/** Returns the ids of processes whose environment contains the folder: every process of the demo inherits TMPDIR. */
async function processesUsing(folder: string): Promise<string[]> {
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
