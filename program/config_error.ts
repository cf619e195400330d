/**
 * Invalid configuration. The program prints the message in one line, without a stack trace, and exits with status 2.
 */
export class ConfigError extends Error {
  override name = "ConfigError";
}
