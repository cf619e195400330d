/** What the command and environment of a data plane may contain in braces, with its value for one lease. */
export interface PlaceholderValues {
  /** TCP port that the process must listen on. */
  readonly port: number;
  /** The ids of the lease's GPUs. */
  readonly gpuUuids: readonly string[];
  /** Their numbers on this machine, in the same order. */
  readonly gpuIndexes: readonly number[];
  /** The share of each GPU. If it differs between them, the least. */
  readonly percent: number;
  /** The same in MB. */
  readonly memoryMb: number;
  /** The path of the lease's own folder. */
  readonly leaseFolder: string;
}

export const PLACEHOLDERS: readonly (keyof PlaceholderValues)[] = [
  "port",
  "gpuUuids",
  "gpuIndexes",
  "percent",
  "memoryMb",
  "leaseFolder",
];

const PLACEHOLDER = /\{([A-Za-z]\w*)\}/g;

/** The first placeholder in a text that does not exist. */
export function findUnknownPlaceholder(text: string): string | undefined {
  return text.matchAll(PLACEHOLDER).find(([, name]) => !isPlaceholder(name))?.[1];
}

/** Replaces each placeholder by its value. Lists are joined by commas. */
export function fillIn(text: string, values: PlaceholderValues): string {
  return text.replace(PLACEHOLDER, (placeholder, name) => (isPlaceholder(name) ? String(values[name]) : placeholder));
}

function isPlaceholder(name: string | undefined): name is keyof PlaceholderValues {
  return (PLACEHOLDERS as readonly unknown[]).includes(name);
}
