import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";

/** The fields of a CDI file that the demo's container runtime uses (Container Device Interface, SPEC.md). */
const CdiFile = v.object({
  kind: v.string(),
  devices: v.array(
    v.object({
      name: v.string(),
      containerEdits: v.object({
        env: v.optional(v.array(v.string()), []),
        mounts: v.optional(v.array(v.object({ hostPath: v.string(), containerPath: v.string() })), []),
      }),
    }),
  ),
});

/** What CDI devices add to a container. */
export interface CdiEdits {
  /** Variables by name. */
  readonly environment: Readonly<Record<string, string>>;
  /** Path in the container → path on the node. */
  readonly mounts: Readonly<Record<string, string>>;
}

/**
 * What CDI devices add to a container.
 *
 * @param devices fully qualified names, such as bitfusion.io/claim=<uid>_<device>.
 * @throws {Error} if no file in the directory describes a device.
 */
export async function readCdiEdits(directory: string, devices: readonly string[]): Promise<CdiEdits> {
  const known = new Map<string, v.InferOutput<typeof CdiFile>["devices"][number]["containerEdits"]>();
  for (const name of await readdir(directory)) {
    if (!name.endsWith(".json")) continue;
    const { kind, devices } = v.parse(CdiFile, JSON.parse(await readFile(join(directory, name), "utf8")));
    for (const { name, containerEdits } of devices) known.set(`${kind}=${name}`, containerEdits);
  }
  const edits = devices.map((device) => {
    const found = known.get(device);
    if (!found) throw new Error(`No CDI file in ${directory} describes the device ${device}`);
    return found;
  });
  const variables = edits.flatMap(({ env }) =>
    env.map((variable) => {
      const [name = "", ...value] = variable.split("=");
      return [name, value.join("=")] as const;
    }),
  );
  const mounts = edits.flatMap(({ mounts }) =>
    mounts.map(({ containerPath, hostPath }) => [containerPath, hostPath] as const),
  );
  return { environment: Object.fromEntries(variables), mounts: Object.fromEntries(mounts) };
}
