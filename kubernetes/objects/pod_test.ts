import { expect, test } from "bun:test";
import { claimsOfPod, requestedByPod } from "./pod.ts";

const GPU = "bitfusion.io/gpu";
const units = (amount: number | string) => ({ resources: { limits: { [GPU]: amount } } });
const sidecar = (amount: number) => ({ ...units(amount), restartPolicy: "Always" });

test.each<[string, { initContainers?: object[]; containers: object[] }, number]>([
  ["app containers as a sum", { containers: [units(10), units("20"), {}] }, 30],
  ["the largest init container", { initContainers: [units(70), units(50)], containers: [units(60)] }, 70],
  ["app containers if they are more", { initContainers: [units(70)], containers: [units(60), units(60)] }, 120],
  ["sidecars with the app containers", { initContainers: [sidecar(5)], containers: [units(60)] }, 65],
  ["sidecars with later init containers", { initContainers: [sidecar(5), units(70)], containers: [units(60)] }, 75],
  ["sidecars without earlier init containers", { initContainers: [units(70), sidecar(5)], containers: [] }, 70],
  ["requests before limits", { containers: [{ resources: { requests: { [GPU]: 7 }, limits: { [GPU]: 8 } } }] }, 7],
  ["nothing for a quantity that is not one", { containers: [units("many"), units("0.5")] }, 0],
])("requestedByPod() counts %s", (_, spec, expected) => {
  expect(requestedByPod({ spec }, GPU)).toBe(expected);
});

test("claimsOfPod() names claims of the pod and those that were created from templates", () => {
  const spec = {
    containers: [],
    resourceClaims: [
      { name: "direct", resourceClaimName: "claim-1" },
      { name: "generated", resourceClaimTemplateName: "template" },
      { name: "missing", resourceClaimTemplateName: "template" },
    ],
  };
  const status = { resourceClaimStatuses: [{ name: "generated", resourceClaimName: "claim-2" }] };
  expect([...claimsOfPod({ spec, status })].sort()).toEqual([
    ["direct", "claim-1"],
    ["generated", "claim-2"],
  ]);
});
