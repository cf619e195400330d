import { expect, test } from "bun:test";
import { requestIdOf } from "./held_lease.ts";

const CLAIM = { uid: "a-1", node: "node-1" };
const A = { request: "gpu", pool: "pool", device: "gpu-a", shareId: "s-1", units: 60 };
const B = { ...A, device: "gpu-b", shareId: "s-2" };

test("requestIdOf() is a UUID that does not depend on the order of the shares", () => {
  expect(requestIdOf(CLAIM, [A, B])).toMatch(/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/);
  expect(requestIdOf(CLAIM, [B, A])).toBe(requestIdOf(CLAIM, [A, B]));
});

test("requestIdOf() differs for another claim, node, device, share or number of units", () => {
  const ids = [
    requestIdOf(CLAIM, [A]),
    requestIdOf({ ...CLAIM, uid: "a-2" }, [A]),
    requestIdOf({ ...CLAIM, node: "node-2" }, [A]),
    requestIdOf(CLAIM, [B]),
    requestIdOf(CLAIM, [{ ...A, device: "gpu-b" }]),
    requestIdOf(CLAIM, [{ ...A, shareId: "s-3" }]),
    requestIdOf(CLAIM, [{ ...A, units: 61 }]),
    requestIdOf(CLAIM, [A, B]),
    requestIdOf({ uid: "a", node: "-1node-1" }, [A]),
  ];
  expect(new Set(ids).size).toBe(ids.length);
});
