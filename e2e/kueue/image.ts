import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import { exec } from "../steps/exec.ts";

/** The release of Kueue that docs/kueue.md installs. */
export const KUEUE_VERSION = "v0.17.1";

const MODULE = "sigs.k8s.io/kueue";
const VERSION_VARIABLE = `${MODULE}/pkg/version.GitVersion`;

/** The image of Kueue's manager. */
export const KUEUE_IMAGE = `bitfusion-e2e-kueue:${KUEUE_VERSION}`;

const Download = v.object({ Dir: v.string() });

/** Downloads Kueue's Go module. Returns its folder, which is read-only. Needs Go. */
export async function downloadKueue(): Promise<string> {
  const output = await exec(["go", "mod", "download", "-json", `${MODULE}@${KUEUE_VERSION}`]);
  return v.parse(Download, JSON.parse(output)).Dir;
}

/** Builds {@link KUEUE_IMAGE} from a folder of {@link downloadKueue}, unless this machine has it: the first time takes minutes. */
export async function buildKueueImage(module: string): Promise<void> {
  if (await exec(["docker", "images", "--quiet", KUEUE_IMAGE])) return;
  const folder = await mkdtemp(join(tmpdir(), "bitfusion-kueue-"));
  try {
    const flags = ["-trimpath", `-ldflags=-s -w -X ${VERSION_VARIABLE}=${KUEUE_VERSION}`];
    await exec(["go", "build", "-C", module, ...flags, "-o", join(folder, "manager"), "./cmd/kueue"], {
      env: { CGO_ENABLED: "0", GOOS: "linux" },
    });
    await exec(["docker", "build", "--quiet", "-t", KUEUE_IMAGE, "-f", "e2e/kueue/Dockerfile", folder]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
