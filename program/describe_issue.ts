import * as v from "valibot";

/** Longest value in a description, in characters. */
const MAX_VALUE_LENGTH = 200;

/**
 * Describes an issue by field, value and expectation: `servers.0.addresses is "x": expected a list`. A value of absurd
 * length is shortened.
 */
export function describeIssue(issue: v.BaseIssue<unknown>): string {
  const field = v.getDotPath(issue) ?? "the document";
  if (issue.expected === "never") return `${field} is not a known field`;
  const expectation = issue.message.startsWith("expected") ? issue.message : `expected ${issue.expected}`;
  if (issue.received === "undefined") {
    return issue.message.startsWith("Invalid key") ? `${field} is not set` : `${field} is not set: ${expectation}`;
  }
  const value =
    typeof issue.input === "object" && issue.input !== null ? "" : ` is ${shorten(JSON.stringify(issue.input))}`;
  return `${field}${value}: ${expectation}`;
}

/** Cuts a text that is too long for a message. */
export function shorten(text: string): string {
  return text.length <= MAX_VALUE_LENGTH ? text : `${text.slice(0, MAX_VALUE_LENGTH)}… (${text.length} characters)`;
}
