import { expect, test } from "bun:test";
import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startProgram } from "./child_program.ts";

/** Starts a program that writes these pieces to its standard output, each once the previous one was read, and ends. */
async function start(...pieces: readonly (string | Uint8Array)[]) {
  const folder = await mkdtempDisposable(join(tmpdir(), "child-program-"));
  const file = join(folder.path, "main.ts");
  const encoded = pieces.map((piece) => Buffer.from(piece).toString("base64"));
  const script = `
    for (const piece of ${JSON.stringify(encoded)}) {
      require("node:fs").writeSync(1, Buffer.from(piece, "base64"));
      await Bun.sleep(20); // so that the pieces are read one by one
    }`;
  await writeFile(file, script);
  const program = startProgram(file, { environment: {}, ready: "ready" });
  return {
    ...program,
    async [Symbol.asyncDispose]() {
      await program[Symbol.asyncDispose]();
      await folder.remove();
    },
  };
}

const line = (message: string) => JSON.stringify({ message });

test.concurrent("startProgram() reads lines that arrive in pieces, several at once, and the last one without an end", async () => {
  const [start1, start2] = [Buffer.from(line("ä")).subarray(0, 13), Buffer.from(line("ä")).subarray(13)];
  await using program = await start(
    '{"mess',
    `age":"ready"}\n${line("a")}\n${line("b")}\n`,
    start1,
    start2,
    `\n${line("c")}`,
  );
  expect(await program.started).toEqual({ message: "ready" });
  for (const message of ["a", "b", "ä", "c"]) {
    expect(await program.logged((each) => each.message === message)).toEqual({ message });
  }
});

test.concurrent("startProgram() ignores lines that are not JSON", async () => {
  await using program = await start(`{ a: 1 }\n{}\nerror\n${line("ready")}\n`);
  expect(await program.started).toEqual({ message: "ready" });
});

test.concurrent("startProgram() rejects with the output of a program that ends early", async () => {
  await using program = await start(`{ a: 1 }\n${line("other")}\n`);
  expect(await program.started.then(String, String)).toContain(`ended: { a: 1 }\n${line("other")}\n`);
});
