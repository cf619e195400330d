import { getJsonLinesFormatter, type LogRecord } from "@logtape/logtape";

const formatAny = getJsonLinesFormatter({ properties: "flatten" });

/** What the library escapes besides: terminals take it for commands. */
const CONTROL = /[\u007f-\u009f]/;

/**
 * A record as a line of JSON, its properties beside its message: the library's line. Where all properties are plain values it is made
 * here, without the library's look at each of them for errors and cycles, which took three times as long.
 */
export function formatLine(record: LogRecord): string {
  const { timestamp, level, message, category, properties } = record;
  if (message.length > 1 || !arePlain(properties)) return formatAny(record);
  const line = JSON.stringify({
    "@timestamp": timeText(timestamp),
    level: level === "warning" ? "WARN" : level.toUpperCase(),
    message: message[0],
    logger: category.join("."),
    ...properties,
  });
  return CONTROL.test(line) ? formatAny(record) : `${line}\n`;
}

let lastTime = { timestamp: 0, text: "" };

/** Many records have the millisecond of the one before. */
function timeText(timestamp: number): string {
  if (timestamp !== lastTime.timestamp) lastTime = { timestamp, text: new Date(timestamp).toISOString() };
  return lastTime.text;
}

function arePlain(properties: Record<string, unknown>): boolean {
  for (const key in properties) {
    const value = properties[key];
    if (typeof value === "bigint" || (typeof value === "object" && value !== null)) return false;
  }
  return true;
}
