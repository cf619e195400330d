/** Shells with a script. */
export const SHELLS = ["bash", "zsh", "fish"] as const;

export type Shell = (typeof SHELLS)[number];

/** The command that prints what can be the last word, one candidate a line. It prints nothing where a file is expected. */
export const COMPLETE = "__complete";

/**
 * The last line of its output, as kubectl expects it of the executable kubectl_complete-bitfusion: the shell adds no file names (4), or may (0).
 * See ShellCompDirective of github.com/spf13/cobra.
 */
export const DIRECTIVES = { noFiles: ":4", files: ":0" } as const;

/** The scripts that a shell evaluates to complete `kubectl-bitfusion`. */
export const SCRIPTS: Readonly<Record<Shell, string>> = {
  bash: `_kubectl_bitfusion() {
  local line
  COMPREPLY=()
  while IFS= read -r line; do
    case "$line" in
      ${DIRECTIVES.noFiles}) ;;
      ${DIRECTIVES.files}) compopt -o default ;;
      *) COMPREPLY+=("$line") ;;
    esac
  done < <("\${COMP_WORDS[0]}" ${COMPLETE} "\${COMP_WORDS[@]:1:COMP_CWORD}" 2> /dev/null)
}
complete -F _kubectl_bitfusion kubectl-bitfusion
`,
  zsh: `#compdef kubectl-bitfusion
_kubectl_bitfusion() {
  local -a lines
  lines=("\${(@f)$("\${words[1]}" ${COMPLETE} "\${(@)words[2,CURRENT]}" 2> /dev/null)}")
  if [[ "\${lines[-1]}" == "${DIRECTIVES.files}" ]]; then
    _files
  else
    compadd -- "\${(@)lines[1,-2]}"
  fi
}
compdef _kubectl_bitfusion kubectl-bitfusion
`,
  fish: `function __kubectl_bitfusion
  set -l words (commandline -opc) (commandline -ct)
  kubectl-bitfusion ${COMPLETE} $words[2..-1] 2> /dev/null | string match -v -r '^:[0-9]+$'
end
complete -c kubectl-bitfusion -f -a '(__kubectl_bitfusion)'
`,
};
