import { getLogger } from "@logtape/logtape";

/** A command has no log: it shows what it cannot read. */
export const commandLog = getLogger("kubectl-bitfusion");
