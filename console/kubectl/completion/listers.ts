import { KubeConfig } from "@kubernetes/client-node";
import { PODS } from "../../../kubernetes/objects/pod.ts";
import { listObjects } from "../../../kubernetes/watch.ts";
import { inNamespace } from "../../source/resources.ts";
import { open } from "../options.ts";
import { readView } from "../show.ts";
import type { Flags } from "./complete.ts";

/** Servers, and ids of GPUs. */
export async function listTargets(flags: Flags, signal: AbortSignal): Promise<readonly string[]> {
  const { view } = await readView({ request: connectionOf(flags).request }, signal);
  return view.servers.flatMap(({ address, gpus }) => [address, ...gpus.map(({ id }) => id)]);
}

export async function listPods(flags: Flags, signal: AbortSignal): Promise<readonly string[]> {
  const { request, namespace } = connectionOf(flags);
  return listNames(request, inNamespace(PODS, namespace), signal);
}

export async function listNamespaces(flags: Flags, signal: AbortSignal): Promise<readonly string[]> {
  return listNames(connectionOf(flags).request, "/api/v1/namespaces", signal);
}

/** The contexts of the kubeconfig. */
export async function listContexts({ "--kubeconfig": kubeconfig }: Flags): Promise<readonly string[]> {
  const config = new KubeConfig();
  if (kubeconfig === undefined) config.loadFromDefault();
  else config.loadFromFile(kubeconfig);
  return config.getContexts().map(({ name }) => name);
}

async function listNames(
  request: ReturnType<typeof open>["request"],
  path: string,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const { objects } = await listObjects({ request, path, transform: ({ metadata }) => metadata.name }, signal);
  return [...objects.values()];
}

function connectionOf(flags: Flags) {
  const { "--kubeconfig": kubeconfig, "--context": context, "--namespace": namespace } = flags;
  return open({
    ...(kubeconfig === undefined ? {} : { kubeconfig }),
    ...(context === undefined ? {} : { context }),
    ...(namespace === undefined ? {} : { namespace }),
  });
}
