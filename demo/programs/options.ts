/** What the programs of the cluster need. */
export interface ProgramOptions {
  /** Folder for the files of the program. */
  readonly folder: string;
  /** Path of a kubeconfig. */
  readonly kubeconfig: string;
  /** host:port of each pool server. */
  readonly servers: readonly string[];
}
