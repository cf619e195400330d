import type { SidecarClient } from "../../clients/catalogue.ts";
import type { JsonObject } from "../../pod/json_object.ts";
import type { Container } from "../../pod/pod.ts";
import { RESTRICTED } from "../security_context.ts";
import type { Ports } from "./ports.ts";

/** Name of the sidecar that the webhook injects. */
export const FORWARD_CONTAINER = "bitfusion-forward";

/** The program in the sidecar's image, as client/Dockerfile has it, and its subcommand. */
const FORWARD = ["/usr/bin/bitfusion", "forward"] as const;

/** What depends on the ports: it changes when another webhook adds a GPU container to the pod. */
export interface ForwardCommand {
  readonly command: readonly string[];
  readonly startupProbe: JsonObject & { readonly exec: JsonObject };
}

/** The command of the sidecar, and the probe that holds back the other containers until it listens. */
export function forwardCommand(ports: Ports): ForwardCommand {
  const last = [...ports.values()].at(-1); // it opens the ports in this order
  return {
    command: [...FORWARD, ...[...ports].flatMap(([container, port]) => ["--container", `${container}=${port}`])],
    startupProbe: {
      // exec: a kubelet that connects to the pod's address does not reach 127.0.0.1, and may meet the proxy of a mesh
      exec: { command: [...FORWARD, "--probe", String(last)] },
      periodSeconds: 1,
      timeoutSeconds: 10, // the program starts within 0.1 s on an idle node
      // A pod with restartPolicy Never would not survive a restart of the sidecar before the probe has succeeded
      // (kubernetes/kubernetes#132826): an hour, longer than any node takes.
      failureThreshold: 3600,
    },
  };
}

/** The sidecar that holds the ports of the GPU containers open, and forwards them to the pool servers. */
export function forwardContainer({ sidecar: { image } }: SidecarClient, ports: Ports): JsonObject & ForwardCommand {
  return {
    name: FORWARD_CONTAINER,
    image,
    restartPolicy: "Always", // makes it a sidecar
    ...forwardCommand(ports),
    securityContext: RESTRICTED,
    terminationMessagePolicy: "FallbackToLogsOnError", // `kubectl describe` then shows why it has ended
  };
}

/** Whether a container is the injected sidecar: by its program, since users may give a container its name. */
export function isForward({ name, command = [] }: Container): boolean {
  return name === FORWARD_CONTAINER && FORWARD.every((argument, index) => command[index] === argument);
}

/** The ports in the command of the injected sidecar. What is no port is left out. */
export function portsOf({ command = [] }: Container): Ports {
  return new Map(
    command.flatMap((argument): [string, number][] => {
      const [, container, port] = /^([^=]+)=(\d{1,5})$/.exec(argument) ?? [];
      return container && port ? [[container, Number(port)]] : [];
    }),
  );
}
