/** The exact commands of README and docs/install.md that the cluster tests run; readme_test.ts compares them. */

export const INSTALL = "kubectl apply -k kind/";

/** Creates the token of the pool and its CA. For a shell. */
export const CREATE_TOKEN =
  'docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/kind:/kind" bitfusion-server:0.1.0 token /kind/tokens --ca /kind/ca --client kind --server bitfusion-pool-a:56001 --server bitfusion-pool-b:56001';

export const CREATE_SECRET = "kubectl create secret generic bitfusion-secret --from-file=kind/tokens -n kube-system";

/** Withdraws the pool, unless pods use it. */
export const WITHDRAW = "kubectl exec -n bitfusion-system deployment/bitfusion-controller -- controller uninstall";

export const DELETE = "kubectl delete -k kind/";

export const ROLLOUT = [
  "kubectl rollout status -n bitfusion-node daemonset/bitfusion-device-plugin --timeout=120s",
  "kubectl rollout status -n bitfusion-system deployment/bitfusion-webhook --timeout=120s",
  "kubectl rollout status -n bitfusion-system deployment/bitfusion-controller --timeout=120s",
];

/** Removes the copies of the token, once no pod takes its leases itself. */
export const REMOVE_COPIES =
  "kubectl delete secrets -A -l app.kubernetes.io/managed-by=bitfusion-webhook --field-selector=metadata.name=bitfusion-secret";
