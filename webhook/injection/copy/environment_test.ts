import { expect, test } from "bun:test";
import type { JsonObject } from "../../pod/json_object.ts";
import { withLibraryPath } from "./environment.ts";

const KEEP = { name: "MODE", valueFrom: { configMapKeyRef: { name: "config", key: "mode" } } };
const FROM = { secretKeyRef: { name: "paths", key: "libraries", optional: true } };

test.each<[description: string, before: JsonObject[], after: JsonObject[]]>([
  ["alone", [], [{ name: "LD_LIBRARY_PATH", value: "/client" }]],
  ["after other variables", [KEEP], [KEEP, { name: "LD_LIBRARY_PATH", value: "/client" }]],
  [
    "in front of the container's own, at its position",
    [{ name: "LD_LIBRARY_PATH", value: "/own:/more" }, KEEP],
    [{ name: "LD_LIBRARY_PATH", value: "/client:/own:/more" }, KEEP],
  ],
  [
    "instead of an empty one, without an empty path, which would mean the working directory",
    [{ name: "LD_LIBRARY_PATH", value: "" }],
    [{ name: "LD_LIBRARY_PATH", value: "/client" }],
  ],
  ["instead of one without a value", [{ name: "LD_LIBRARY_PATH" }], [{ name: "LD_LIBRARY_PATH", value: "/client" }]],
  [
    "in front of a reference, which is kept under another name",
    [{ name: "LD_LIBRARY_PATH", valueFrom: FROM }, KEEP],
    [
      { name: "BITFUSION_OWN_LD_LIBRARY_PATH", valueFrom: FROM },
      { name: "LD_LIBRARY_PATH", value: "/client:$(BITFUSION_OWN_LD_LIBRARY_PATH)" },
      KEEP,
    ],
  ],
  [
    "in front of the last one, which takes effect",
    [
      { name: "LD_LIBRARY_PATH", value: "/a" },
      { name: "LD_LIBRARY_PATH", value: "/b" },
    ],
    [
      { name: "LD_LIBRARY_PATH", value: "/a" },
      { name: "LD_LIBRARY_PATH", value: "/client:/b" },
    ],
  ],
])("withLibraryPath() puts the client's libraries %s", (_, before, after) => {
  const given = structuredClone(before);
  expect(withLibraryPath(given, "/client")).toEqual(after);
  expect(given).toEqual(before);
});
