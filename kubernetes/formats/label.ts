import { isDnsSubdomain } from "./dns.ts";

/** The value of a label (IsValidLabelValue, k8s.io/apimachinery/pkg/util/validation). */
export const LABEL_VALUE = /^([A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?)?$/;

/** The name of a label, after the slash if it has a prefix (IsQualifiedName, k8s.io/apimachinery/pkg/util/validation). */
const LABEL_NAME = /^[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?$/;

/** Whether a text is the key of a label, such as topology.kubernetes.io/zone. */
export function isLabelKey(text: string): boolean {
  const [name = "", prefix, ...rest] = text.split("/").reverse();
  const isValidPrefix = prefix === undefined || isDnsSubdomain(prefix);
  return rest.length === 0 && LABEL_NAME.test(name) && isValidPrefix;
}
