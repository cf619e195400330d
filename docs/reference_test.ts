import { expect, test } from "bun:test";
import { basename } from "node:path";
import * as v from "valibot";
import { SETTINGS as CONTROLLER } from "../controller/settings.ts";
import { SETTINGS as PLUGIN } from "../plugin/settings.ts";
import { SETTINGS as SERVER } from "../server/settings.ts";
import { SETTINGS as WEBHOOK } from "../webhook/settings.ts";
import { references } from "./reference.ts";

test.each(Object.entries(await references()).map(([path, content]) => [basename(path), path, content] as const))(
  "docs/%s lists what the programs define: otherwise run `bun run generate`",
  async (_, path, content) => {
    expect(await Bun.file(path).text()).toBe(content);
  },
);

test.each(Object.entries({ ...CONTROLLER, ...PLUGIN, ...SERVER, ...WEBHOOK }))("%s has a description", (_, schema) => {
  expect(v.getDescription(schema as v.GenericSchema)).toMatch(/^[`A-Z].*[^.]$/);
});
