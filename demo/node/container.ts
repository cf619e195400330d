import { mkdir, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Container } from "../../kubernetes/objects/pod.ts";

export interface ContainerOptions {
  /** Folder that becomes the container's root. */
  root: string;
  /** Path in the image → file on this machine. */
  image: Readonly<Record<string, string>>;
  /** Volume → folder on this machine. */
  volumes: Readonly<Record<string, string>>;
  /** Downward API: field path → value. */
  fields: Readonly<Record<string, string>>;
  /** Variables of the container's devices. */
  environment: Readonly<Record<string, string>>;
  /** Mounts of the container's devices: path in the container → path on this machine. */
  mounts: Readonly<Record<string, string>>;
  /** Called with each line that the container writes. */
  onLine: (line: string) => void;
  /** Ends the container with SIGTERM. */
  signal: AbortSignal;
}

/**
 * Runs a container as a process on this machine, without namespaces or mounts: its root is a folder, the files of its
 * image and its volumes are symbolic links in it, and absolute paths in its command resolve to that folder. Returns the
 * exit status.
 */
export async function runContainer(container: Container, options: ContainerOptions): Promise<number> {
  const { root, image, volumes, fields, environment, mounts, onLine, signal } = options;
  const links = new Map([...Object.entries(image), ...Object.entries(mounts)]);
  for (const { name, mountPath, subPath = "" } of container.volumeMounts ?? []) {
    const volume = volumes[name];
    if (volume === undefined) throw new Error(`Container "${container.name}" mounts the unknown volume "${name}"`);
    links.set(mountPath, join(volume, subPath));
  }
  for (const [path, target] of links) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await symlink(target, join(root, path));
  }
  const locate = (argument: string) =>
    argument.replace(/^(--[\w-]+=)?(\/.*)$/, (match, flag: string = "", path: string) =>
      [...links.keys()].some((known) => path === known || path.startsWith(`${known}/`))
        ? `${flag}${join(root, path)}`
        : match,
    );
  const locateFolder = (value: string) =>
    [...links.keys()].some((known) => known.startsWith(`${value}/`)) ? join(root, value) : value;
  const command = [...(container.command ?? []), ...(container.args ?? [])].map(locate);
  const variables = (container.env ?? []).map(({ name, value, valueFrom }) => [
    name,
    value ?? fields[valueFrom?.fieldRef?.fieldPath ?? ""] ?? "",
  ]);
  const child = Bun.spawn(command, {
    env: {
      ...Object.fromEntries(variables),
      ...Object.fromEntries(Object.entries(environment).map(([name, value]) => [name, locateFolder(value)])),
      PATH: `${join(root, "usr/bin")}:${process.env.PATH}`,
      HOME: join(root, "root"),
      BITFUSION_CONFIG_DIR: join(root, "etc/bitfusion"),
    },
    stdio: ["ignore", "pipe", "pipe"],
    signal,
  });
  await Promise.all([eachLine(child.stdout, onLine), eachLine(child.stderr, onLine)]);
  return child.exited;
}

async function eachLine(stream: ReadableStream<Uint8Array>, onLine: (line: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    lines.forEach(onLine);
  }
  if (rest) onLine(rest);
}
