import { benchPlugin } from "./plugin.ts";
import { benchWebhook } from "./webhook.ts";

const BENCHES: Record<string, () => Promise<Record<string, string>[]>> = { plugin: benchPlugin, webhook: benchWebhook };

const [name, ...rest] = process.argv.slice(2);
const chosen = name === undefined ? Object.keys(BENCHES) : [name];
if (rest.length > 0 || chosen.some((each) => !(each in BENCHES))) {
  console.error(
    `bench: Unknown "${process.argv.slice(2).join(" ")}": expected nothing, or one of ${Object.keys(BENCHES).join(", ")}`,
  );
  process.exit(2);
}
for (const each of chosen) console.table(await BENCHES[each]?.());
