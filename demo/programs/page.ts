import { startProgram } from "../../program/processes/child_program.ts";
import type { ProgramOptions } from "./options.ts";

/** The program of the page in a process of its own. Disposal ends it. */
export interface Page extends AsyncDisposable {
  readonly url: string;
}

export async function startPage({ kubeconfig }: Pick<ProgramOptions, "kubeconfig">): Promise<Page> {
  const program = startProgram("console/page/main.ts", {
    environment: { KUBECONFIG: kubeconfig, PORT: "0" },
    ready: "Serving",
  });
  try {
    const { port } = await program.started;
    return { url: `http://localhost:${port}`, [Symbol.asyncDispose]: () => program[Symbol.asyncDispose]() };
  } catch (error) {
    await program[Symbol.asyncDispose]();
    throw error;
  }
}
