import { parseArgs } from "node:util";
import { toMarkdown } from "./common/table.ts";
import { benchController } from "./controller/controller.ts";
import { benchPlanning } from "./controller/planning.ts";
import { benchPreempting } from "./controller/preempting.ts";
import { benchGate } from "./gate/gate.ts";
import { benchPacking } from "./packing/packing.ts";
import { benchPlugin } from "./plugin/plugin.ts";
import { benchScale } from "./scale/scale.ts";
import { benchSharing } from "./sharing/sharing.ts";
import { benchMemory } from "./webhook/memory.ts";
import { benchWebhook } from "./webhook/webhook.ts";

type Table = Record<string, string>[];
type Bench = (options: { reviews: number }) => Promise<Table[]>;

const BENCHES: Record<string, Bench> = {
  controller: async () => [benchPlanning(), benchPreempting(), await benchController()],
  gate: benchGate,
  packing: benchPacking,
  plugin: benchPlugin,
  scale: benchScale,
  sharing: benchSharing,
  webhook: async (options) => [await benchWebhook(), await benchMemory(options)],
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { markdown: { type: "boolean" }, reviews: { type: "string", default: "100000" } },
});
const [name, ...rest] = positionals;
const chosen = name === undefined ? Object.keys(BENCHES) : [name];
const reviews = Number(values.reviews);
if (rest.length > 0 || chosen.some((each) => !Object.hasOwn(BENCHES, each))) {
  fail(`Unknown "${positionals.join(" ")}": expected nothing, or one of ${Object.keys(BENCHES).join(", ")}`);
}
if (!Number.isSafeInteger(reviews) || reviews <= 10_000) {
  fail(`Cannot use --reviews=${values.reviews}: expected a whole number of more than 10000`);
}
for (const bench of chosen) {
  for (const rows of (await BENCHES[bench]?.({ reviews })) ?? []) {
    if (values.markdown) console.log(toMarkdown(rows));
    else console.table(rows);
  }
}

function fail(message: string): never {
  console.error(`bench: ${message}`);
  process.exit(2);
}
