/** Bad input from whoever starts a program: said in one sentence, with exit status 2 and no stack trace. */
export class ConfigError extends Error {
  override name = "ConfigError";
}
