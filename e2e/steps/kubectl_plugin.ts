import { writeFile } from "node:fs/promises";
import { delimiter, join, resolve } from "node:path";
import { parse } from "yaml";
import { compilePlugin } from "../../console/kubectl/build/build.ts";
import { ownPlatform } from "../../console/kubectl/build/platforms.ts";
import { apply, kubectl } from "./kubectl.ts";

/** What `kubectl bitfusion` printed, and its exit status. */
export interface PluginResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface PluginOptions {
  /** The kubeconfig of a user. Default: that of the administrator. */
  kubeconfig?: string;
  stdin?: string;
}

/** The compiled plugin, as kubectl finds it. */
export interface KubectlPlugin {
  /** Runs `kubectl bitfusion`. */
  run(args: readonly string[], options?: PluginOptions): Promise<PluginResult>;
  /** Runs another program that needs the plugin in its PATH. Returns its standard output. */
  exec(command: readonly string[]): Promise<string>;
  /** Starts `kubectl bitfusion`, which goes on until it is killed. */
  start(args: readonly string[]): Bun.Subprocess<"ignore", "pipe", "inherit">;
}

/** Compiles the plugin for this machine. */
export async function compileForKubectl(): Promise<KubectlPlugin> {
  const platform = ownPlatform();
  if (!platform) throw new Error(`The plugin is not compiled for ${process.platform}-${process.arch}`);
  const folder = await compilePlugin(platform, resolve("reports/kubectl"));
  const env = { ...process.env, PATH: [folder, process.env.PATH].join(delimiter) };
  async function execute(command: readonly string[], { kubeconfig, stdin }: PluginOptions): Promise<PluginResult> {
    const child = Bun.spawn([...command], {
      env: kubeconfig === undefined ? env : { ...env, KUBECONFIG: kubeconfig },
      stdin: stdin === undefined ? "ignore" : new Blob([stdin]),
      stdout: "pipe",
      stderr: "pipe",
    });
    const [stdout, stderr, status] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    return { status, stdout, stderr };
  }
  return {
    run: (args, options = {}) => execute(["kubectl", "bitfusion", ...args], options),
    async exec(command) {
      const { status, stdout, stderr } = await execute(command, {});
      if (status !== 0) throw new Error(`${command.join(" ")}: exit status ${status}\n${stdout}${stderr}`);
      return stdout;
    },
    start: (args) =>
      Bun.spawn(["kubectl", "bitfusion", ...args], { env, stdin: "ignore", stdout: "pipe", stderr: "inherit" }),
  };
}

/**
 * Creates a user with the role `edit` of a namespace, and with ClusterRoles.
 *
 * @returns the path of a kubeconfig in which the namespace is that of the context
 */
export async function createUser(
  namespace: string,
  name: string,
  clusterRoles: readonly string[] = [],
): Promise<string> {
  const account = `${namespace}:${name}`;
  await kubectl("create", "serviceaccount", name, "-n", namespace);
  await kubectl("create", "rolebinding", name, "-n", namespace, "--clusterrole=edit", `--serviceaccount=${account}`);
  for (const role of clusterRoles) {
    // Belongs to the service account's namespace, so that it goes with it.
    const { metadata } = JSON.parse(await kubectl("get", "namespace", namespace, "-o", "json"));
    const owner = { apiVersion: "v1", kind: "Namespace", name: namespace, uid: metadata.uid };
    await apply({
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "ClusterRoleBinding",
      metadata: { name: `${namespace}-${name}-${role}`, ownerReferences: [owner] },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: role },
      subjects: [{ kind: "ServiceAccount", namespace, name }],
    });
  }
  const token = (await kubectl("create", "token", name, "-n", namespace)).trim();
  const config = parse(await kubectl("config", "view", "--raw", "--minify", "--flatten"));
  const [{ name: context }] = config.contexts;
  const cluster = config.clusters[0].name;
  const users = [{ name, user: { token } }];
  const contexts = [{ name: context, context: { cluster, user: name, namespace } }];
  const path = join(resolve("reports/kubectl"), `${namespace}-${name}.kubeconfig`);
  await writeFile(path, JSON.stringify({ ...config, users, contexts }), { mode: 0o600 });
  return path;
}
