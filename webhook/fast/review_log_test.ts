import { expect, test } from "bun:test";
import { getJsonLinesFormatter } from "@logtape/logtape";
import fc from "fast-check";
import { createReviewLog, type ReviewLogEntry } from "./review_log.ts";

const format = getJsonLinesFormatter({ properties: "flatten" });

test("createReviewLog() writes the same line as the logger", () => {
  const text = fc.string({ unit: "binary" });
  const optional = fc.option(text, { nil: undefined });
  const entries: fc.Arbitrary<ReviewLogEntry> = fc.record({
    webhook: text,
    uid: optional,
    namespace: optional,
    name: optional,
    result: text,
    reason: text,
    dryRun: fc.option(fc.boolean(), { nil: undefined }),
  });
  fc.assert(
    fc.property(entries, fc.integer({ min: 0, max: 4e12 }), (entry, timestamp) => {
      const lines: string[] = [];
      createReviewLog(
        "webhook",
        (line) => lines.push(line),
        () => timestamp,
      )(entry);
      const message = ["Reviewed"];
      const properties = { ...entry };
      expect(lines).toEqual([
        format({ category: ["webhook"], level: "info", timestamp, message, rawMessage: "Reviewed", properties }),
      ]);
    }),
  );
});
