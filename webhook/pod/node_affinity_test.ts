import { expect, test } from "bun:test";
import { withNode } from "./node_affinity.ts";

const NODE = { key: "metadata.name", operator: "In", values: ["worker"] };
const REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution";

test("withNode() requires a node", () => {
  expect(withNode(undefined, "worker")).toEqual({
    nodeAffinity: { [REQUIRED]: { nodeSelectorTerms: [{ matchFields: [NODE] }] } },
  });
});

test("withNode() requires the node in each alternative, and keeps the rest", () => {
  const zone = { key: "zone", operator: "In", values: ["a"] };
  const own = { key: "metadata.name", operator: "NotIn", values: ["other"] };
  const affinity = {
    podAntiAffinity: { x: 1 },
    nodeAffinity: {
      preferredDuringSchedulingIgnoredDuringExecution: [],
      [REQUIRED]: { nodeSelectorTerms: [{ matchExpressions: [zone] }, { matchFields: [own] }] },
    },
  };
  expect(withNode(affinity, "worker")).toEqual({
    podAntiAffinity: { x: 1 },
    nodeAffinity: {
      preferredDuringSchedulingIgnoredDuringExecution: [],
      [REQUIRED]: {
        nodeSelectorTerms: [{ matchExpressions: [zone], matchFields: [NODE] }, { matchFields: [own, NODE] }],
      },
    },
  });
});
