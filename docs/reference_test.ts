import { expect, test } from "bun:test";
import { basename, join } from "node:path";
import * as v from "valibot";
import { parse, stringify } from "yaml";
import { SETTINGS as PAGE } from "../console/page/settings.ts";
import { SETTINGS as CONTROLLER } from "../controller/settings.ts";
import { SETTINGS as PLUGIN } from "../plugin/settings.ts";
import { Configuration, parseConfiguration } from "../server/configuration/configuration.ts";
import { SETTINGS as SERVER } from "../server/settings.ts";
import { parseCatalogue } from "../webhook/clients/catalogue.ts";
import { SETTINGS as WEBHOOK } from "../webhook/settings.ts";
import { fieldsOf, references } from "./reference.ts";

test.each(Object.entries(await references()).map(([path, content]) => [basename(path), path, content] as const))(
  "docs/%s lists what the programs define: otherwise run `bun run generate`",
  async (_, path, content) => {
    expect(await Bun.file(path).text()).toBe(content);
  },
);

test.each(Object.entries({ ...CONTROLLER, ...PAGE, ...PLUGIN, ...SERVER, ...WEBHOOK }))(
  "%s has a description",
  (_, schema) => {
    expect(v.getDescription(schema as v.GenericSchema)).toMatch(/^[`A-Z].*[^.]$/);
  },
);

test.each(fieldsOf(Configuration))(
  "the field $name of a pool server's configuration has a description",
  ({ schema }) => {
    expect(v.getDescription(schema)).toMatch(/^[`A-Z].*[^.]$/);
  },
);

test("the configuration in the guide for GPU machines is valid", async () => {
  const guide = await Bun.file(join(import.meta.dir, "gpu-server.md")).text();
  const [, example = ""] = /^```yaml\n(name:.*?)^```/ms.exec(guide) ?? [];
  expect(parseConfiguration(example, "the example")).toMatchObject({
    gpus: { nvidia: {} },
    dataPlane: { name: "lupine", command: ["/opt/lupine/bin/lupine_driver_server"] },
  });
});

test("the client catalogue in the guide for GPU machines is valid, and fits its server", async () => {
  const guide = await Bun.file(join(import.meta.dir, "gpu-server.md")).text();
  const [, example = ""] = /^```yaml\n(default:.*?)^```/ms.exec(guide) ?? [];
  const { default: name, clients } = parseCatalogue(example, "the example");
  const [, build] = /^ {4}build: (.*)$/m.exec(guide) ?? [];
  expect(clients).toMatchObject([{ name, dataPlane: { name: "lupine", build }, sidecar: {} }]);
});

test("the examples of a pool server's configuration are valid, and the first shows each field but some alternatives", async () => {
  const pages = ["pool-servers.md", "data-plane.md"].map((page) => Bun.file(join(import.meta.dir, page)).text());
  const guide = (await Promise.all(pages)).join("\n");
  const [, example = ""] = /^```yaml\n(name:.*?)^```/ms.exec(guide) ?? [];
  expect(parseConfiguration(example, "the example").listen.port).toBe(56_001);
  const shown = parse(example);
  const isShown = (name: string) =>
    name.split(/(?:\[\])?\./).reduce((value, key) => [value].flat()[0]?.[key], shown) !== undefined;
  const hidden = fieldsOf(Configuration).filter(({ name }) => !isShown(name));
  expect(hidden.map(({ name }) => name)).toEqual([
    "gpus.nvidia.library",
    "dataPlane.custom.name",
    "dataPlane.custom.build",
    "dataPlane.custom.environment",
    "dataPlane.custom.command",
    "tls.cert",
    "tls.key",
  ]);
  const others = [...guide.matchAll(/^```yaml\n((?:gpus|tls|dataPlane):.*?)^```/gms)].map(([, text = ""]) =>
    parse(text),
  );
  expect(others).toHaveLength(3);
  for (const parts of others) parseConfiguration(stringify({ ...shown, ...parts }), "an example");
});
