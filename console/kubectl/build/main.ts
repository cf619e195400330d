import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { Argument, Command, Option } from "commander";
import { stringify } from "yaml";
import packageFile from "../../../package.json";
import { messageOf } from "../../../program/log/log.ts";
import { buildArchive, compilePlugin } from "./build.ts";
import { type Archive, krewManifest } from "./krew.ts";
import { ownPlatform, PLATFORMS, type Platform, platformName } from "./platforms.ts";

interface Flags {
  readonly out: string;
  readonly url?: string;
}

const print = (line: string) => void process.stdout.write(`${line}\n`);

const program = new Command("bun run kubectl")
  .description("compiles kubectl-bitfusion, and packs it for krew")
  .addArgument(
    new Argument(
      "[platform...]",
      "platforms to compile and pack for (default: all); `this` only compiles, for this machine",
    ).choices([...PLATFORMS.map(platformName), "this"]),
  )
  .option("--out <folder>", "folder for the executables and archives", "dist")
  .addOption(new Option("--url <url>", "where the archives will be published: writes the manifest for krew, too"))
  .action(async (names: string[], { out, url }: Flags) => {
    if (names.includes("this")) {
      const own = ownPlatform();
      if (!own)
        throw new Error(`Cannot compile for this machine: expected one of ${PLATFORMS.map(platformName).join(", ")}`);
      print(await compilePlugin(own, resolve(out)));
    }
    const isChosen = (platform: Platform) => names.length === 0 || names.includes(platformName(platform));
    const archives: Archive[] = [];
    for (const platform of PLATFORMS.filter(isChosen)) {
      const archive = await buildArchive(platform, resolve(out));
      archives.push(archive);
      print(`${join(out, archive.file)}  sha256:${archive.sha256}`);
    }
    if (url === undefined) return;
    const manifest = join(out, "bitfusion.yaml");
    const { version } = packageFile;
    await writeFile(
      manifest,
      stringify(krewManifest(archives, { version, url: url.replace(/\/+$/, "") }), { lineWidth: 0 }),
    );
    print(manifest);
  });

try {
  await program.parseAsync();
} catch (error) {
  const { stderr } = error as { stderr?: Buffer };
  process.stderr.write(`bun run kubectl: ${messageOf(error)}\n${stderr?.toString() ?? ""}`);
  process.exitCode = 1;
}
