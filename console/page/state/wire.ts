/* What the page's program sends to browsers. These files are bundled for the browser too, so they import nothing. */

/** The whole page: rows by section and key. Every row is plain JSON. Texts come from tenants: a browser must show them as text. */
export interface PageState {
  /** One row: `pool`. */
  readonly totals: Rows<TotalsRow>;
  /** By address. */
  readonly servers: Rows<ServerRow>;
  /** By pool/device. */
  readonly gpus: Rows<GpuRow>;
  /** By namespace/pod. */
  readonly waiting: Rows<WaitingRow>;
  /** By namespace/kind/name. */
  readonly refusals: Rows<RefusalRow>;
  /** Sentences about what is wrong or cannot be read, by themselves. */
  readonly notes: Rows<NoteRow>;
  /** By time, RFC 3339: four a minute, for an hour. */
  readonly history: Rows<HistoryRow>;
}

export type Rows<T> = Readonly<Record<string, T>>;

export type Section = keyof PageState;

/** The rows that have changed, by section. A row that is null was removed. */
export type PagePatch = { readonly [S in Section]?: Readonly<Record<string, PageState[S][string] | null>> };

/** Units: see Units of the view. */
export interface UnitsRow {
  readonly total: number;
  readonly held: number;
  readonly free: number;
  readonly blocked: number;
}

export interface TotalsRow extends UnitsRow {
  readonly servers: number;
  readonly gpus: number;
}

export interface ServerRow {
  readonly name: string;
  readonly reachable: boolean;
  /** `CUDA 12.8`, `driver 570.124`, `data plane lupine 3`. */
  readonly facts: readonly string[];
}

export interface GpuRow extends UnitsRow {
  readonly id: string;
  /** Key of its server. */
  readonly server: string;
  readonly model: string;
  readonly memoryMb: number;
  /** A GpuState of the view. */
  readonly state: string;
  /** Its taints, as people read them. */
  readonly taints: readonly string[];
  readonly shares: readonly ShareRow[];
}

export interface ShareRow {
  readonly namespace: string;
  /** Empty if the claim is for no pod. */
  readonly pod: string;
  readonly claim: string;
  readonly containers: readonly string[];
  readonly node: string;
  readonly units: number;
  /** RFC 3339. */
  readonly since: string;
  /** A ShareState of the view. */
  readonly state: string;
  readonly message: string;
}

export interface WaitingRow {
  readonly namespace: string;
  readonly pod: string;
  /** RFC 3339. */
  readonly since: string;
  readonly priority: number;
  readonly reasons: readonly string[];
  readonly requests: readonly string[];
}

export interface RefusalRow {
  readonly namespace: string;
  readonly kind: string;
  readonly name: string;
  readonly message: string;
  /** RFC 3339. */
  readonly lastSeen: string;
  readonly count: number;
}

export interface NoteRow {
  /** `unread`: the page lacks a right, or the API server does not answer. */
  readonly kind: "problem" | "unread";
}

export interface HistoryRow extends UnitsRow {
  /** Number of pods. */
  readonly waiting: number;
}

/** The way of a pod: GET /pods/{namespace}/{name}. */
export interface PodWayRow {
  readonly namespace: string;
  readonly pod: string;
  readonly steps: readonly { readonly name: string; readonly state: string; readonly text: string }[];
}
