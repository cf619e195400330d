import { expect, test } from "bun:test";
import type { Filter } from "../../pool/filter.ts";
import type { Share } from "../../pool/share.ts";
import { claimNameOf, claimTemplateOf, shareOfTemplate } from "./claim.ts";

const options = { filters: [], gpuMemoryMb: 16_000 };

test("claimTemplateOf() requests units of one GPU", () => {
  expect(claimTemplateOf({ gpus: 1, percent: 60 }, options)).toEqual({
    name: expect.stringMatching(/^bitfusion-1x60-[0-9a-f]{8}$/),
    annotations: { "bitfusion.io/share": "1x60" },
    spec: {
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
    },
  });
});

test("claimTemplateOf() requests several different GPUs", () => {
  const { spec } = claimTemplateOf({ gpus: 3, percent: 100 }, options);
  expect(spec.devices?.requests?.[0]?.exactly?.count).toBe(3);
  expect(spec.devices?.constraints).toEqual([{ requests: ["gpu"], distinctAttribute: "bitfusion.io/id" }]);
});

test("claimTemplateOf() converts memory to units, rounded up, and excludes GPUs on which they are too little", () => {
  const { name, spec } = claimTemplateOf({ gpus: 2, memoryMb: 8001 }, options);
  expect(name).toStartWith("bitfusion-2x8001mb-");
  expect(spec.devices?.requests?.[0]?.exactly).toMatchObject({
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
  ["device.name", '"T4" \\ x', '.?model.orValue("") == "\\"T4\\" \\\\ x"'],
  ["device.phy-memory", "16000", ".?memoryMb.orValue(0) == 16000"],
  ["device.phy-memory", "16 GB", '.?memoryMb.orValue("") == "16 GB"'],
])("claimTemplateOf() converts the filter %s=%s to a selector", (key, value, expression) => {
  const { spec } = claimTemplateOf({ gpus: 1, percent: 50 }, { ...options, filters: [{ key, value }] });
  expect(spec.devices?.requests?.[0]?.exactly?.selectors).toEqual([
    { cel: { expression: `device.attributes["bitfusion.io"]${expression}` } },
  ]);
});

test("claimTemplateOf() annotates claims with the share and the filters of the pod", () => {
  const filters = [
    { key: "server.addr", value: "a" },
    { key: "device.name", value: "T4" },
  ];
  expect(claimTemplateOf({ gpus: 2, memoryMb: 8000 }, { ...options, filters }).annotations).toEqual({
    "bitfusion.io/share": "2x8000mb",
    "bitfusion-client/filter": "server.addr=a device.name=T4",
  });
});

test("claimTemplateOf() returns the same name for equal shares, and different names for different specs", () => {
  const name = (share: Share, filters: Filter[] = [], gpuMemoryMb = 16_000) =>
    claimTemplateOf(share, { filters, gpuMemoryMb }).name;
  expect(name({ gpus: 1, percent: 50 })).toBe(name({ gpus: 1, percent: 50 }, [], 8000));
  const names = [
    name({ gpus: 1, percent: 50 }),
    name({ gpus: 2, percent: 50 }),
    name({ gpus: 1, percent: 50 }, [{ key: "server.addr", value: "a" }]),
    name({ gpus: 1, memoryMb: 5000 }),
    name({ gpus: 1, memoryMb: 5000 }, [], 8000),
  ];
  expect(new Set(names).size).toBe(names.length);
});

test("shareOfTemplate() reads the share from a template's name, and returns undefined for any other name", () => {
  for (const share of [
    { gpus: 12, percent: 7 },
    { gpus: 1, memoryMb: 8000 },
  ]) {
    expect(shareOfTemplate(claimTemplateOf(share, options).name)).toEqual(share);
  }
  for (const name of ["", "bitfusion-1x50", "gpu-1x50-01234567", "bitfusion-1x50-0123456g"]) {
    expect(shareOfTemplate(name)).toBeUndefined();
  }
});

test("claimNameOf() returns a different DNS label for each container", () => {
  expect(claimNameOf("main")).toBe("bitfusion-main");
  const long = ["a", "b"].map((end) => claimNameOf("x".repeat(62) + end));
  expect(new Set(long).size).toBe(2);
  for (const name of long) expect(name).toMatch(/^[a-z0-9-]{1,63}$/);
});
