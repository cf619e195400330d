/** A JSON object of unknown content, such as a volume of a pod. */
export type JsonObject = Readonly<Record<string, unknown>>;
