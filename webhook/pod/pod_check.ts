import { type Check, isListOf, isObject, isOptional, isOptionalText, isRecordOf, isText } from "./check.ts";
import type { Pod } from "./pod.ts";

/**
 * Whether a value is a {@link Pod}, by the rules of its schema but without the copy that the schema makes: 1 µs instead of 22 for a pod of
 * 20 KB. The schema has the last word on what is none here, and says what is wrong with it.
 */
export function isPod(value: unknown): value is Pod {
  if (!isObject(value)) return false;
  const { metadata, spec } = value;
  return (
    isObject(metadata) &&
    isOptionalText(metadata.name) &&
    isOptionalText(metadata.generateName) &&
    isOptional(metadata.annotations, isTextByKey) &&
    isObject(spec) &&
    isListOf(spec.containers, isContainer) &&
    isOptional(spec.initContainers, isContainers) &&
    isOptional(spec.volumes, isNamedList) &&
    isOptional(spec.resourceClaims, isPodClaims) &&
    isOptional(spec.resources, isResources) &&
    isOptional(spec.os, isNamed)
  );
}

const isContainers: Check = (value) => isListOf(value, isContainer);
const isVariables: Check = (value) => isListOf(value, isVariable);
const isMounts: Check = (value) => isListOf(value, isMount);
const isPodClaims: Check = (value) => isListOf(value, isPodClaim);
const isNamedList: Check = (value) => isListOf(value, isNamed);
const isTexts: Check = (value) => isListOf(value, isText);
const isTextByKey: Check = (value) => isRecordOf(value, isText);
const isQuantityByKey: Check = (value) => isRecordOf(value, isQuantity);

function isContainer(value: unknown): boolean {
  return (
    isObject(value) &&
    isText(value.name) &&
    isOptionalText(value.restartPolicy) &&
    isOptional(value.command, isTexts) &&
    isOptional(value.args, isTexts) &&
    isOptional(value.env, isVariables) &&
    isOptional(value.resources, isResources) &&
    isOptional(value.volumeMounts, isMounts)
  );
}

function isResources(value: unknown): boolean {
  return (
    isObject(value) &&
    isOptional(value.limits, isQuantityByKey) &&
    isOptional(value.requests, isQuantityByKey) &&
    isOptional(value.claims, isNamedList)
  );
}

function isVariable(value: unknown): boolean {
  return isObject(value) && isText(value.name) && isOptionalText(value.value);
}

function isMount(value: unknown): boolean {
  return isObject(value) && isText(value.name) && isText(value.mountPath);
}

function isPodClaim(value: unknown): boolean {
  return isObject(value) && isText(value.name) && isOptionalText(value.resourceClaimTemplateName);
}

function isNamed(value: unknown): boolean {
  return isObject(value) && isText(value.name);
}

function isQuantity(value: unknown): boolean {
  return typeof value === "string" || typeof value === "number";
}
