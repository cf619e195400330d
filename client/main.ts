import { constants } from "node:os";
import { Command, CommanderError, Option } from "commander";
import type { Filter } from "../pool/filter.ts";
import { ConfigError } from "../program/config_error.ts";
import { messageOf } from "../program/log/log.ts";
import {
  collectContainerPort,
  collectFilter,
  parseCount,
  parseFraction,
  parsePort,
  parseTimeout,
  shareOf,
} from "./arguments.ts";
import { type Init, startInit } from "./command/init.ts";
import type { ContainerPort } from "./container/forward.ts";
import { isListening } from "./container/probe.ts";
import { InterruptedError } from "./interrupted_error.ts";

/*
 * Each command loads what it needs: a forwarder that had loaded gRPC would use a third more memory, in every pod.
 */

const print = (message: string) => void process.stderr.write(`bitfusion: ${message}\n`);

const program = new Command("bitfusion")
  .description("Runs commands on the GPUs of a pool in the network. This client is for simulated pools.")
  .exitOverride()
  .enablePositionalOptions();

program
  .command("run")
  .description("claim a share of the pool, run a command while holding it, and release it")
  .requiredOption("-n <count>", "number of different GPUs", parseCount)
  .addOption(new Option("-p <fraction>", "share of each GPU, 0.01 to 1 (default: 1)").argParser(parseFraction))
  .addOption(new Option("-m <MB>", "memory of each GPU, instead of -p").argParser(parseCount).conflicts("p"))
  .addOption(
    new Option("--filter <key=value>", "use only GPUs that match (repeatable)")
      .argParser(collectFilter)
      .default([], "none"),
  )
  .addOption(
    new Option("--timeout <seconds>", "maximum time to wait for the pool")
      .argParser(parseTimeout)
      .default(600_000, "600")
      .env("BITFUSION_TIMEOUT"),
  )
  .argument("<command...>", "the command and its arguments, after --")
  .passThroughOptions()
  .addHelpText(
    "after",
    `
Reads /etc/bitfusion/servers.conf, /etc/bitfusion/tls/ca.crt and ~/.bitfusion/client.yaml; where the scheduler chooses GPUs
(BITFUSION_ALLOCATION=claims), the folder BITFUSION_LEASES instead. The command gets LD_LIBRARY_PATH with the folders of
BITFUSION_LIBRARY_PATH in front, and where servers forward calls to leases of BITFUSION_LEASES, BITFUSION_GATE_ADDRESS: the address at
127.0.0.1 that leads to the GPUs, one for each lease, separated by commas.
Exits with the command's status (128 + n: ended by signal n, also while waiting for the pool; 126, 127: cannot be run),
1 if the pool has no free share or the lease is lost, 2 if the input is invalid.

Differences from Bitfusion's own client:
  - The GPUs are simulated. The command sees them in BITFUSION_GPUS (id=percent,...), not as CUDA devices.
  - It speaks bitfusion.pool.v1, over mutual TLS. client.yaml is written by "bitfusion-server token".
  - client.yaml may also be in /etc/bitfusion, for users without a home, and ca.crt too; BITFUSION_CONFIG_DIR names another folder.
  - It has the flag --timeout and the command install.`,
  )
  .action(
    async (command: string[], options: { n: number; p?: number; m?: number; filter: Filter[]; timeout: number }) => {
      const stop = new AbortController();
      const giveUp = (signal: NodeJS.Signals) => stop.abort(new InterruptedError(signal));
      // never removed: a second Ctrl-C at a terminal would end the client before it releases the lease
      for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, giveUp);
      using init = process.pid === 1 ? tryInit() : undefined;
      const { filter: filters, timeout } = options;
      const { run } = await import("./run.ts");
      process.exitCode = await run({
        share: shareOf(options),
        filters,
        command,
        timeout,
        environment: process.env,
        print,
        signal: stop.signal,
        init,
      });
    },
  );

program
  .command("forward")
  .description("the sidecar of a pod: carry a port to the GPUs of each container, until SIGTERM")
  .addOption(
    new Option(
      "--container <name=port>",
      "container of the pod, and the port at 127.0.0.1 that leads to its GPUs (repeatable)",
    ).argParser(collectContainerPort),
  )
  .addOption(
    new Option("--probe <port>", "instead, exit with 0 if the sidecar listens on this port, with 1 if it does not")
      .argParser(parsePort)
      .conflicts("container"),
  )
  .addHelpText(
    "after",
    `
Reads the folder BITFUSION_LEASES anew for each connection. While the pool is away, a connection waits for up to 30 seconds and is then
closed, and standard error says why. Exits with 2 if an argument is invalid or a port is in use, and otherwise runs until it is told to end.`,
  )
  .action(async ({ container: ports, probe }: { container?: ContainerPort[]; probe?: number }) => {
    if (probe !== undefined) {
      process.exitCode = (await isListening(probe)) ? 0 : 1;
      return;
    }
    if (!ports) throw new ConfigError("Cannot forward: expected --container <name=port> or --probe <port>");
    const stop = Promise.withResolvers<void>();
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => stop.resolve());
    const { forward } = await import("./container/forward.ts");
    using _ = await forward({ ports, environment: process.env, print });
    await stop.promise;
  });

program
  .command("install")
  .description("copy this client and the token's files to volumes that the pod's containers mount")
  .requiredOption("--client <folder>", "folder for the client; containers mount it as /bitfusion")
  .requiredOption("--config <folder>", "folder for servers.conf, client.yaml and ca.crt")
  .requiredOption("--tokens <folder>", "folder with the token's files")
  .action(async (folders: { client: string; config: string; tokens: string }) => {
    const { install } = await import("./install.ts");
    await install({ executable: process.execPath, ...folders });
  });

/** Starts what process 1 must do. Without it, the command runs too. */
function tryInit(): Init | undefined {
  try {
    return startInit();
  } catch (error) {
    print(`Cannot reap orphans: ${messageOf(error)}`);
    return undefined;
  }
}

try {
  await program.parseAsync();
  process.exit();
} catch (error) {
  if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? 0 : 2); // Commander has printed the reason
  print(messageOf(error));
  if (error instanceof InterruptedError) process.exit(128 + constants.signals[error.signal]);
  process.exit(error instanceof ConfigError ? 2 : 1);
}
