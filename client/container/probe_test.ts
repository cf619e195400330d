import { expect, test } from "bun:test";
import { freePort, usedPort } from "../../program/testing.ts";
import { hasListener, isListening } from "./probe.ts";

test("isListening() finds the listener of a port, and none where there is none", async () => {
  expect(await isListening(await usedPort())).toBe(true);
  expect(await isListening(await freePort())).toBe(false);
});

const HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";

test.each([
  ["a listener", "   0: 0100007F:39F1 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1", true],
  [
    "another port",
    "   0: 0100007F:39F2 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1",
    false,
  ],
  [
    "another address",
    "   0: 00000000:39F1 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1",
    false,
  ],
  [
    "a connection",
    "  10: 0100007F:39F1 0100007F:8C22 01 00000000:00000000 00:00000000 00000000     0        0 1",
    false,
  ],
  ["a peer", "  11: 0100007F:8C22 0100007F:39F1 01 00000000:00000000 00:00000000 00000000     0        0 1", false],
])("hasListener() reads %s", (_, line, expected) => {
  expect(hasListener(`${HEAD}\n${line}\n`, 14_833)).toBe(expected);
});
