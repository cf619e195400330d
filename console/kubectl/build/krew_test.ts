import { expect, test } from "bun:test";
import { archiveName, krewManifest } from "./krew.ts";
import { bunPackage, bunTarget, ownPlatform, PLATFORMS } from "./platforms.ts";

test("krewManifest() has each platform once, with the executable that its archive has", () => {
  const archives = PLATFORMS.map((platform, index) => ({
    platform,
    file: archiveName(platform),
    sha256: String(index).repeat(64),
  }));
  const url = "https://releases.example/v0.1.0";
  const manifest = krewManifest(archives, { version: "0.1.0", url });
  expect(manifest).toMatchObject({ metadata: { name: "bitfusion" }, spec: { version: "v0.1.0" } });
  const { platforms } = (manifest as { spec: { platforms: { uri: string; bin: string; selector: object }[] } }).spec;
  expect(platforms).toHaveLength(6);
  expect(new Set(platforms.map(({ selector }) => JSON.stringify(selector))).size).toBe(6);
  expect(platforms[0]).toEqual({
    selector: { matchLabels: { os: "linux", arch: "amd64" } },
    uri: `${url}/kubectl-bitfusion-linux-amd64.tar.gz`,
    sha256: "0".repeat(64),
    bin: "kubectl-bitfusion",
  } as never);
  expect(platforms.map(({ bin }) => bin).filter((bin) => bin.endsWith(".exe"))).toHaveLength(2);
});

test("platforms have the names that Bun and npm use", () => {
  const windows = { os: "windows", arch: "arm64" } as const;
  expect([bunTarget(windows), bunPackage(windows)]).toEqual(["bun-windows-arm64", "@oven/bun-windows-aarch64"]);
  expect([ownPlatform("win32", "x64"), ownPlatform("darwin", "arm64"), ownPlatform("freebsd", "x64")]).toEqual([
    { os: "windows", arch: "amd64" },
    { os: "darwin", arch: "arm64" },
    undefined,
  ]);
});
