/** The security context of the injected containers. It meets the restricted Pod Security Standard. */
export const RESTRICTED = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ["ALL"] },
  readOnlyRootFilesystem: true,
  runAsNonRoot: true,
  runAsUser: 65532, // else the pod's runAsUser would apply
  runAsGroup: 65532,
  seccompProfile: { type: "RuntimeDefault" },
} as const;
