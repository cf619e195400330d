import { expect } from "bun:test";
import { CLIENT_FILES, CUDA } from "../cluster/images.ts";
import { leasesOf, poolEvents } from "../records/pool_log.ts";
import {
  countProcesses,
  cudaContainer,
  cudaPod,
  DATA_PLANE_SERVER,
  gpusOfLease,
  waitForGpus,
  waitForLeaseEnd,
  waitForProcessEnd,
} from "../steps/cuda.ts";
import { ExecError, exec } from "../steps/exec.ts";
import { apply, get, kubectl, WORKERS, waitFor, waitForSuccess } from "../steps/kubectl.ts";
import { type ContainerManifest, pod } from "../steps/pods.ts";
import { scenario } from "../steps/scenario.ts";

const GATE_PORT = 56_002;
/** The port at which the sidecar of a pod listens for its first container. */
const LOCAL_PORT = 14_833;
/** Longest time until nothing is left of what has ended, in seconds. */
const END_TIME = 10;
const KEEPS_GPU = cudaContainer({ num: 1, percent: 10, keeps: true });

scenario.concurrent("CUDA programs on the same GPUs see exactly the shares of their leases", async (namespace) => {
  await apply(cudaPod({ namespace, name: "one", containers: [cudaContainer({ num: 1, percent: 30 })] }));
  await apply(cudaPod({ namespace, name: "two", containers: [cudaContainer({ num: 2, percent: 50 })] }));
  for (const name of ["one", "two"]) {
    await waitForSuccess(namespace, name);
    expect(await kubectl("logs", "-n", namespace, name, "-c", "main")).toBe(await gpusOfLease(namespace, name));
    expect(await leasesOf(namespace, name)).toHaveLength(1);
  }
});

/** Kills the first process of a container, as the kernel does where memory lacks. */
async function killContainer(node: string, namespace: string, container: string): Promise<void> {
  const onNode = (...command: string[]) => exec(["docker", "exec", node, ...command]).then((output) => output.trim());
  const label = `io.kubernetes.pod.namespace=${namespace}`;
  const id = await onNode("crictl", "ps", "--quiet", "--name", `^${container}$`, "--label", label);
  const pid = await onNode("crictl", "inspect", "--output=go-template", "--template={{.info.pid}}", id);
  await onNode("kill", "-KILL", pid);
}

/** A container that has the client's library, without a share. */
function thief(name: string, server: string): ContainerManifest {
  const variables = { LD_LIBRARY_PATH: "/client/lib", STAND_IN_SERVER: server };
  const env = Object.entries(variables).map(([name, value]) => ({ name, value }));
  return { name, image: CUDA, env, volumeMounts: [{ name: "client", mountPath: "/client" }] };
}

/** Sends a CONNECT request to the gate from a node. Returns what curl says. */
async function connectToGate(leaseId: string, secret: string): Promise<string> {
  const proxy = ["--proxytunnel", "--proxy-insecure", "--proxy", `https://${DATA_PLANE_SERVER}:${GATE_PORT}`];
  const header = ["--proxy-header", `Proxy-Authorization: Bearer ${secret}`];
  const curl = ["curl", "--silent", "--show-error", "--max-time", "20", ...proxy, ...header, `http://${leaseId}:1`];
  const result = await exec(["docker", "exec", WORKERS[0], ...curl]).catch((error) => error);
  return result instanceof ExecError ? result.output : `The gate answered: ${result}`;
}

scenario.concurrent("who copies the address of a pod, or has a wrong secret, reaches no GPU", async (namespace) => {
  await apply(cudaPod({ namespace, name: "owner", containers: [KEEPS_GPU] }));
  await waitForGpus(namespace, "owner");
  const { status } = await get<{ status: { podIP: string } }>("pod", "owner", "-n", namespace);
  const host = await exec(["docker", "exec", WORKERS[0], "getent", "ahostsv4", DATA_PLANE_SERVER]);
  const addresses = {
    local: `127.0.0.1:${LOCAL_PORT}`,
    pod: `${status.podIP}:${LOCAL_PORT}`,
    gate: `${host.split(" ")[0]}:${GATE_PORT}`,
  };
  const containers = Object.entries(addresses).map(([name, server]) => thief(name, server));
  const volumes = [{ name: "client", image: { reference: CLIENT_FILES } }];
  await apply(pod({ namespace, name: "thief", containers, volumes }));
  await kubectl("wait", "-n", namespace, "pod/thief", "--for=jsonpath={.status.phase}=Failed", "--timeout=60s");
  const logs = Object.keys(addresses).map((name) => kubectl("logs", "-n", namespace, "thief", "-c", name));
  expect(await Promise.all(logs)).toEqual([
    "cuInit: CUDA error 100\n", // nothing listens
    "cuInit: CUDA error 100\n",
    "cuDeviceGetCount: CUDA error 999\n", // the gate talks TLS
  ]);
  const readLeases = ["sh", "-c", 'cat "$BITFUSION_LEASES"/*/leases.json'];
  const text = await kubectl("exec", "-n", namespace, "owner", "-c", "main", "--", ...readLeases);
  const [leaseId = "", secret = ""] = ["leaseId", "secret"].map(
    (key) => new RegExp(`"${key}": "(.+?)"`).exec(text)?.[1],
  );
  expect(
    await connectToGate(
      leaseId,
      secret.replace(/^./, (first) => (first === "a" ? "b" : "a")),
    ),
  ).toContain(" 407");
  expect(await connectToGate(leaseId, secret)).toContain("Empty reply from server"); // the data plane knows no HTTP
});

scenario.concurrent(
  "when a container is killed, its data-plane process ends, and the lease stays",
  async (namespace) => {
    const [node] = WORKERS;
    const other = { name: "other", command: ["sleep", "600"] };
    await apply(cudaPod({ namespace, name: "killed", containers: [KEEPS_GPU, other], node }));
    await waitForGpus(namespace, "killed");
    expect(await countProcesses(namespace, "killed")).toBe(1);
    await killContainer(node, namespace, "main");
    await waitForProcessEnd(namespace, "killed", END_TIME);
    expect((await poolEvents(namespace)).map(({ message }) => message)).toEqual(["Lease granted"]);
  },
);

scenario.concurrent("when a pod is deleted by force, its lease and its data-plane process end", async (namespace) => {
  await apply(cudaPod({ namespace, name: "deleted", containers: [KEEPS_GPU] }));
  await waitForGpus(namespace, "deleted");
  await kubectl("delete", "pod", "deleted", "-n", namespace, "--force", "--grace-period=0");
  await waitForLeaseEnd(namespace, "deleted", END_TIME);
  await waitForProcessEnd(namespace, "deleted", END_TIME);
});

scenario("a program whose pool server is killed is told, and its restarted container works", async (namespace) => {
  const manifest = cudaPod({ namespace, name: "told", containers: [KEEPS_GPU] });
  await apply({ ...manifest, spec: { ...manifest.spec, restartPolicy: "OnFailure" } });
  await waitForGpus(namespace, "told");
  await exec(["docker", "kill", DATA_PLANE_SERVER]);
  await exec(["docker", "start", DATA_PLANE_SERVER]);
  await waitFor("the restart of the container", async () => {
    const previous = kubectl("logs", "-n", namespace, "told", "-c", "main", "--previous");
    return (await previous.catch(() => "")).includes("CUDA error");
  });
  await waitForGpus(namespace, "told");
  expect(await kubectl("logs", "-n", namespace, "told", "-c", "bitfusion-forward")).toMatch(
    /Connections of lease .+ have ended: /,
  );
  expect(await leasesOf(namespace, "told")).toHaveLength(1);
});
