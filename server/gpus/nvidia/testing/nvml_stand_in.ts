import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** What the stand-in for NVML answers. A field that is not set is what NVML does not support. */
export interface StandInState {
  readonly system?: {
    readonly driver?: string;
    /** 1000 × major + 10 × minor. */
    readonly cuda?: number;
    /** nvmlReturn_t of nvmlInit. */
    readonly init?: number;
    /** nvmlReturn_t of nvmlEventSetWait. */
    readonly wait?: number;
    /** 1: calls do not return. */
    readonly hangs?: number;
  };
  readonly gpus: readonly StandInGpu[];
  /** All Xid errors since the start. */
  readonly xids?: readonly {
    readonly gpu: number;
    readonly number: number;
    readonly gi?: number;
    readonly ci?: number;
  }[];
}

type StandInGpu = StandInIdentity & {
  /** nvmlReturn_t of all calls. */
  readonly status?: number;
  readonly recovery?: number;
  readonly remapFailed?: number;
  readonly retiredPending?: number;
  readonly processes?: readonly StandInProcess[];
  /** Its partitions, if it is in MIG mode. */
  readonly migDevices?: readonly (StandInIdentity & {
    readonly gi: number;
    readonly ci: number;
    readonly processes?: readonly StandInProcess[];
  })[];
};

export type StandInProcess = {
  readonly pid: number;
  /** In bytes. */
  readonly memory: number | bigint;
  /** Percent of its last sample. Absent: it is idle. */
  readonly utilization?: number;
  /** Time of the sample, in microseconds. Absent: now, whenever that is. */
  readonly at?: number;
  /** 1: it has a graphics context. */
  readonly graphics?: number;
};

type StandInIdentity = {
  readonly uuid: string;
  /** In bytes. */
  readonly memory: number;
  readonly name: string;
};

/** Whether this machine can compile the stand-in. */
export const HAS_COMPILER = Bun.which("cc") !== null;

/** Compiles the stand-in for libnvidia-ml.so.1. It answers what the file `state` says. Returns its path. */
export async function buildStandIn(folder: string, state: string): Promise<string> {
  const library = join(folder, "libnvidia-ml.so.1");
  const source = join(import.meta.dir, "nvml_stand_in.c");
  const compiler = Bun.spawn(["cc", "-shared", "-fPIC", `-DSTATE="${state}"`, "-o", library, source], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  if ((await compiler.exited) !== 0) throw new Error(`Cannot compile ${source}`);
  return library;
}

/** Writes what the stand-in answers from now on to the file that it reads. */
export async function writeStandIn(path: string, state: StandInState): Promise<void> {
  await writeFile(`${path}.new`, formatStandIn(state));
  await rename(`${path}.new`, path); // the stand-in reads all or nothing of it
}

/** The content of the file that the stand-in reads. */
export function formatStandIn({ system, gpus, xids = [] }: StandInState): string {
  const defaults = { driver: "580.65.06", cuda: 13_000 };
  const lines = [
    lineOf("system", { ...defaults, ...system }),
    ...gpus.flatMap(({ migDevices, ...gpu }) => [
      ...deviceLines("gpu", { ...gpu, ...(migDevices ? { mig: 1 } : {}) }),
      ...(migDevices ?? []).flatMap((device) => deviceLines("mig", device)),
    ]),
    ...xids.map((xid) => lineOf("xid", xid)),
  ];
  return lines.join("");
}

/** The line of a GPU or a MIG device, and those of its processes. */
function deviceLines(
  kind: string,
  { processes, ...device }: StandInIdentity & { readonly processes?: readonly StandInProcess[] },
): string[] {
  const lines = (processes ?? []).map((process) => lineOf("process", process));
  return [lineOf(kind, { ...device, ...(processes ? { processes: lines.length } : {}) }), ...lines];
}

/** A line of the file. The name is the last field, as it may have spaces. */
function lineOf(kind: string, { name, ...fields }: Readonly<Record<string, unknown>>): string {
  const all = Object.entries({ ...fields, ...(name === undefined ? {} : { name }) });
  return `${kind} ${all.map(([key, value]) => `${key}=${value}`).join(" ")}\n`;
}
