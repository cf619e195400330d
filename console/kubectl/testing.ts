import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  kubeconfigOf,
  type SimulatedApiServer,
  startSimulatedApiServer,
} from "../../kubernetes/simulated/api_server.ts";
import type { ObjectStore } from "../../kubernetes/simulated/objects.ts";
import type { Cluster } from "../view/testing.ts";
import { createTerminal } from "./output/terminal.ts";
import { runKubectl } from "./run.ts";

/** What a command printed, and its exit status. */
export interface CommandResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** Standard input. */
  input?: string;
  signal?: AbortSignal;
  /** Called with what the command prints. */
  onOutput?: (text: string) => void;
  isInteractive?: boolean;
}

/** An API server, and `kubectl bitfusion` of a user of it whose namespace is `team`. */
export interface TestCluster extends AsyncDisposable {
  readonly api: SimulatedApiServer;
  run(args: string, options?: RunOptions): Promise<CommandResult>;
  /** Runs what a shell calls for the last of these words. */
  complete(words: readonly string[]): Promise<CommandResult>;
}

/** The time of the commands: an hour after that of console/view/testing.ts. */
const NOW = Date.parse("2026-11-29T13:00:00Z");

/** Starts an API server with these objects. `refuse` answers instead of it. */
export function startCluster(
  cluster: Partial<Cluster>,
  refuse: (request: Request) => Response | undefined | Promise<Response | undefined> = () => undefined,
): TestCluster {
  const api = startSimulatedApiServer({ onRequest: refuse });
  fill(api.store, cluster);
  const folder = mkdtempSync(join(tmpdir(), "kubectl-"));
  const kubeconfig = join(folder, "config");
  const config = JSON.parse(kubeconfigOf(api.url));
  config.contexts[0].context.namespace = "team";
  writeFileSync(kubeconfig, JSON.stringify(config));
  async function run(
    words: readonly string[],
    { input = "", signal = new AbortController().signal, onOutput = () => {}, isInteractive = false }: RunOptions = {},
  ): Promise<CommandResult> {
    const output = { stdout: "", stderr: "" };
    const terminal = createTerminal({
      write(text) {
        output.stdout += text;
        onOutput(text);
      },
      writeError: (text) => {
        output.stderr += text;
      },
      isInteractive,
      environment: { LANG: "en_US.UTF-8", NO_COLOR: "1" },
    });
    const context = { terminal, readInput: async () => input, now: () => NOW, signal };
    const status = await runKubectl(words, context);
    return { status, ...output };
  }

  const connection = ["--kubeconfig", kubeconfig];
  return {
    api,
    run(args, options) {
      const [command = "", ...rest] = args.split(" ");
      const needsNone = ["completion", "version", "--help"].includes(command);
      return run([command, ...(needsNone ? [] : connection), ...rest], options);
    },
    complete([command = "", ...rest]) {
      return run(["__complete", command, ...(rest.length > 0 ? connection : []), ...rest]);
    },
    async [Symbol.asyncDispose]() {
      rmSync(folder, { recursive: true });
      await api[Symbol.asyncDispose]();
    },
  };
}

/** The answer to somebody who lacks a right. */
export function forbidden(message: string): Response {
  return Response.json({ kind: "Status", code: 403, reason: "Forbidden", message }, { status: 403 });
}

const GROUP = "/apis/resource.k8s.io/v1";

function fill(
  store: ObjectStore,
  { slices = [], claims = [], pods = [], events = [], taintRules = [] }: Partial<Cluster>,
) {
  const put = (collection: string, objects: readonly { metadata: { name: string; namespace?: string } }[]) => {
    for (const object of objects) {
      const { namespace, name } = object.metadata;
      const [group, resource] = [collection.slice(0, collection.lastIndexOf("/")), collection.split("/").at(-1)];
      store.put(namespace ? `${group}/namespaces/${namespace}/${resource}/${name}` : `${collection}/${name}`, object);
    }
  };
  put(`${GROUP}/resourceslices`, slices);
  put(`${GROUP}/resourceclaims`, claims);
  put(`${GROUP}/devicetaintrules`, taintRules);
  put("/api/v1/pods", pods);
  put("/api/v1/events", events);
}
