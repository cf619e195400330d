import * as v from "valibot";
import { parseAllDocuments } from "yaml";
import { describeIssue } from "../../../program/text/describe_issue.ts";
import { UserError } from "../user_error.ts";

/** What a manifest says of an object. Unknown fields are kept: the API server checks them. */
const Manifest = v.looseObject({
  apiVersion: v.string("expected the version of an API"),
  kind: v.string("expected a kind"),
  metadata: v.optional(
    v.looseObject({
      name: v.optional(v.string("expected a name")),
      namespace: v.optional(v.string("expected a namespace")),
    }),
    {},
  ),
});

export type Manifest = v.InferOutput<typeof Manifest>;

/** Pods that a manifest makes. */
export interface PodTemplate {
  /** Such as job/train. */
  readonly name: string;
  readonly namespace: string;
  /** How many pods run at the same time. Undefined: one on each node, which cannot be known here. */
  readonly count: number | undefined;
  /** A Pod as the API server gets it. Its name is generated, so that a pod of the same name does not matter. */
  readonly pod: object;
}

/** A manifest, and where the API server creates it. */
export interface Submission {
  /** Such as job/train. */
  readonly name: string;
  readonly manifest: Manifest;
  /** Path of the object for an apply. */
  readonly path: string;
}

interface Workload {
  readonly manifest: Manifest;
  readonly namespace: string;
}

interface WorkloadKind {
  /** Path of the collection in a namespace, in front of the name. */
  readonly path: (namespace: string) => string;
  /** Undefined for a Pod. */
  readonly template?: (spec: Json) => Json | undefined;
  readonly count: (spec: Json) => number | undefined;
}

type Json = Readonly<Record<string, unknown>>;

const collection = (group: string, plural: string) => (namespace: string) =>
  `${group}/namespaces/${encodeURIComponent(namespace)}/${plural}`;
const replicas = ({ replicas = 1 }: Json) => Number(replicas);
const template = ({ template }: Json) => template as Json | undefined;

/** Of a Job, the pods that run at the same time at first. */
function parallelism({ parallelism = 1, completions = Number.POSITIVE_INFINITY, suspend }: Json): number {
  return suspend === true ? 0 : Math.min(Number(parallelism), Number(completions));
}

/** The kinds that make pods, by `apiVersion/kind`. */
const KINDS: Readonly<Record<string, WorkloadKind>> = {
  "v1/Pod": { path: collection("/api/v1", "pods"), count: () => 1 },
  "v1/ReplicationController": { path: collection("/api/v1", "replicationcontrollers"), template, count: replicas },
  "apps/v1/Deployment": { path: collection("/apis/apps/v1", "deployments"), template, count: replicas },
  "apps/v1/ReplicaSet": { path: collection("/apis/apps/v1", "replicasets"), template, count: replicas },
  "apps/v1/StatefulSet": { path: collection("/apis/apps/v1", "statefulsets"), template, count: replicas },
  "apps/v1/DaemonSet": { path: collection("/apis/apps/v1", "daemonsets"), template, count: () => undefined },
  "batch/v1/Job": { path: collection("/apis/batch/v1", "jobs"), template, count: parallelism },
  "batch/v1/CronJob": {
    path: collection("/apis/batch/v1", "cronjobs"),
    template: ({ jobTemplate }) => template(specOf(jobTemplate)),
    count: ({ jobTemplate }) => parallelism(specOf(jobTemplate)),
  },
};

/** What a file has: manifests that make pods, and the names of others. */
export interface ManifestFile {
  readonly workloads: readonly (Submission & { readonly template: PodTemplate | undefined })[];
  readonly others: readonly string[];
}

/**
 * Reads YAML or JSON with one or several objects, or a List.
 *
 * @param namespace of objects that name none
 * @throws {UserError} names the object, the field and what is expected.
 */
export function readManifests(text: string, namespace: string): ManifestFile {
  const manifests = parseAllDocuments(text).flatMap((document, index) => {
    const [error] = document.errors;
    if (error) throw new UserError(`Cannot read object ${index + 1} of the file: ${error.message.split("\n")[0]}`);
    return flatten(document.toJS(), index);
  });
  if (manifests.length === 0) throw new UserError("The file has no objects: expected manifests in YAML or JSON");
  const others: string[] = [];
  const workloads = manifests.flatMap((manifest) => {
    const kind = KINDS[`${manifest.apiVersion}/${manifest.kind}`];
    const name = `${manifest.kind.toLowerCase()}/${manifest.metadata.name ?? ""}`;
    if (kind) return [readWorkload(name, kind, { manifest, namespace: manifest.metadata.namespace ?? namespace })];
    others.push(name);
    return [];
  });
  return { workloads, others };
}

function flatten(value: unknown, index: number): Manifest[] {
  if (value === null || value === undefined) return []; // an empty document
  const { success, output, issues } = v.safeParse(Manifest, value);
  if (!success) throw new UserError(`Cannot use object ${index + 1} of the file: ${describeIssue(issues[0])}`);
  if (output.kind !== "List") return [output];
  const { items } = output;
  return Array.isArray(items) ? items.flatMap((item) => flatten(item, index)) : [];
}

function readWorkload(name: string, { path, template, count }: WorkloadKind, { manifest, namespace }: Workload) {
  const { metadata } = manifest;
  if (!metadata.name) throw new UserError(`Cannot use ${name}: expected metadata.name`);
  const spec = specOf(manifest);
  const pod: Json | undefined = template ? template(spec) : manifest;
  const { name: _, ...rest } = (pod?.metadata ?? {}) as Record<string, unknown>;
  return {
    name,
    manifest: { ...manifest, metadata: { ...metadata, namespace } },
    path: `${path(namespace)}/${encodeURIComponent(metadata.name)}`,
    template: pod && {
      name,
      namespace,
      count: count(spec),
      pod: {
        apiVersion: "v1",
        kind: "Pod",
        metadata: { ...rest, namespace, generateName: `${metadata.name}-` },
        spec: pod.spec,
      },
    },
  };
}

function specOf(value: unknown): Json {
  const { spec } = (value ?? {}) as { spec?: unknown };
  return (typeof spec === "object" && spec !== null ? spec : {}) as Json;
}
