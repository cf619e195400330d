import { expect, test } from "bun:test";
import { claimSpec } from "./claim_spec.ts";

test("claimSpec() requests units of one GPU", () => {
  expect(claimSpec({ share: { gpus: 1, percent: 60 }, units: 60, filters: [] })).toEqual({
    devices: {
      requests: [
        {
          name: "gpu",
          exactly: {
            deviceClassName: "bitfusion.io",
            allocationMode: "ExactCount",
            count: 1,
            capacity: { requests: { units: "60" } },
          },
        },
      ],
    },
  });
});

test("claimSpec() requests several different GPUs", () => {
  const { devices } = claimSpec({ share: { gpus: 3, percent: 100 }, units: 100, filters: [] });
  expect(devices?.requests?.[0]?.exactly?.count).toBe(3);
  expect(devices?.constraints).toEqual([{ requests: ["gpu"], distinctAttribute: "bitfusion.io/id" }]);
});

test("claimSpec() requests several GPUs of one server, and has no constraint for a single GPU", () => {
  const specOf = (gpus: number) => claimSpec({ share: { gpus, percent: 50 }, units: 50, filters: [], oneServer: true });
  expect(specOf(2).devices?.constraints).toEqual([
    { requests: ["gpu"], distinctAttribute: "bitfusion.io/id" },
    { requests: ["gpu"], matchAttribute: "bitfusion.io/server" },
  ]);
  expect(specOf(1).devices).not.toHaveProperty("constraints");
});

test("claimSpec() excludes GPUs on which the units are less than the requested memory", () => {
  const { devices } = claimSpec({ share: { gpus: 2, memoryMb: 8001 }, units: 51, filters: [] });
  expect(devices?.requests?.[0]?.exactly).toMatchObject({
    capacity: { requests: { units: "51" } },
    selectors: [{ cel: { expression: 'device.attributes["bitfusion.io"].?memoryMb.orValue(0) * 51 >= 8001 * 100' } }],
  });
});

test.each([
  ["server.addr", "gpu-1:56001", '.?server.orValue("") == "gpu-1:56001"'],
  ["server.addr", "gpu-1", '.?host.orValue("") == "gpu-1"'],
  ["server.hostname", "gpu-1", '.?hostname.orValue("") == "gpu-1"'],
  ["server.has-rdma", "true", ".?hasRdma.orValue(false) == true"],
  ["server.has-rdma", "yes", '.?hasRdma.orValue("") == "yes"'],
  ["server.cuda-version", "12", '.?cudaVersion.orValue("") == "12"'],
  ["server.data-plane", "lupine", '.?dataPlane.orValue("") == "lupine"'],
  ["server.data-plane-build", "0.9", '.?dataPlaneBuild.orValue("") == "0.9"'],
  ["device.isolation", "mig", '.?isolation.orValue("") == "mig"'],
  ["device.name", '"T4" \\ x', '.?model.orValue("") == "\\"T4\\" \\\\ x"'],
  ["device.phy-memory", "16000", ".?memoryMb.orValue(0) == 16000"],
  ["device.phy-memory", "16 GB", '.?memoryMb.orValue("") == "16 GB"'],
])("claimSpec() converts the filter %s=%s to a selector", (key, value, expression) => {
  const { devices } = claimSpec({ share: { gpus: 1, percent: 50 }, units: 50, filters: [{ key, value }] });
  expect(devices?.requests?.[0]?.exactly?.selectors).toEqual([
    { cel: { expression: `device.attributes["bitfusion.io"]${expression}` } },
  ]);
});
