import { mkdtempDisposable, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Command } from "commander";
import { parse } from "yaml";
import { messageOf } from "../../program/log/log.ts";
import { runChecks } from "./run_checks.ts";

const program = new Command("gpu-check")
  .description(
    "Checks a pool server on this machine's GPUs. Prints a line for each check, and exits with 1 if one failed.",
  )
  .option("--config <file>", "configuration of a pool server: its parts gpus and dataPlane (default: NVIDIA GPUs only)")
  .option("--library <path>", "libcuda.so.1 of the data plane's client")
  .addHelpText(
    "after",
    "\nWith a data plane, it needs root and a C compiler. Stop the machine's own pool server first.",
  )
  .parse();
const { config, library } = program.opts<{ config?: string; library?: string }>();

await using folder = await mkdtempDisposable(join(tmpdir(), "gpu-check-"));
const parts = config === undefined ? { gpus: { nvidia: {} } } : await readParts(config);
const checks = runChecks(parts, { folder: folder.path, library: library === undefined ? undefined : resolve(library) });
for await (const { name, result, sentence } of checks) {
  console.log(`${result.toUpperCase().padEnd(7)} ${name}: ${sentence}`);
  if (result === "failed") process.exitCode = 1;
}

async function readParts(path: string) {
  try {
    const { gpus, dataPlane } = parse(await readFile(path, "utf8")) ?? {};
    if (gpus?.nvidia === undefined) throw new Error("expected gpus.nvidia");
    return { gpus, dataPlane };
  } catch (error) {
    return program.error(`gpu-check: Cannot use --config=${path}: ${messageOf(error)}`, { exitCode: 2 });
  }
}
