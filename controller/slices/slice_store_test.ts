import { expect, test } from "bun:test";
import type { ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import { toResourceSlice } from "./slice.ts";
import { createSliceStore } from "./slice_store.ts";

function put(name: string, resourceVersion: string) {
  const slice = toResourceSlice({ name, devices: [] });
  return {
    type: "put",
    key: name,
    object: { ...slice, metadata: { name, resourceVersion } } as ResourceSlice,
  } as const;
}

test("createSliceStore() keeps the newest version of a slice, in whatever order changes arrive", () => {
  const store = createSliceStore();
  expect(store.apply(put("a", "5"))).toBe(true);
  expect(store.apply(put("a", "4"))).toBe(false);
  expect(store.apply(put("a", "5"))).toBe(false);
  expect(store.apply(put("a", "10"))).toBe(true);
  expect(store.slices.get("a")?.metadata.resourceVersion).toBe("10");
});

test("createSliceStore() does not restore a slice that was deleted after the write", () => {
  const store = createSliceStore();
  store.apply(put("a", "5"));
  expect(store.apply({ type: "delete", key: "a", resourceVersion: "7" })).toBe(true);
  expect(store.apply(put("a", "6"))).toBe(false);
  expect(store.slices.size).toBe(0);
  expect(store.apply(put("a", "8"))).toBe(true);
  expect(store.apply({ type: "delete", key: "a", resourceVersion: "7" })).toBe(false);
  expect(store.slices.size).toBe(1);
});

test("createSliceStore() is synced after a complete list, and drops slices that are not in it", () => {
  const store = createSliceStore();
  store.apply(put("a", "1"));
  expect(store.isSynced).toBe(false);
  store.apply({ type: "replace", objects: new Map([["b", put("b", "2").object]]) });
  expect(store.isSynced).toBe(true);
  expect([...store.slices.keys()]).toEqual(["b"]);
});
