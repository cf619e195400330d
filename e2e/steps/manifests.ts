import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parse, parseAllDocuments } from "yaml";
import { exec } from "./exec.ts";

/** An object of the manifests. */
export interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; labels?: Readonly<Record<string, string>> };
  // biome-ignore lint/suspicious/noExplicitAny: its shape depends on the kind
  [field: string]: any;
}

interface Kustomization {
  namespace?: string;
  resources?: readonly string[];
}

/** Kinds without a namespace that the manifests contain. */
const CLUSTER_SCOPED = /^(Namespace|ClusterRole.*|DeviceClass|Validating.*|Mutating.*)$/;

/** Reads all objects that `kubectl apply -k` creates from a folder without patches, apart from the generated ConfigMaps. */
export async function readManifests(folder: string): Promise<Manifest[]> {
  const { namespace, resources = [] } = parse(
    await readFile(join(folder, "kustomization.yaml"), "utf8"),
  ) as Kustomization;
  const objects = await Promise.all(
    resources.map((path) =>
      path.endsWith(".yaml") ? readObjects(join(folder, path)) : readManifests(join(folder, path)),
    ),
  );
  return objects
    .flat()
    .map((object) =>
      namespace === undefined || CLUSTER_SCOPED.test(object.kind)
        ? object
        : { ...object, metadata: { ...object.metadata, namespace } },
    );
}

/** Reads all objects that `kubectl apply -k` creates from a folder, also with components and patches. Needs kubectl. */
export async function renderManifests(folder: string): Promise<Manifest[]> {
  return parseObjects(await exec(["kubectl", "kustomize", folder]));
}

async function readObjects(file: string): Promise<Manifest[]> {
  return parseObjects(await readFile(file, "utf8"));
}

function parseObjects(text: string): Manifest[] {
  return parseAllDocuments(text).map((document) => document.toJS() as Manifest);
}
