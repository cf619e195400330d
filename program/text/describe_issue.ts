import * as v from "valibot";
import { escapeControls, shorten } from "./quote.ts";

/**
 * Describes an issue by field, value and expectation: `servers.0.addresses is "x": expected a list`. A field or value of absurd
 * length is shortened, and control characters are escaped.
 */
export function describeIssue(issue: v.BaseIssue<unknown>): string {
  const field = shorten(escapeControls(v.getDotPath(issue) ?? "the document"));
  if (issue.expected === "never") {
    const isExplained = issue.message.startsWith("expected no such field");
    return isExplained ? `${field}: ${issue.message}` : `${field} is not a known field`;
  }
  const expectation = issue.message.startsWith("expected") ? issue.message : `expected ${issue.expected}`;
  if (issue.received === "undefined") {
    return issue.message.startsWith("Invalid key") ? `${field} is not set` : `${field} is not set: ${expectation}`;
  }
  const value =
    typeof issue.input === "object" && issue.input !== null
      ? ""
      : ` is ${shorten(escapeControls(JSON.stringify(issue.input)))}`;
  return `${field}${value}: ${expectation}`;
}

/** Describes an issue of text with secrets: names the field and what is expected, but no value. */
export function describeSecretIssue(issue: v.BaseIssue<unknown>): string {
  const field = v.getDotPath(issue as v.BaseIssue<unknown>) ?? "the document";
  return `${field}: expected ${issue.expected ?? "JSON"}`;
}
