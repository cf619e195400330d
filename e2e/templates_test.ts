import { expect, test } from "bun:test";
import { readCatalogue } from "../webhook/clients/catalogue.ts";
import type { InjectionSettings } from "../webhook/injection/injection.ts";
import { containersOf, type Pod } from "../webhook/pod/pod.ts";
import { MODE, mutated, requestOf } from "../webhook/testing.ts";
import { validate } from "../webhook/validation/validate.ts";
import { readTemplates } from "./templates/templates.ts";

const templates = await readTemplates();
const settings: InjectionSettings = {
  catalogue: await readCatalogue("webhook/deploy/clients.yaml"),
  allocation: "claims",
};

/** A pod as the API server sends it to the webhook from a labelled namespace. */
function annotated({ metadata, spec }: Pod): Pod {
  return { metadata: { ...metadata, annotations: { ...metadata.annotations, [MODE]: "yes" } }, spec };
}

/** How often a resource is requested, by container. */
function requestsOf(pod: Pod, resource: string, factor = 1): Record<string, number> {
  const quantities = containersOf(pod).map(({ name, resources }) => [name, resources?.limits?.[resource]] as const);
  return Object.fromEntries(
    quantities.flatMap(([name, value]) => (value === undefined ? [] : [[name, Number(value) * factor]])),
  );
}

test("there are 20 templates", () => {
  expect(templates).toHaveLength(20);
});

test.each(templates)("the template $name is admitted, with units for its GPUs alone", ({ pod }) => {
  const after = mutated(annotated(pod), settings);
  expect(requestsOf(after, "bitfusion.io/gpu")).toEqual(requestsOf(pod, "nvidia.com/gpu", 100));
  expect(requestsOf(after, "nvidia.com/gpu")).toEqual({});
  expect(validate(requestOf(after), settings)).toMatchObject({ result: "allowed", reason: "valid" });
});
