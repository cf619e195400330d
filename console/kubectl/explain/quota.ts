import { parseInteger } from "../../../kubernetes/formats/quantity.ts";
import type { KubernetesRequest } from "../../../kubernetes/request.ts";
import { type ApiObject, listObjects } from "../../../kubernetes/watch.ts";
import { RESOURCE_NAME } from "../../../pool/driver.ts";
import { inNamespace } from "../../source/resources.ts";

/** The fields of a ResourceQuota (k8s.io/api/core/v1) that count units. */
interface ResourceQuota extends ApiObject {
  readonly spec?: { readonly hard?: Readonly<Record<string, string>> };
  readonly status?: {
    readonly hard?: Readonly<Record<string, string>>;
    readonly used?: Readonly<Record<string, string>>;
  };
}

const UNITS = `requests.${RESOURCE_NAME}`;

/** The units that a quota allows, and those that count already. */
export interface UnitQuota {
  readonly name: string;
  readonly hard: number;
  readonly used: number;
}

/** The quotas that count units. */
function unitQuotas(quotas: readonly ResourceQuota[]): UnitQuota[] {
  return quotas.flatMap(({ metadata: { name }, spec, status }) => {
    const hard = parseInteger(status?.hard?.[UNITS] ?? spec?.hard?.[UNITS] ?? "");
    return hard === undefined ? [] : [{ name, hard, used: parseInteger(status?.used?.[UNITS] ?? "0") ?? 0 }];
  });
}

/** Reads the quotas of a namespace that count units. Undefined if the user may not. */
export async function readUnitQuotas(
  namespace: string,
  { request, signal }: { request: KubernetesRequest; signal: AbortSignal },
): Promise<UnitQuota[] | undefined> {
  const path = inNamespace("/api/v1/resourcequotas", namespace);
  try {
    const { objects } = await listObjects<ResourceQuota, ResourceQuota>(
      { request, path, transform: (quota) => quota },
      signal,
    );
    return unitQuotas([...objects.values()]);
  } catch (error) {
    if (signal.aborted) throw error;
    return undefined;
  }
}
