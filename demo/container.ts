import { chmod, copyFile, cp, mkdir, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";

/** The fields of a container that the demo's runtime uses. */
export interface ContainerSpec {
  readonly name: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly env?: readonly {
    readonly name: string;
    readonly value?: string;
    readonly valueFrom?: { readonly fieldRef?: { readonly fieldPath: string } };
  }[];
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string; readonly subPath?: string }[];
}

export interface ContainerOptions {
  /** Empty folder that becomes the container's root. */
  root: string;
  /** Path in the image → file on this machine. */
  image: Readonly<Record<string, string>>;
  /** Volume → folder on this machine. */
  volumes: Readonly<Record<string, string>>;
  /** Downward API: field path → value. */
  fields: Readonly<Record<string, string>>;
  /** Called with each line that the container writes. */
  onLine: (line: string) => void;
  signal: AbortSignal;
}

/**
 * Runs a container as a process on this machine, without namespaces or mounts: its root is a folder, its volumes are
 * symbolic links in it, and absolute paths in its command resolve to that folder. Returns the exit status.
 */
export async function runContainer(container: ContainerSpec, options: ContainerOptions): Promise<number> {
  const { root, image, volumes, fields, onLine, signal } = options;
  for (const [path, file] of Object.entries(image)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await copyFile(file, join(root, path));
    await chmod(join(root, path), 0o755);
  }
  for (const { name, mountPath, subPath = "" } of container.volumeMounts ?? []) {
    const volume = volumes[name];
    if (volume === undefined) throw new Error(`Container "${container.name}" mounts the unknown volume "${name}"`);
    await mkdir(dirname(join(root, mountPath)), { recursive: true });
    await symlink(join(volume, subPath), join(root, mountPath));
  }
  const pathsInRoot = [...Object.keys(image), ...(container.volumeMounts ?? []).map(({ mountPath }) => mountPath)];
  const locate = (argument: string) =>
    argument.replace(/^(--[\w-]+=)?(\/.*)$/, (match, flag: string = "", path: string) =>
      pathsInRoot.some((known) => path === known || path.startsWith(`${known}/`))
        ? `${flag}${join(root, path)}`
        : match,
    );
  const command = [...(container.command ?? []), ...(container.args ?? [])].map(locate);
  const environment = Object.fromEntries(
    (container.env ?? []).map(({ name, value, valueFrom }) => [
      name,
      value ?? fields[valueFrom?.fieldRef?.fieldPath ?? ""] ?? "",
    ]),
  );
  const child = Bun.spawn(command, {
    env: {
      ...environment,
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

/** Creates a volume, with a copy of the files in `from` if given. Returns its folder. */
export async function createVolume(folder: string, from?: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  if (from) await cp(from, folder, { recursive: true });
  return folder;
}
