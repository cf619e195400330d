import { expect, test } from "bun:test";
import { ConfigError } from "../program/config_error.ts";
import { readCatalogue } from "./clients/catalogue.ts";
import { readSettings } from "./settings.ts";

test("readSettings() has a default for each variable, and the default catalogue exists", async () => {
  const { CLIENTS_FILE, ...others } = readSettings({});
  expect(others).toEqual({
    PORT: 8443,
    METRICS_PORT: 0,
    TOKENS: "copy",
    READ_NVIDIA_GPU: "on",
    ALLOCATION: "claims",
    SCHEDULERS: [],
    POD_NAMESPACE: "bitfusion-system",
  });
  expect((await readCatalogue(CLIENTS_FILE)).clients).not.toBeEmpty();
});

test("readSettings() reads the variables, and treats an empty one as not set", () => {
  const files = { TLS_CERT_FILE: "/tls/tls.crt", TLS_KEY_FILE: "/tls/tls.key", CLIENTS_FILE: "/etc/clients.yaml" };
  const environment = {
    ...files,
    PORT: "0",
    METRICS_PORT: "9090",
    TOKENS: "off",
    READ_NVIDIA_GPU: "off",
    SCHEDULERS: "batch, bin-packing",
    POD_NAMESPACE: "",
    HOME: "/root",
  };
  expect(readSettings(environment)).toEqual({
    ...files,
    PORT: 0,
    METRICS_PORT: 9090,
    TOKENS: "off",
    READ_NVIDIA_GPU: "off",
    ALLOCATION: "claims",
    SCHEDULERS: ["batch", "bin-packing"],
    POD_NAMESPACE: "bitfusion-system",
  });
});

test("readSettings() reads the addresses of the pool servers", () => {
  expect(readSettings({ POOL_SERVERS: "gpu-1:56001,gpu-2:56001" }).POOL_SERVERS).toEqual([
    { address: "gpu-1:56001" },
    { address: "gpu-2:56001" },
  ]);
});

test.each<[text: string, megabytes: number]>([
  ["16000", 16_000], // a bare number is MB, as in the original
  ["16G", 16_000],
  ["16Gi", 17_179],
  ["16384M", 16_384],
  ["1.6e10", 16_000],
])("readSettings() reads TOTAL_GPU_MEMORY=%s as %d MB", (text, megabytes) => {
  expect(readSettings({ TOTAL_GPU_MEMORY: text }).TOTAL_GPU_MEMORY).toBe(megabytes);
});

const PORT = "expected a whole number from 0 to 65535";
const MEMORY = "expected the memory of one GPU: MB, or a quantity such as 16G";

test.each<[environment: Record<string, string>, message: string]>([
  [{ PORT: "x" }, `Cannot use PORT="x": ${PORT}`],
  [{ PORT: "65536" }, `Cannot use PORT="65536": ${PORT}`],
  [{ METRICS_PORT: "-1" }, `Cannot use METRICS_PORT="-1": ${PORT}`],
  [{ ALLOCATION: "both" }, 'Cannot use ALLOCATION="both": expected claims or units'],
  [{ TOKENS: "maybe" }, 'Cannot use TOKENS="maybe": expected copy or off'],
  [{ READ_NVIDIA_GPU: "yes" }, 'Cannot use READ_NVIDIA_GPU="yes": expected on or off'],
  [{ SCHEDULERS: "a,B" }, 'Cannot use SCHEDULERS="a,B": expected names of schedulers, separated by commas'],
  [{ TOTAL_GPU_MEMORY: "lots" }, `Cannot use TOTAL_GPU_MEMORY="lots": ${MEMORY}`],
  [{ TOTAL_GPU_MEMORY: "0" }, `Cannot use TOTAL_GPU_MEMORY="0": ${MEMORY}`],
  [{ TOTAL_GPU_MEMORY: "-16G" }, `Cannot use TOTAL_GPU_MEMORY="-16G": ${MEMORY}`],
  [{ TOTAL_GPU_MEMORY: "16k" }, `Cannot use TOTAL_GPU_MEMORY="16k": ${MEMORY}`],
  [{ TLS_CERT_FILE: "/c" }, 'Cannot use TLS_CERT_FILE="/c" without TLS_KEY_FILE: set both or none'],
  [{ TLS_KEY_FILE: "/k" }, 'Cannot use TLS_KEY_FILE="/k" without TLS_CERT_FILE: set both or none'],
])("readSettings() refuses %j and reports what is expected", (environment, message) => {
  expect(() => readSettings(environment)).toThrow(new ConfigError(message));
});
