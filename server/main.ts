import { Command, CommanderError, InvalidArgumentError } from "commander";
import * as v from "valibot";
import { EXPECTED_ADDRESS, isAddress } from "../pool/address.ts";
import { runProgram } from "../program/run.ts";
import { ClientName } from "./configuration/clients.ts";
import { READ_GPUS, sendAnswers } from "./gpus/nvidia/reader.ts";
import { serve } from "./serve.ts";
import { writeServerCertificate, writeToken } from "./token/token_files.ts";

const CA_FOLDER = "folder with the pool's ca.crt and ca.key, which are created if they do not exist";

/** The command of this program: of its executable file, or of Bun with its source. */
const PROGRAM = Bun.main.startsWith("/$bunfs/") ? [process.execPath] : [process.execPath, Bun.main];

await runProgram("bitfusion-server", async (context) => {
  const program = new Command("bitfusion-server")
    .description("A server of the GPU pool. Without a command, it serves as the file CONFIG_FILE says.")
    .exitOverride()
    .action(() => serve(context, PROGRAM));
  program
    .command(READ_GPUS, { hidden: true })
    .argument("<library>")
    .action((library: string) => sendAnswers(library, context.signal));
  program
    .command("token")
    .description("write the token of a cluster: ca.crt, client.yaml, pod-client.yaml and servers.conf")
    .argument("<folder>", "folder for the token's files")
    .requiredOption("--ca <folder>", CA_FOLDER)
    .requiredOption("--client <name>", "name of the cluster in the configuration of the servers", parseName)
    .requiredOption("--server <host:port>", "address of a pool server (repeatable)", collectAddress)
    .action((folder: string, options: { ca: string; client: string; server: string[] }) =>
      writeToken(folder, { ...options, servers: options.server, now: Date.now() }),
    );
  program
    .command("certificate")
    .description("write a server's ca.crt, tls.crt and tls.key, for a server without the CA's key")
    .argument("<folder>", "folder for the files")
    .requiredOption("--ca <folder>", CA_FOLDER)
    .requiredOption("--host <name>", "host name or IP address in servers.conf (repeatable)", collect)
    .action((folder: string, { ca, host }: { ca: string; host: string[] }) =>
      writeServerCertificate(folder, { ca, hosts: host, now: Date.now() }),
    );
  await program.parseAsync().catch((error) => {
    if (!(error instanceof CommanderError)) throw error;
    process.exit(error.exitCode === 0 ? 0 : 2); // Commander has printed the reason
  });
});

function parseName(text: string): string {
  const { success, issues } = v.safeParse(ClientName, text);
  if (!success) throw new InvalidArgumentError(`${issues[0].message.replace("expected", "Expected")}.`);
  return text;
}

function collectAddress(text: string, previous?: readonly string[]): string[] {
  if (!isAddress(text)) throw new InvalidArgumentError(`${EXPECTED_ADDRESS.replace("expected", "Expected")}.`);
  return collect(text, previous);
}

function collect(text: string, previous: readonly string[] = []): string[] {
  return [...previous, text];
}
