import { expect, test } from "bun:test";
import { messageOf } from "./log.ts";

test.each<[string, unknown, string]>([
  ["an error's message", new Error("a"), "a"],
  ["the messages of its causes", new Error("a", { cause: new Error("b", { cause: new Error("c") }) }), "a: b: c"],
  [
    "once a cause that the message contains",
    new Error("[unavailable] connect ECONNREFUSED x", { cause: new Error("connect ECONNREFUSED x") }),
    "[unavailable] connect ECONNREFUSED x",
  ],
  [
    "a deeper cause that the message does not contain",
    new Error("call: reset", { cause: new Error("reset", { cause: new Error("peer") }) }),
    "call: reset: reset: peer",
  ],
  ["a cause that is no error", new Error("a", { cause: "b" }), "a: b"],
  ["what is no error as a string", "a", "a"],
  ["undefined", undefined, "undefined"],
])("messageOf() says %s", (_, error, expected) => {
  expect(messageOf(error)).toBe(expected);
});
