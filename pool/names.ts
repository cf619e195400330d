import { isDnsSubdomain } from "../kubernetes/formats/dns.ts";

/** Whether a text can be the name of an object in Kubernetes: a DNS subdomain. */
export function isObjectName(text: string): boolean {
  return isDnsSubdomain(text);
}

/** Whether a text is a DNS label (RFC 1123), as the names of containers are. */
export function isContainerName(text: string): boolean {
  return /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(text);
}
