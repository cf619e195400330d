import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Glob } from "bun";
import { parseAllDocuments } from "yaml";
import packageJson from "../package.json";
import { CREATE_SECRET, CREATE_TOKEN, DELETE, INSTALL, REMOVE_COPIES, ROLLOUT, WITHDRAW } from "./cluster/commands.ts";
import { IMAGES } from "./cluster/images.ts";
import { SERVERS } from "./cluster/pool.ts";
import { KUEUE_VERSION } from "./kueue/image.ts";

const readme = await readFile("README.md", "utf8");
const guides = await Promise.all([...new Glob("docs/*.md").scanSync()].map((path) => readFile(path, "utf8")));
const commands = commandsIn(readme);
/** Folders that the documented commands create. */
const created = (await readFile(".gitignore", "utf8")).split("\n").filter((line) => line.endsWith("/"));

/** Programs of the machine of a pool server. */
const HOST_PROGRAMS = [
  ...["apt-get", "chmod", "chown", "curl", "install", "journalctl", "ldd", "nvidia-modprobe", "nvidia-smi"],
  ...["sudo", "systemctl", "timeout", "unzip", "useradd"],
];

test("README contains the exact commands that the cluster tests run", () => {
  expect(commands).toEqual(
    expect.arrayContaining([CREATE_TOKEN, INSTALL, CREATE_SECRET, ...ROLLOUT, WITHDRAW, DELETE]),
  );
});

test("docs/install.md contains the exact command that removes copies of the token", () => {
  expect(guides.flatMap(commandsIn)).toContain(REMOVE_COPIES);
});

test("README builds the images and starts the pool servers of the cluster tests", () => {
  for (const { name, dockerfile } of IMAGES.filter(({ dockerfile }) => dockerfile)) {
    expect(commands).toContain(`docker build -f ${dockerfile} -t ${name} .`);
  }
  for (const { name, configuration } of SERVERS) {
    expect(commands).toContain(
      `docker run -d --network kind --user "$(id -u):$(id -g)" -v "$PWD/kind:/etc/bitfusion:ro" --name ${name} -e CONFIG_FILE=/etc/bitfusion/${configuration} bitfusion-server:0.1.0`,
    );
  }
});

test("docs/kueue.md installs the release of Kueue that the cluster tests build", async () => {
  const guide = await readFile("docs/kueue.md", "utf8");
  expect(guide).toContain(`/kueue/releases/download/${KUEUE_VERSION}/`);
  expect(guide).toContain(`Kueue ${KUEUE_VERSION.slice(1)} `);
});

test.each([...new Set([readme, ...guides].flatMap(commandsIn))])("documented command exists: %s", (command) => {
  const words = command.replace(/^npx -y bun@\S+ /, "bun ").split(" ");
  if (words[0] === "bun" && words[1] === "run") {
    expect(Object.keys(packageJson.scripts)).toContain(words[2] ?? "");
    return;
  }
  expect(["docker", "kind", "kubectl", ...HOST_PROGRAMS]).toContain(words[0] ?? "");
  for (const path of words.flatMap(pathsIn).filter((path) => !created.includes(`${path}/`)))
    expect(existsSync(path), `${path} exists`).toBe(true);
});

test("README uses the Bun version that package.json pins", () => {
  const versions = new Set([...readme.matchAll(/bun@([\d.]+)/g)].map(([, version]) => version));
  expect([...versions]).toEqual([packageJson.packageManager.replace("bun@", "")]);
});

test("links of README and the guides lead to existing files", () => {
  const links = (text: string, folder: string) =>
    [...text.matchAll(/\]\((?!https?:|#)([^)#]+)[^)]*\)/g)].map(([, path = ""]) => join(folder, path));
  const paths = [...links(readme, "."), ...guides.flatMap((text) => links(text, "docs"))];
  expect(paths.length).toBeGreaterThan(5);
  expect(paths.filter((path) => !existsSync(path))).toEqual([]);
});

test("files and folders that README and the guides name exist", () => {
  const named = [...[readme, ...guides].join("\n").matchAll(/`([\w./-]+\/[\w./-]*)`/g)].map(([, path = ""]) => path);
  const projectPaths = named.filter((path) =>
    /^(plugin|webhook|controller|server|client|pool|proto|kubernetes|grpc|program|tls|docs|demo|e2e|bench|kind|examples|components)\//.test(
      path,
    ),
  );
  expect(projectPaths.length).toBeGreaterThan(10);
  expect(projectPaths.filter((path) => !existsSync(path))).toEqual([]);
});

test("examples are Jobs and Deployments: a second kubectl apply of a Pod would be refused", async () => {
  const [block = ""] = [...readme.matchAll(/^```yaml\n(.*?)^```/gms)].map(([, text]) => text);
  const files = await Promise.all([...new Glob("examples/*.yaml").scanSync()].map((path) => readFile(path, "utf8")));
  const kinds = [block, ...files].flatMap((text) => parseAllDocuments(text).map((document) => document.toJS().kind));
  expect(kinds).toContain("Deployment");
  expect(kinds).not.toContain("Pod");
});

/** Returns the lines of all `sh` blocks of a Markdown text, without comments. */
function commandsIn(text: string): string[] {
  return [...text.matchAll(/^```sh\n(.*?)^```/gms)]
    .flatMap(([, block = ""]) => block.split("\n"))
    .map((line) => line.replace(/\s+#.*$/, "").trim())
    .filter(Boolean);
}

/** Returns the path in this repository that a word of a command contains, if any. */
function pathsIn(word: string): string[] {
  const path = word.replace(/^--from-file=/, "");
  return /^(plugin|webhook|controller|server|client|kind|examples)\//.test(path) ? [path] : [];
}
