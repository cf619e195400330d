/** A recommended label (kubernetes.io/docs/concepts/overview/working-with-objects/common-labels). */
const LABEL = "app.kubernetes.io/managed-by";

/** Returns the label of objects that a program creates and may change. */
export function managedBy(program: string): Record<string, string> {
  return { [LABEL]: program };
}

/** Returns a label selector for {@link managedBy}. */
export function managedBySelector(program: string): string {
  return `${LABEL}=${program}`;
}

/** Whether an object has the label of {@link managedBy}. */
export function isManagedBy(
  { metadata }: { metadata?: { labels?: Record<string, string> } },
  program: string,
): boolean {
  return metadata?.labels?.[LABEL] === program;
}
