import { readFile } from "node:fs/promises";
import { Command, Option } from "commander";
import type { KubernetesRequest } from "../../../kubernetes/request.ts";
import type { GpuRequest } from "../../../pool/requests/gpu_request.ts";
import { messageOf } from "../../../program/log/log.ts";
import { escapeControls } from "../../../program/text/quote.ts";
import type { KubectlContext } from "../context.ts";
import { readUnitQuotas } from "../explain/quota.ts";
import { addConnectionOptions, type ConnectionFlags, open } from "../options.ts";
import { symbolOf } from "../output/symbol.ts";
import type { Terminal } from "../output/terminal.ts";
import { formatDocument, readView, warningsOf } from "../show.ts";
import { SilentExit, UserError } from "../user_error.ts";
import { findRoom, requestsOf, supplyOf } from "./room.ts";
import { submitObject, submitPod } from "./submit.ts";
import { type ManifestFile, readManifests } from "./templates.ts";
import { type Checked, judge, statusOf, type Verdict } from "./verdict.ts";

interface FitsFlags extends ConnectionFlags {
  readonly filename: string;
  readonly output?: "json" | "yaml";
}

/** `kubectl bitfusion fits`: whether manifests would be admitted, and find room now. */
export function fitsCommand(context: KubectlContext): Command {
  const command = new Command("fits")
    .description("tell whether manifests would be admitted, and whether their pods would find room in the pool now")
    .requiredOption("-f, --filename <file>", "manifests in YAML or JSON; - reads standard input")
    .addOption(new Option("-o, --output <format>", "format of the output").choices(["json", "yaml"]))
    .addHelpText(
      "after",
      `
Nothing is created: the API server checks each object, and a pod of its template, in a dry run with all webhooks and policies. The pods of
all objects are placed one after the other. Pods that wait already, and node selectors, are not considered.
Exits with 0 if all is admitted and finds room, with 2 if pods would wait, with 3 if something is refused, and with 1 if that cannot be told.`,
    );
  return addConnectionOptions(command).action(async ({ filename, output, ...flags }: FitsFlags) => {
    const { terminal, signal } = context;
    const { request, namespace } = open(flags);
    const file = readManifests(await readInput(filename, context), namespace);
    const { view, state } = await readView({ request, insteadOfAll: namespace }, signal);
    const checked = await check(file, supplyOf(view), { request, signal });
    const isComplete = !state.unread.some(({ kind }) => kind === "slices" || kind === "claims");
    const verdicts = checked.map((each) => judge(each, isComplete));
    const waiting = view.queue.length;
    if (output) {
      const document = { kind: "Fits", verdicts, ignored: file.others, waitingPods: waiting, unread: state.unread };
      terminal.write(formatDocument(document, output));
    } else {
      terminal.write(formatVerdicts(verdicts, terminal));
      if (file.others.length > 0) terminal.warn(`Not looked at: ${escapeControls(file.others.join(", "))}`);
      if (waiting > 0)
        terminal.warn(
          `${waiting} ${waiting === 1 ? "pod waits" : "pods wait"} for the pool already, and may come first`,
        );
      for (const warning of warningsOf(view, state.unread)) terminal.warn(terminal.colors.yellow(warning));
    }
    const status = statusOf(verdicts);
    if (status !== 0) throw new SilentExit(status);
  });
}

async function readInput(filename: string, { readInput }: KubectlContext): Promise<string> {
  if (filename === "-") return readInput();
  return readFile(filename, "utf8").catch((error) => {
    throw new UserError(`Cannot read -f ${filename}: ${messageOf(error)}`);
  });
}

/** Lets the API server check each manifest, and looks for room for its pods beside those of the manifests before it. */
async function check(
  { workloads }: ManifestFile,
  supply: ReturnType<typeof supplyOf>,
  options: { request: KubernetesRequest; signal: AbortSignal },
): Promise<Checked[]> {
  const checked: Checked[] = [];
  const others: GpuRequest[] = [];
  for (const workload of workloads) {
    const { name, template } = workload;
    const object = await submitObject(workload, options);
    const namespace = template?.namespace ?? "";
    const pod = object.isAdmitted && template ? await submitPod(template, options) : undefined;
    const requests = requestsOf(pod?.claims ?? []);
    const count = template?.count;
    const room = requests.length > 0 ? findRoom(requests, count ?? 1, { supply, others }) : undefined;
    for (let index = 0; index < (room?.fitting ?? 0); index++) others.push(...requests);
    const quotas = pod?.isAdmitted ? await readUnitQuotas(namespace, options) : undefined;
    checked.push({ name, namespace, count, object, pod, room, quotas });
  }
  return checked;
}

/** What the symbol of an outcome says of the manifest. */
const STATES = { fits: "ok", none: "later", unknown: "unknown", waits: "waiting", refused: "failed" } as const;

/** A line for each manifest, and below it what its pods ask for and why. */
function formatVerdicts(verdicts: readonly Verdict[], terminal: Terminal): string {
  const lines = verdicts.flatMap(({ name, namespace, outcome, reasons, warnings, pods, requests }) => {
    const count = pods === undefined ? "a pod on each node" : `${pods} ${pods === 1 ? "pod" : "pods"}`;
    const title = `${name} in the namespace ${namespace}: ${outcome === "none" ? "asks for no GPU" : outcome} (${count})`;
    const details = [
      ...(requests.length > 0 ? [`Each pod asks for ${requests.join(", ")}`] : []),
      ...reasons,
      ...warnings.map((warning) => `Warning: ${warning}`),
    ];
    return [
      `${symbolOf(STATES[outcome], terminal)} ${escapeControls(title)}`,
      ...details.map((detail) => `  ${escapeControls(detail)}`),
    ];
  });
  return `${lines.join("\n")}\n`;
}
