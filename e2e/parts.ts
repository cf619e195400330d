import type { ClusterRunOptions } from "./cluster/cluster.ts";

/** The folders of tests that run with `--all`, in this order: claims, then units and back, then what the API server has written down of all others. */
const ALL = ["scenarios", "drills", "units", "audit"];

/** The folder of the tests that run on an older Kubernetes. */
export const OLD = "old_kubernetes";

/** Tests that run on a cluster of their own. */
export interface Part {
  /** The name of its results: reports/<name>.xml. */
  name: string;
  /** The test files, relative to the repository's root. */
  files: readonly string[];
  cluster: Omit<ClusterRunOptions, "keep" | "signal">;
}

export interface Selection {
  /** Only files whose path contains one of these. Empty: all files. */
  names: readonly string[];
  /** With the drills. */
  all: boolean;
  /** The node image of an older Kubernetes. */
  oldImage?: string | undefined;
}

/**
 * The clusters that the selected tests need. They follow each other, because two cores carry one, and both would have the same pool servers. The
 * one with the older Kubernetes comes last: what most people use is known first.
 */
export function planParts({ names, all, oldImage }: Selection): Part[] {
  const findTests = (...folders: string[]) =>
    folders
      .flatMap((folder) => [...new Bun.Glob(`./e2e/${folder}/*_e2e.ts`).scanSync()].sort())
      .filter((file) => names.length === 0 || names.some((name) => file.includes(name)));
  const parts: Part[] = [
    { name: "e2e", files: findTests(...(all ? ALL : ["scenarios"])), cluster: { record: true } },
    { name: OLD, files: oldImage ? findTests(OLD) : [], cluster: { nodeImage: oldImage, installs: false } },
  ];
  return parts.filter(({ files }) => files.length > 0);
}
