import { expect, test } from "bun:test";
import type { Container } from "../pod/pod.ts";
import { gpu, mutated, NUM, pod, requestOf, testCatalogue, testClient } from "../testing.ts";
import { validate } from "./validate.ts";

const settings = { catalogue: testCatalogue(testClient({ size: "110Mi" })) };

/** Decides about a pod after injection. */
function decisionOn(containers: Container[], initContainers: Container[] = []) {
  return validate(requestOf(mutated(pod(containers, { spec: { initContainers } }), settings)), settings);
}

const train = (storage: string | number) => gpu({}, { [NUM]: 1, "ephemeral-storage": storage });
const other = (name: string, storage: string): Container => ({
  name,
  resources: { limits: { "ephemeral-storage": storage } },
});

test("validate() refuses a pod whose limits of ephemeral storage the client alone exceeds, with both numbers", () => {
  expect(decisionOn([train("100Mi")])).toEqual({
    result: "denied",
    reason: "storage",
    message: `The containers' limits["ephemeral-storage"] are 100Mi together, but the client simulated takes 110Mi of them: expected 110Mi more than your containers need`,
  });
});

test.each<[description: string, containers: Container[], initContainers: Container[], limit: string | undefined]>([
  ["the limits of all containers together", [train("60Mi"), other("b", "60Mi")], [], "120Mi"],
  ["containers without a limit as nothing", [train("115343360"), { name: "b" }], [], "110Mi"],
  ["the limit of an init container, which runs before the others", [train("10Mi")], [other("i", "1Gi")], "1024Mi"],
  ["a quantity in another unit", [train("0.2G")], [], "191Mi"],
  ["nothing if no container has a limit", [gpu(), { name: "b" }], [], undefined],
])("validate() counts %s, and says what the client takes", (_, containers, initContainers, limit) => {
  const { result, warnings } = decisionOn(containers, initContainers);
  expect(result).toBe("allowed");
  const expected = limit && [`The client takes 110Mi of the pod's ${limit} of ephemeral-storage`];
  expect(warnings).toEqual(expected as string[]);
});

test("validate() compares no limit with a client whose size is unknown", () => {
  const unknown = { catalogue: testCatalogue(testClient()) };
  expect(validate(requestOf(mutated(pod([train(1)]), unknown)), unknown).result).toBe("allowed");
});
