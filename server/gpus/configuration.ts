import * as v from "valibot";
import { gpuMemory } from "../../kubernetes/formats/gpu_memory.ts";
import { wholeNumber } from "../../program/configuration/fields.ts";
import { setting } from "../../program/environment.ts";

const Version = v.pipe(v.string("expected text, in quotes"), v.nonEmpty("expected a version"));

const Simulated = v.strictObject({
  count: setting(v.optional(wholeNumber({ min: 0, max: 1024, of: "GPUs" }), 1), "Number of GPUs"),
  memory: setting(
    v.optional(v.pipe(v.union([v.string(), v.number()]), v.transform(String), gpuMemory()), "16G"),
    "Memory of each GPU, in MB or as a quantity",
  ),
  model: setting(v.optional(v.string("expected text"), "Simulated GPU"), "Product name of each GPU"),
  cudaVersion: setting(v.optional(Version, "12.4"), "The CUDA version that the server reports"),
  driverVersion: setting(v.optional(Version, "550.54.15"), "The version of the GPU driver that the server reports"),
});

const Nvidia = v.strictObject(
  {
    library: setting(
      v.optional(v.pipe(v.string("expected a path"), v.nonEmpty("expected a path")), "libnvidia-ml.so.1"),
      "NVIDIA's management library (NVML): a path, or a name that the dynamic linker finds",
    ),
  },
  "expected a mapping, such as {}",
);

const EXPECTED = "expected either nvidia or simulated";

/** The part `gpus`: the GPUs of the server. */
export const Gpus = v.pipe(
  v.strictObject({ nvidia: v.optional(Nvidia), simulated: v.optional(Simulated) }, EXPECTED),
  v.check(({ nvidia, simulated }) => (nvidia === undefined) !== (simulated === undefined), EXPECTED),
  v.transform(({ nvidia, simulated }) => (nvidia ? { nvidia } : { simulated: simulated as SimulatedGpus })),
);

export type GpusConfiguration = v.InferOutput<typeof Gpus>;
export type SimulatedGpus = v.InferOutput<typeof Simulated>;
