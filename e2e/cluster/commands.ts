/** The exact commands of README that the cluster tests run; readme_test.ts compares the two. */

export const INSTALL = "kubectl apply -k kind/";

export const CREATE_SECRET = "kubectl create secret generic bitfusion-secret --from-file=kind/tokens -n kube-system";

export const ROLLOUT = [
  "kubectl rollout status -n bitfusion-system daemonset/bitfusion-device-plugin --timeout=120s",
  "kubectl rollout status -n bitfusion-system deployment/bitfusion-webhook --timeout=120s",
  "kubectl rollout status -n bitfusion-system deployment/bitfusion-controller --timeout=120s",
];
