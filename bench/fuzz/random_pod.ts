import { ANNOTATIONS, NVIDIA_GPU, SHARE_LIMITS, UNITS } from "../../webhook/pod/keys.ts";
import type { Random } from "../common/random.ts";

const MODES = ["all", "yes", "ON", "injection", "no", "off", "", "maybe", "constructor"];
const QUANTITIES: readonly (string | number)[] = [
  "1",
  "2",
  1,
  "50",
  "100",
  "101",
  "0",
  "-1",
  "1.5",
  "8Gi",
  "16000M",
  "1e3",
  "1e999999",
  "",
  "x",
  "0x1",
];
const COMMANDS: readonly string[][] = [["nvidia-smi; sleep 1"], ["bitfusion", "run", "x"], [" "], [""], []];
const NAMES = ["LD_LIBRARY_PATH", "BITFUSION_POD", "A", "", "__proto__", "a/b~c", "ü😀"];
const NAMESPACES = ["team", "default", "", "kube-system"];

/** Creates an AdmissionReview as an API server sends it, with a pod that is mostly valid and sometimes odd. */
export function randomReview(random: Random) {
  return {
    apiVersion: "admission.k8s.io/v1",
    kind: "AdmissionReview",
    request: {
      uid: `uid-${random.below(1e9)}`,
      resource: { group: "", version: "v1", resource: random.chance(0.97) ? "pods" : "secrets" },
      name: "training",
      namespace: random.chance(0.9) ? "team" : random.pick(NAMESPACES),
      operation: random.chance(0.95) ? "CREATE" : "UPDATE",
      dryRun: random.chance(0.1),
      object: randomPod(random),
    },
  };
}

function randomPod(random: Random) {
  return {
    metadata: {
      name: "training",
      annotations: {
        ...(random.chance(0.9) ? { [ANNOTATIONS.mode]: random.chance(0.8) ? "all" : random.pick(MODES) } : {}),
        ...(random.chance(0.1) ? { [ANNOTATIONS.os]: random.pick(["linux", "ubuntu20", "lupine", "x"]) } : {}),
        ...(random.chance(0.1) ? { [ANNOTATIONS.version]: random.pick(["1", "450", "0"]) } : {}),
        ...(random.chance(0.1) ? { [ANNOTATIONS.filter]: random.pick(["a=b", " a=b  c=d ", "\n", "; rm -rf /"]) } : {}),
        ...(random.chance(0.1) ? { [ANNOTATIONS.percent]: random.pick(["50", "101", "x"]) } : {}),
        ...(random.chance(0.05) ? { [ANNOTATIONS.status]: "injected" } : {}),
      },
    },
    spec: {
      containers: arrayOf(random, 1 + random.below(3), randomContainer),
      ...(random.chance(0.3) ? { initContainers: arrayOf(random, random.below(3), randomContainer) } : {}),
      ...(random.chance(0.5)
        ? { volumes: [{ name: random.chance(0.95) ? "data" : "bitfusion-client", emptyDir: {} }] }
        : {}),
      ...(random.chance(0.03) ? { hostNetwork: true } : {}),
      ...(random.chance(0.03) ? { os: { name: "windows" } } : {}),
    },
  };
}

function randomContainer(random: Random, index: number) {
  const limits = randomResources(random);
  return {
    name: random.chance(0.995) ? `container-${index}` : "bitfusion-client",
    image: "registry.example/training:1",
    ...(random.chance(0.97) ? { command: random.chance(0.9) ? ["python3", "train.py"] : random.pick(COMMANDS) } : {}),
    ...(random.chance(0.4) ? { args: ["--epochs=90"] } : {}),
    ...(random.chance(0.3) ? { ports: [{ containerPort: 14_833 + random.below(3) }] } : {}),
    ...(random.chance(0.5) ? { env: arrayOf(random, random.below(5), randomVariable) } : {}),
    resources: {
      limits,
      ...(random.chance(0.3) ? { requests: random.chance(0.9) ? limits : randomResources(random) } : {}),
    },
    ...(random.chance(0.5)
      ? { volumeMounts: [{ name: "data", mountPath: random.chance(0.98) ? "/data" : "/bitfusion" }] }
      : {}),
  };
}

function randomResources(random: Random): Record<string, string | number> {
  const quantity = (usual: string) => (random.chance(0.95) ? usual : random.pick(QUANTITIES));
  if (random.chance(0.2)) return { cpu: "1", [NVIDIA_GPU]: quantity("1") };
  return {
    cpu: "1",
    ...(random.chance(0.8) ? { [SHARE_LIMITS.num]: quantity("1") } : {}),
    ...(random.chance(0.5) ? { [SHARE_LIMITS.percent]: quantity("50") } : {}),
    ...(random.chance(0.05) ? { [SHARE_LIMITS.amount]: quantity("1") } : {}),
    ...(random.chance(0.05) ? { [SHARE_LIMITS.memory]: quantity("8Gi") } : {}),
    ...(random.chance(0.05) ? { [UNITS]: quantity("50") } : {}),
    ...(random.chance(0.05) ? { [NVIDIA_GPU]: quantity("0") } : {}),
  };
}

function randomVariable(random: Random, index: number) {
  const name = random.chance(0.95) ? `V_${index}` : random.pick(NAMES);
  return random.chance(0.9)
    ? { name, value: random.pick(["1", "", "$(A)", "a\u0000b\ud800"]) }
    : { name, valueFrom: { fieldRef: { fieldPath: "metadata.name" } } };
}

function arrayOf<T>(random: Random, count: number, make: (random: Random, index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => make(random, index));
}
