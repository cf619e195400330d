/** Creates an AdmissionReview of about this many bytes: a pod as training operators create it, with half a GPU. */
export function createReview(bytes: number): string {
  const small = JSON.stringify(reviewWith([]));
  const variable = (index: number) => ({
    name: `SERVICE_${index}_ENDPOINT`,
    value: `https://service-${index}.team.svc:8443/v1`,
  });
  const bytesPerVariable = JSON.stringify(variable(10_000)).length + 1;
  const count = Math.max(0, Math.round((bytes - small.length) / bytesPerVariable));
  return JSON.stringify(reviewWith(Array.from({ length: count }, (_, index) => variable(index))));
}

/** Creates an HTTP/1.1 POST request with this body. */
export function createRequest(
  body: string | Uint8Array,
  { path = "/mutate", type = "application/json" } = {},
): Uint8Array {
  const bytes = Buffer.from(body);
  const head = `POST ${path}?timeout=10s HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${type}\r\nContent-Length: ${bytes.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), bytes]);
}

function reviewWith(env: readonly object[]) {
  return {
    kind: "AdmissionReview",
    apiVersion: "admission.k8s.io/v1",
    request: {
      uid: "705ab4f5-6393-11e8-b7cc-42010a800002",
      kind: { group: "", version: "v1", kind: "Pod" },
      resource: { group: "", version: "v1", resource: "pods" },
      requestKind: { group: "", version: "v1", kind: "Pod" },
      requestResource: { group: "", version: "v1", resource: "pods" },
      name: "training-7",
      namespace: "team",
      operation: "CREATE",
      userInfo: {
        username: "system:serviceaccount:kube-system:job-controller",
        uid: "5f3c7c5e-0c8f-4a57-9f5e-1b5f0f3a1c11",
        groups: ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
      },
      object: podWith(env),
      oldObject: null,
      dryRun: false,
      options: { kind: "CreateOptions", apiVersion: "meta.k8s.io/v1", fieldManager: "kube-controller-manager" },
    },
  };
}

function podWith(env: readonly object[]) {
  const volumes = Array.from({ length: 12 }, (_, index) => ({
    name: `data-${index}`,
    persistentVolumeClaim: { claimName: `training-data-${index}` },
  }));
  const volumeMounts = volumes.map(({ name }) => ({ name, mountPath: `/data/${name}`, readOnly: true }));
  const rest = {
    terminationMessagePath: "/dev/termination-log",
    terminationMessagePolicy: "File",
    imagePullPolicy: "IfNotPresent",
    securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
  };
  const probe = { httpGet: { path: "/healthz", port: 8080, scheme: "HTTP" }, periodSeconds: 10, failureThreshold: 3 };
  return {
    kind: "Pod",
    apiVersion: "v1",
    metadata: {
      name: "training-7",
      generateName: "training-",
      namespace: "team",
      labels: { app: "training", "batch.kubernetes.io/job-name": "training", "pod-template-hash": "5d4f8c7b9" },
      annotations: { "auto-management/bitfusion": "all", "prometheus.io/scrape": "true", "prometheus.io/port": "8080" },
      ownerReferences: [
        {
          apiVersion: "batch/v1",
          kind: "Job",
          name: "training",
          uid: "9a1b",
          controller: true,
          blockOwnerDeletion: true,
        },
      ],
      managedFields: [managedFields(volumes.map(({ name }) => name))],
    },
    spec: {
      volumes,
      initContainers: [
        { name: "fetch", image: "registry.example/fetch:2.1", command: ["/fetch"], volumeMounts, ...rest },
      ],
      containers: [
        {
          name: "main",
          image: "registry.example/training:4.7.1",
          command: ["python3", "train.py"],
          args: ["--epochs=90", "--batch-size=256", "--model=resnet50"],
          ports: [{ name: "http", containerPort: 8080, protocol: "TCP" }],
          env,
          resources: {
            limits: { cpu: "4", memory: "16Gi", "bitfusion.io/gpu-num": "1", "bitfusion.io/gpu-percent": "50" },
            requests: { cpu: "4", memory: "16Gi", "bitfusion.io/gpu-num": "1", "bitfusion.io/gpu-percent": "50" },
          },
          volumeMounts,
          livenessProbe: probe,
          readinessProbe: probe,
          ...rest,
        },
        { name: "log-shipper", image: "registry.example/shipper:1.9", command: ["/ship"], volumeMounts, ...rest },
      ],
      restartPolicy: "Never",
      terminationGracePeriodSeconds: 30,
      dnsPolicy: "ClusterFirst",
      serviceAccountName: "training",
      securityContext: { runAsNonRoot: true, runAsUser: 1000, fsGroup: 1000 },
      schedulerName: "default-scheduler",
      tolerations: [
        { key: "node.kubernetes.io/not-ready", operator: "Exists", effect: "NoExecute", tolerationSeconds: 300 },
      ],
    },
    status: {},
  };
}

/** Creates managedFields as the API server adds them: about as large as the pod itself. */
function managedFields(volumes: readonly string[]) {
  const fields = (list: readonly [string, object][]) => Object.fromEntries(list);
  return {
    manager: "kube-controller-manager",
    operation: "Update",
    apiVersion: "v1",
    time: "2026-01-01T00:00:00Z",
    fieldsType: "FieldsV1",
    fieldsV1: {
      "f:metadata": {
        "f:annotations": { ".": {} },
        "f:labels": { ".": {}, "f:app": {} },
        "f:ownerReferences": { ".": {} },
      },
      "f:spec": {
        'k:{"name":"main"}': {
          "f:volumeMounts": fields(
            volumes.map((name) => [`k:{"mountPath":"/data/${name}"}`, { ".": {}, "f:mountPath": {}, "f:name": {} }]),
          ),
        },
        "f:volumes": fields(
          volumes.map((name) => [
            `k:{"name":"${name}"}`,
            { ".": {}, "f:name": {}, "f:persistentVolumeClaim": { "f:claimName": {} } },
          ]),
        ),
      },
    },
  };
}
