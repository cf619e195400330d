import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";

/** The fields of a CDI file that the demo's container runtime uses (Container Device Interface, SPEC.md). */
const CdiFile = v.object({
  kind: v.string(),
  devices: v.array(
    v.object({ name: v.string(), containerEdits: v.object({ env: v.optional(v.array(v.string()), []) }) }),
  ),
});

/**
 * The environment variables that CDI devices add to a container, by name.
 *
 * @param devices fully qualified names, such as bitfusion.io/claim=<uid>.
 * @throws {Error} if no file in the directory describes a device.
 */
export async function cdiEnvironment(directory: string, devices: readonly string[]): Promise<Record<string, string>> {
  const environments = new Map<string, readonly string[]>();
  for (const name of await readdir(directory)) {
    if (!name.endsWith(".json")) continue;
    const { kind, devices } = v.parse(CdiFile, JSON.parse(await readFile(join(directory, name), "utf8")));
    for (const { name, containerEdits } of devices) environments.set(`${kind}=${name}`, containerEdits.env);
  }
  const variables = devices.flatMap((device) => {
    const environment = environments.get(device);
    if (!environment) throw new Error(`No CDI file in ${directory} describes the device ${device}`);
    return environment.map((variable) => {
      const [name = "", ...value] = variable.split("=");
      return [name, value.join("=")] as const;
    });
  });
  return Object.fromEntries(variables);
}
