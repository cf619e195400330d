import { expect, test } from "bun:test";
import { escapeControls, quote, shorten } from "./quote.ts";

test.each<[description: string, value: string | number, quoted: string]>([
  ["a text in double quotes", "T4", '"T4"'],
  ["a number as text", 101, '"101"'],
  ["the escapes of JSON", 'a"\n', '"a\\"\\n"'],
  ["escapes of the control characters that JSON allows", "\u009b2J\u007f", '"\\u009b2J\\u007f"'],
  ["200 characters of a long text, and its length", "x".repeat(10_000), `"${"x".repeat(199)}… (10002 characters)`],
])("quote() returns %s", (_, value, quoted) => {
  expect(quote(value)).toBe(quoted);
});

test("escapeControls() leaves other characters alone", () => {
  expect(escapeControls('Ä "€" \u2028')).toBe('Ä "€" \u2028');
});

test("shorten() leaves a text of the largest length alone", () => {
  expect([shorten("abc", 3), shorten("abcd", 3)]).toEqual(["abc", "abc… (4 characters)"]);
});
