/** A platform that the plugin is compiled for. Names of systems and architectures are those of Go, as krew has them. */
export interface Platform {
  readonly os: "linux" | "darwin" | "windows";
  readonly arch: "amd64" | "arm64";
}

export const PLATFORMS: readonly Platform[] = (["linux", "darwin", "windows"] as const).flatMap((os) =>
  (["amd64", "arm64"] as const).map((arch) => ({ os, arch })),
);

/** The name of a platform, as an argument and in file names: `linux-amd64`. */
export function platformName({ os, arch }: Platform): string {
  return `${os}-${arch}`;
}

/** The target of `bun build --compile`. */
export function bunTarget({ os, arch }: Platform): string {
  return `bun-${os}-${arch === "amd64" ? "x64" : "arm64"}`;
}

/** The npm package with Bun's own executable for the platform. */
export function bunPackage({ os, arch }: Platform): string {
  return `@oven/bun-${os}-${arch === "amd64" ? "x64" : "aarch64"}`;
}

/** An executable's file name on the platform. */
export function executableName({ os }: Platform, name: string): string {
  return os === "windows" ? `${name}.exe` : name;
}

/** The platform of this machine, if the plugin is compiled for it. */
export function ownPlatform(os: string = process.platform, arch: string = process.arch): Platform | undefined {
  const names: Readonly<Record<string, string>> = { win32: "windows", x64: "amd64" };
  return PLATFORMS.find((each) => each.os === (names[os] ?? os) && each.arch === (names[arch] ?? arch));
}
