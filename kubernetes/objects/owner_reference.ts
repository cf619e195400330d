/** An object that another object belongs to: Kubernetes deletes the other with it (k8s.io/apimachinery/pkg/apis/meta/v1). */
export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  /** Whether the owner manages the object. */
  readonly controller?: boolean;
}
