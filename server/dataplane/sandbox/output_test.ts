import { expect, test } from "bun:test";
import { readLines } from "./output.ts";

async function read(pieces: readonly string[], now?: () => number) {
  const lines: [string, number][] = [];
  const output = new Blob([...pieces]).stream();
  await readLines(output, (line, dropped) => lines.push([line, dropped]), now);
  return lines;
}

test("readLines() passes on each line, and the last one without an end", async () => {
  expect(await read(["a\n\nb", "c\nd"])).toEqual([
    ["a", 0],
    ["bc", 0],
    ["d", 0],
  ]);
});

test("readLines() cuts long lines, and keeps no more of them", async () => {
  const lines = await read(["x".repeat(10_000_000), "\nnext\n"]);
  expect(lines.map(([line]) => line.length)).toEqual([1024, 4]);
});

test("readLines() drops what is more than 100 lines in ten seconds, and says so", async () => {
  let time = 0;
  const output = Array.from({ length: 250 }, (_, index) => `${index}\n`);
  const lines = await read(output, () => (time += 50)); // the clock is read once for each line
  expect(lines.slice(98, 102)).toEqual([
    ["98", 0],
    ["99", 0],
    ["200", 100],
    ["201", 0],
  ]);
});
