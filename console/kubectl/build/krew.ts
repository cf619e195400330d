import { executableName, type Platform, platformName } from "./platforms.ts";

/** The archive of a platform. */
export interface Archive {
  readonly platform: Platform;
  /** Name of the file. */
  readonly file: string;
  /** In hex. */
  readonly sha256: string;
}

/** Name of the executable, by which kubectl finds the plugin. */
export const EXECUTABLE = "kubectl-bitfusion";

/** Name of the archive of a platform. */
export function archiveName(platform: Platform): string {
  return `${EXECUTABLE}-${platformName(platform)}.tar.gz`;
}

/**
 * The manifest for krew (https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest).
 *
 * @param url where the archives are published, without a slash at the end
 */
export function krewManifest(archives: readonly Archive[], { version, url }: { version: string; url: string }): object {
  return {
    apiVersion: "krew.googlecontainertools.github.com/v1alpha2",
    kind: "Plugin",
    metadata: { name: "bitfusion" },
    spec: {
      version: `v${version}`,
      homepage: url,
      shortDescription: "Show who has which GPU of a Bitfusion pool, who waits, and why",
      description: [
        "Shows the servers and GPUs of a pool in the network: held and free units, health, who holds",
        "them and who waits, for what and why. Explains the way of one pod to its GPUs, tells whether",
        "a manifest would find room, and cordons and drains GPUs.",
        "",
      ].join("\n"),
      caveats:
        "It needs a cluster with Bitfusion on Kubernetes. To see the whole pool, ask for the ClusterRole bitfusion-pool-viewer.\n",
      platforms: archives.map(({ platform, file, sha256 }) => ({
        selector: { matchLabels: { os: platform.os, arch: platform.arch } },
        uri: `${url}/${file}`,
        sha256,
        bin: executableName(platform, EXECUTABLE),
      })),
    },
  };
}
