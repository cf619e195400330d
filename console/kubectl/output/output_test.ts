import { expect, test } from "bun:test";
import { formatAge } from "./age.ts";
import { formatBar } from "./bar.ts";
import { formatTable } from "./table.ts";
import { createTerminal } from "./terminal.ts";

test("formatTable() aligns columns without borders, and escapes what others wrote", () => {
  const red = (text: string) => `\u001b[31m${text}\u001b[39m`;
  const rows = [
    ["gpu-1", { text: "ok", style: red }],
    ["\u001b[2Jx", { text: "\u0007un", style: red }],
  ];
  expect(formatTable(["NAME", "STATE"], rows)).toBe(
    "NAME         STATE\ngpu-1        \u001b[31mok\u001b[39m\n\\u001b[2Jx   \u001b[31m\\u0007un\u001b[39m\n",
  );
});

test("formatBar() shows the part, and never nothing for something", () => {
  expect([0, 1, 45, 100, 250].map((part) => formatBar(part, 100, true))).toEqual([
    "░░░░░░░░░░",
    "▏░░░░░░░░░",
    "████▌░░░░░",
    "██████████",
    "██████████",
  ]);
  expect([0, 1, 45, 100].map((part) => formatBar(part, 100, false))).toEqual([
    "..........",
    "#.........",
    "####......",
    "##########",
  ]);
  expect(formatBar(5, 0, true)).toBe("░░░░░░░░░░");
});

test("formatAge() uses the largest unit that still says something", () => {
  const now = Date.parse("2026-11-29T12:00:00Z");
  const ages = ["2026-11-29T11:58:30Z", "2026-11-29T11:00:00Z", "2026-11-29T02:00:00Z", "2026-11-20T12:00:00Z", ""];
  expect(ages.map((time) => formatAge(time, now))).toEqual(["90s", "60m", "10h", "9d", "<unknown>"]);
  expect(formatAge("2026-11-29T12:00:01Z", now)).toBe("0s");
});

test("createTerminal() has colors on a terminal only, and not if NO_COLOR is set", () => {
  const colored = (isInteractive: boolean, environment: Record<string, string>) => {
    const { colors } = createTerminal({ write: () => {}, writeError: () => {}, isInteractive, environment });
    return colors.red("x") !== "x";
  };
  expect([colored(true, {}), colored(false, {}), colored(true, { NO_COLOR: "1" })]).toEqual([true, false, false]);
});
