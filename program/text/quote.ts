/** Longest value in a message, in characters. */
const MAX_VALUE_LENGTH = 200;

/** Cuts a text that is too long for a message, and says how long it was. */
export function shorten(text: string, max = MAX_VALUE_LENGTH): string {
  return text.length <= max ? text : `${text.slice(0, max)}… (${text.length} characters)`;
}

/** Replaces control characters, which terminals interpret, by their escapes in JSON: `\u001b`. */
export function escapeControls(text: string): string {
  return text.replace(/\p{Cc}/gu, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** A value of a user or a peer in double quotes, for a message: at most 200 characters, with the escapes of JSON. */
export function quote(value: string | number): string {
  return shorten(escapeControls(JSON.stringify(String(value))));
}
