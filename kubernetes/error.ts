/** An error status that the API server, or a proxy in front of it, answered. */
export class KubernetesError extends Error {
  override name = "KubernetesError";
  /** HTTP status code. */
  readonly code: number;
  /** Name of the object in the Status. Undefined if the Status names none, or if a proxy answered. */
  readonly object: string | undefined;
  /** Reasons of the causes in the Status, such as NamespaceTerminating. */
  readonly causes: readonly string[];

  constructor(code: number, message: string, object?: string, causes: readonly string[] = []) {
    super(message);
    this.code = code;
    this.object = object;
    this.causes = causes;
  }
}

/** Whether the API server answered with this HTTP status code. */
export function isStatus(error: unknown, code: 404 | 409 | 410): boolean {
  return error instanceof KubernetesError && error.code === code;
}

/**
 * Whether the API server says that an object does not exist. False for an unknown resource type, and for a proxy's 404.
 */
export function isObjectNotFound(error: unknown): boolean {
  return isStatus(error, 404) && (error as KubernetesError).object !== undefined;
}

/** Waits for a call, and ignores this HTTP status code. */
export async function ignoreStatus(code: 404 | 409, call: Promise<unknown>): Promise<void> {
  await call.catch((error) => {
    if (!isStatus(error, code)) throw error;
  });
}

/**
 * The error of a response that is not successful.
 *
 * @param call such as `GET /api/v1/pods`
 * @param body a Status (k8s.io/apimachinery/pkg/apis/meta/v1), or whatever a proxy sent
 */
export function toKubernetesError(call: string, code: number, body: string): KubernetesError {
  const { message = body.slice(0, 200), details } = parseStatus(body);
  const causes = details?.causes?.flatMap(({ reason }) => reason ?? []) ?? [];
  return new KubernetesError(code, `${call} answered ${code}: ${message}`, details?.name, causes);
}

interface Status {
  message?: string;
  details?: { name?: string; causes?: readonly { reason?: string }[] };
}

function parseStatus(body: string): Status {
  try {
    return (JSON.parse(body) as Status | null) ?? {};
  } catch {
    return {}; // the HTML page of a proxy, for example
  }
}
