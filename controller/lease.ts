/** Name of the Lease that the leader holds. */
export const LEASE = "bitfusion-controller";

const UNINSTALLER = "uninstall_";

/** An identity for a holder of the Lease that uninstalls: while it holds the Lease, no replica leads. */
export function uninstallerIdentity(): string {
  return UNINSTALLER + crypto.randomUUID().slice(0, 8);
}

/** Whether this holder of the Lease uninstalls. */
export function isUninstaller(identity: string): boolean {
  return identity.startsWith(UNINSTALLER);
}

/** The command by which an administrator lets a replica lead again. */
export function undoCommand(namespace: string): string {
  return `kubectl delete lease -n ${namespace} ${LEASE}`;
}
