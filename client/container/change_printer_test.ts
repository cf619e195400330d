import { expect, test } from "bun:test";
import { createChangePrinter } from "./change_printer.ts";

test("createChangePrinter() prints no line twice in a row, and none twice in a minute", () => {
  const lines: string[] = [];
  let now = 0;
  const print = createChangePrinter(
    (line) => lines.push(line),
    () => now,
  );
  for (const line of ["away", "away", "back", "away", "back"]) print(line);
  expect(lines).toEqual(["away", "back"]);
  now = 60_000;
  print("back");
  expect(lines).toEqual(["away", "back"]);
  print("away");
  print("back");
  expect(lines).toEqual(["away", "back", "away", "back"]);
});
