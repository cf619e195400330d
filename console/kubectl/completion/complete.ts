import type { Command, Option } from "commander";

/** Lists values that only the cluster or a file knows, such as names of pods. */
export type Lister = (flags: Flags) => Promise<readonly string[]>;

/** The values of options on the command line, by their long names. */
export type Flags = Readonly<Record<string, string>>;

export interface Listers {
  /** For the arguments of commands, by name of the command. */
  readonly commands: Readonly<Record<string, Lister>>;
  /** For the values of options, by their long names. */
  readonly options: Readonly<Record<string, Lister>>;
}

/**
 * What can be the last word of a command line. Undefined: a file.
 *
 * @param words of the command line after the name of the program. The last one is completed; it may be empty.
 */
export async function complete(
  program: Command,
  words: readonly string[],
  { commands, options }: Listers,
): Promise<readonly string[] | undefined> {
  const current = words.at(-1) ?? "";
  const before = words.slice(0, -1);
  const command = program.commands.find((each) => each.name() === before[0]);
  const startsAsTyped = (text: string) => text.startsWith(current);
  if (!command)
    return before.length === 0
      ? program.commands
          .map((each) => each.name())
          .filter(isVisible)
          .filter(startsAsTyped)
      : [];

  const flags = readFlags(command, before);
  const option = findOption(command, before.at(-1) ?? "");
  if (option && (option.required || option.optional)) {
    const { argChoices, long = "" } = option;
    if (argChoices) return argChoices.filter(startsAsTyped);
    const lister = options[long ?? ""];
    return lister ? (await lister(flags)).filter(startsAsTyped) : undefined;
  }
  if (current.startsWith("-")) {
    return [...command.options.map(({ long, short }) => long ?? short ?? ""), "--help"].filter(startsAsTyped);
  }
  const [argument] = command.registeredArguments;
  if (argument?.argChoices) return argument.argChoices.filter(startsAsTyped);
  const lister = commands[command.name()];
  return lister ? (await lister(flags)).filter(startsAsTyped) : [];
}

/** Commands for the shell have names with underscores. */
function isVisible(name: string): boolean {
  return !name.startsWith("_");
}

function findOption(command: Command, word: string): Option | undefined {
  return command.options.find(({ long, short }) => word !== "" && (long === word || short === word));
}

function readFlags(command: Command, words: readonly string[]): Flags {
  const flags: Record<string, string> = {};
  for (const [index, word] of words.entries()) {
    const option = findOption(command, word);
    const value = words[index + 1];
    if (option?.required && option.long && value !== undefined) flags[option.long] = value;
  }
  return flags;
}
