import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type SimulatedDraKubelet, startSimulatedDraKubelet } from "../../kubernetes/simulated/dra_kubelet.ts";
import { type Program, startProgram } from "../../program/processes/child_program.ts";
import { waitFor } from "../wait_for.ts";
import type { ProgramOptions } from "./options.ts";

/** The DRA driver in a process of its own, and the kubelet that calls it. Disposal ends both. */
export interface Driver extends AsyncDisposable {
  readonly kubelet: SimulatedDraKubelet;
  readonly cdiDirectory: string;
  /** Resolves once the kubelet has registered the driver. */
  waitUntilRegistered(signal: AbortSignal): Promise<void>;
}

export async function startDriver(options: ProgramOptions & { nodeName?: string }): Promise<Driver> {
  const { folder, kubeconfig, servers, nodeName } = options;
  const [registry, driver, cdiDirectory] = ["registry", "driver", "cdi"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  for (const directory of [driver, cdiDirectory]) await mkdir(directory, { recursive: true });
  await using resources = new AsyncDisposableStack();
  const kubelet = resources.use(await startSimulatedDraKubelet({ directory: registry }));
  const program: Program = resources.use(
    startProgram("plugin/main.ts", {
      environment: {
        KUBECONFIG: kubeconfig,
        POOL_SERVERS: servers.join(","),
        PLUGINS_REGISTRY_DIR: registry,
        DRIVER_DIR: driver,
        CDI_DIR: cdiDirectory,
        ...(nodeName === undefined ? {} : { NODE_NAME: nodeName }),
      },
      ready: "Started",
    }),
  );
  const owned = resources.move();
  return {
    kubelet,
    cdiDirectory,
    async waitUntilRegistered(signal) {
      await program.started;
      await waitFor("the registration of the driver", () => kubelet.plugins.current?.[0], signal);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
