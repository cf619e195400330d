import { parseInteger } from "../../../kubernetes/objects/quantity.ts";
import type { ApiObject } from "../../../kubernetes/watch.ts";
import { RESOURCE_NAME } from "../../../pool/driver.ts";

/** The fields of a ResourceQuota (k8s.io/api/core/v1) that count units. */
export interface ResourceQuota extends ApiObject {
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
export function unitQuotas(quotas: readonly ResourceQuota[]): UnitQuota[] {
  return quotas.flatMap(({ metadata: { name }, spec, status }) => {
    const hard = parseInteger(status?.hard?.[UNITS] ?? spec?.hard?.[UNITS] ?? "");
    return hard === undefined ? [] : [{ name, hard, used: parseInteger(status?.used?.[UNITS] ?? "0") ?? 0 }];
  });
}
