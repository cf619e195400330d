import { expect, test } from "bun:test";
import { join } from "node:path";
import { messageOf } from "./log.ts";

test("createLogger() writes JSON lines with flat properties, and escapes control characters", async () => {
  const script = `
    import { createLogger, createLogOutput } from ${JSON.stringify(join(import.meta.dir, "log.ts"))};
    const log = createLogger("program", createLogOutput("program"));
    log.info("Reviewed", { uid: "a", dryRun: false, name: undefined });
    log.warn("Failed", { reason: "\\u001b[2J\\n{}" });
  `;
  await using child = Bun.spawn([process.execPath, "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  const text = await child.stdout.text();
  const lines = text.trim().split("\n");
  const time = expect.stringMatching(/^\d{4}-.*Z$/);
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    { "@timestamp": time, level: "INFO", message: "Reviewed", logger: "program", uid: "a", dryRun: false },
    { "@timestamp": time, level: "WARN", message: "Failed", logger: "program", reason: "\u001b[2J\n{}" },
  ]);
  expect(text).not.toContain("\u001b");
});

test("createLogger() shortens texts of absurd length", async () => {
  const script = `
    import { createLogger, createLogOutput } from ${JSON.stringify(join(import.meta.dir, "log.ts"))};
    const log = createLogger("program", createLogOutput("program"));
    log.warn("The pod gets no claims: " + "x".repeat(10_000), { reason: "y".repeat(10_000), count: 1 });
  `;
  await using child = Bun.spawn([process.execPath, "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  const line = JSON.parse(await child.stdout.text());
  expect(line.message).toBe(`The pod gets no claims: ${"x".repeat(2024)}… (10024 characters)`);
  expect(line.reason).toBe(`${"y".repeat(2048)}… (10000 characters)`);
  expect(line.count).toBe(1);
});

test.each<[string, unknown, string]>([
  ["the message of an error", new Error("a"), "a"],
  ["the messages of its causes", new Error("a", { cause: new Error("b", { cause: new Error("c") }) }), "a: b: c"],
  [
    "only the message if it contains that of the cause",
    new Error("[unavailable] connect ECONNREFUSED x", { cause: new Error("connect ECONNREFUSED x") }),
    "[unavailable] connect ECONNREFUSED x",
  ],
  [
    "a deeper cause that the message of the error does not contain",
    new Error("call: reset", { cause: new Error("reset", { cause: new Error("peer") }) }),
    "call: reset: reset: peer",
  ],
  ["a cause that is not an error", new Error("a", { cause: "b" }), "a: b"],
  ["a value that is not an error as a string", "a", "a"],
  ["undefined", undefined, "undefined"],
])("messageOf() returns %s", (_, error, expected) => {
  expect(messageOf(error)).toBe(expected);
});
