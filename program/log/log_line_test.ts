import { expect, test } from "bun:test";
import { getJsonLinesFormatter, type LogLevel, type LogRecord } from "@logtape/logtape";
import fc from "fast-check";
import { formatLine } from "./log_line.ts";

const formatted = getJsonLinesFormatter({ properties: "flatten" });

function recordOf(properties: Record<string, unknown>, changes: Partial<LogRecord> = {}): LogRecord {
  const message = ["Reviewed"];
  return { category: ["webhook"], level: "info", timestamp: 1e12, message, rawMessage: "", properties, ...changes };
}

test("formatLine() writes a record as one line of JSON, its properties beside its message", () => {
  expect(formatLine(recordOf({ uid: "a", dryRun: false, code: 1, name: undefined }))).toBe(
    '{"@timestamp":"2001-09-09T01:46:40.000Z","level":"INFO","message":"Reviewed","logger":"webhook","uid":"a","dryRun":false,"code":1}\n',
  );
});

const cycle: Record<string, unknown> = {};
cycle.cycle = cycle;

test.each<[description: string, record: LogRecord]>([
  ["nothing more", recordOf({})],
  ["an error and its cause", recordOf({ error: new Error("a", { cause: new Error("b") }) })],
  ["a list", recordOf({ clients: ["a", "b"] })],
  ["a cycle", recordOf({ cycle })],
  ["a big integer", recordOf({ nanos: 10n })],
  ["null, a function and a symbol", recordOf({ a: null, b: () => {}, c: Symbol("c") })],
  ["line breaks and quotes", recordOf({ reason: 'a\n"b"\\' })],
  ["what terminals take for commands", recordOf({ reason: "\u001b[2J\u007f\u009b" })],
  ["a warning", recordOf({}, { level: "warning" })],
  ["a category of two parts", recordOf({}, { category: ["logtape", "meta"] })],
  ["a message with values", recordOf({ a: 1 }, { message: ["a is ", 1, ""] })],
  ["a property that has the name of a field", recordOf({ level: "mine", message: "mine" })],
])("formatLine() writes %s as the library does", (_, record) => {
  expect(formatLine(record)).toBe(formatted(record));
});

test("formatLine() writes any record as the library does", () => {
  const levels = fc.constantFrom<LogLevel>("trace", "debug", "info", "warning", "error", "fatal");
  const properties = fc.dictionary(fc.string(), fc.oneof(fc.string({ unit: "binary" }), fc.jsonValue({ maxDepth: 1 })));
  fc.assert(
    fc.property(properties, levels, (given, level) => {
      const record = recordOf(given, { level });
      expect(formatLine(record)).toBe(formatted(record));
    }),
  );
});
