import { exec } from "../steps/exec.ts";
import { CLUSTER, get, kubectl, WORKERS } from "../steps/kubectl.ts";

interface StoredObject {
  kind: string;
  metadata: { name: string; namespace?: string; managedFields?: unknown };
  status?: { capacity?: object; allocatable?: object };
}

/** Directories of a node in which the programs create something. The container runtime and the kubelet own them. */
const DIRECTORIES = ["/var/lib/kubelet", "/var/run/cdi/"];

/** Lists what the cluster has of this project: objects as `Kind namespace/name`, and files as `node: path`. */
export async function findLeftovers(): Promise<string[]> {
  const files = await Promise.all([`${CLUSTER}-control-plane`, ...WORKERS].map(filesOn));
  return [...(await objects()), ...files.flat()].sort();
}

/** The objects whose metadata, or resources in the case of a node, name the project. Events expire by themselves. */
async function objects(): Promise<string[]> {
  const kinds = (await kubectl("api-resources", "--verbs=list", "-o", "name"))
    .split("\n")
    .filter((kind) => kind && kind !== "events" && kind !== "events.events.k8s.io");
  const { items } = await get<{ items: StoredObject[] }>(kinds.join(","), "-A");
  return items
    .filter(({ metadata: { managedFields: _, ...metadata }, kind, status }) =>
      namesProject(JSON.stringify([metadata, kind === "Node" ? [status?.capacity, status?.allocatable] : []])),
    )
    .map(({ kind, metadata: { namespace, name } }) => `${kind} ${namespace ? `${namespace}/` : ""}${name}`);
}

async function filesOn(node: string): Promise<string[]> {
  const paths = await exec(["docker", "exec", node, "find", ...DIRECTORIES, "-name", "*bitfusion*"]);
  return paths
    .split("\n")
    .filter(namesProject)
    .map((path) => `${node}: ${path}`);
}

/** The name of the cluster itself does not count. */
function namesProject(text: string): boolean {
  return text.replaceAll(CLUSTER, "").includes("bitfusion");
}
