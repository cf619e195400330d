import { chmod, copyFile, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { $ } from "bun";
import { type Archive, archiveName, EXECUTABLE } from "./krew.ts";
import { bunPackage, bunTarget, executableName, ownPlatform, type Platform, platformName } from "./platforms.ts";

const ROOT = resolve(import.meta.dir, "../../..");

/** Settings of a working directory must not change what the executable does. */
const OPTIONS = ["--minify", "--no-compile-autoload-dotenv", "--no-compile-autoload-bunfig"];

/** What kubectl runs to complete the plugin's arguments. */
const COMPLETE_EXECUTABLE = "kubectl_complete-bitfusion";

const COMPLETE_SCRIPT = `#!/bin/sh
exec ${EXECUTABLE} __complete "$@"
`;

/**
 * Compiles the plugin for a platform, in a folder of its own, with the script that completes its arguments. Bun's own executable of another
 * platform comes from npm.
 *
 * @param folder gets the folder `<os>-<arch>`
 * @returns the path of that folder
 * @throws {Error} if the plugin cannot be compiled.
 */
export async function compilePlugin(platform: Platform, folder: string): Promise<string> {
  const output = join(folder, platformName(platform));
  await rm(output, { recursive: true, force: true });
  await mkdir(output, { recursive: true });
  const executable = join(output, executableName(platform, EXECUTABLE));
  const bun = await findBun(platform, join(folder, "bun"));
  const source = join(ROOT, "console/kubectl/main.ts");
  const options = [...OPTIONS, `--target=${bunTarget(platform)}`, `--compile-executable-path=${bun}`];
  await $`${process.execPath} build ${source} --compile ${options} --outfile ${executable}`.cwd(ROOT).quiet();
  if (platform.os !== "windows") {
    const script = join(output, COMPLETE_EXECUTABLE);
    await writeFile(script, COMPLETE_SCRIPT);
    await chmod(script, 0o755);
  }
  return output;
}

/** {@link compilePlugin}, and packs the result with the licence. @throws {Error} if the plugin cannot be compiled or packed. */
export async function buildArchive(platform: Platform, folder: string): Promise<Archive> {
  const output = await compilePlugin(platform, folder);
  await copyFile(join(ROOT, "LICENSE"), join(output, "LICENSE"));
  const file = archiveName(platform);
  const path = join(folder, file);
  await $`tar -czf ${path} -C ${output} ${(await readdir(output)).sort()}`.quiet();
  const sha256 = new Bun.CryptoHasher("sha256").update(await Bun.file(path).arrayBuffer()).digest("hex");
  return { platform, file, sha256 };
}

/** Bun's executable for a platform, of the version that runs now. npm checks what it gets against the registry's hash. */
async function findBun(platform: Platform, folder: string): Promise<string> {
  const own = ownPlatform();
  if (own && platformName(own) === platformName(platform)) return process.execPath;
  const name = `${bunPackage(platform)}@${Bun.version}`;
  const target = join(folder, `${platformName(platform)}-${Bun.version}`);
  const executable = join(target, "package/bin", executableName(platform, "bun"));
  if (await Bun.file(executable).exists()) return executable;
  await mkdir(target, { recursive: true });
  const tarball = (await $`npm pack --silent ${name}`.cwd(target).text()).trim();
  await $`tar -xzf ${tarball}`.cwd(target).quiet();
  await rm(join(target, tarball));
  return executable;
}
