import { join } from "node:path";
import { TEST_SERVER } from "../../tls/testing.ts";
import { type LineProcess, startLineProcess } from "./child_lines.ts";
import type { PoolAddresses, PoolConfiguration, PoolTraffic } from "./pool_process.ts";

/** Servers of one process: they die together. */
export interface ServerGroup {
  readonly hostnames: readonly string[];
  readonly addresses: readonly string[];
  readonly process: LineProcess;
}

/** Pool servers on ports of this machine. */
export interface SimulatedPool extends AsyncDisposable {
  /** Two servers with a process each. */
  readonly single: readonly [ServerGroup, ServerGroup];
  /** Two racks, each with a tenth of the servers. */
  readonly racks: readonly [ServerGroup, ServerGroup];
  /** All groups, in the order of the list of servers. */
  readonly groups: readonly ServerGroup[];
  /** What has happened since the start, of all servers that have not died. */
  traffic(): Promise<PoolTraffic>;
}

/** Starts servers with this number of GPUs each. */
export async function startSimulatedPool(servers: number, gpusPerServer: number): Promise<SimulatedPool> {
  await using processes = new AsyncDisposableStack();
  const groups: ServerGroup[] = [];
  const start = async (name: string, count: number): Promise<ServerGroup> => {
    const hostnames = Array.from({ length: count }, (_, index) => `gpu-${name}-${index}.example.internal`);
    const process = processes.use(startLineProcess(join(import.meta.dir, "pool_process.ts")));
    const configuration: PoolConfiguration = { tls: TEST_SERVER, hostnames, gpusPerServer };
    const { addresses } = await process.ask<PoolAddresses>(JSON.stringify(configuration));
    const group = { hostnames, addresses, process };
    groups.push(group);
    return group;
  };
  const rack = servers / 10;
  const rest = servers - 2 * rack - 2;
  const others = [await start("a", Math.floor(rest / 2)), await start("b", Math.ceil(rest / 2))];
  const racks = [await start("rack-1", rack), await start("rack-2", rack)] as const;
  const single = [await start("c", 1), await start("d", 1)] as const;
  const running = processes.move();
  return {
    single,
    racks,
    groups,
    async traffic() {
      const reports = await Promise.all(others.map(({ process }) => process.ask<PoolTraffic>()));
      const share = rest / servers;
      const sum = (count: (report: PoolTraffic) => number) =>
        reports.reduce((total, report) => total + count(report), 0) / share;
      const [{ sample } = { sample: { bytes: 0, messages: 0 } }] = reports;
      return { messages: sum(({ messages }) => messages), lists: sum(({ lists }) => lists), sample };
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
