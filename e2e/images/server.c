// A stand-in for the server of a data plane, such as Lupine's: it listens on the port of its argument, and has a process for each connection.
// It answers each line of a connection with a line:
//
//   count      the number of GPUs in CUDA_VISIBLE_DEVICES
//   name 0     the first of them
//   memory 0   its memory in bytes: MEMORY_MB

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_GPUS = 32 };

static char *gpus[MAX_GPUS];
static int gpu_count;
static unsigned long long memory;

static void end(int signal) {
  (void)signal;
  _exit(0);
}

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static void serve(int connection) {
  FILE *in = fdopen(connection, "r");
  for (char line[64]; fgets(line, sizeof line, in);) {
    int gpu = -1;
    if (!strcmp(line, "count\n")) dprintf(connection, "%d\n", gpu_count);
    else if (sscanf(line, "name %d", &gpu) == 1 && gpu >= 0 && gpu < gpu_count) dprintf(connection, "%s\n", gpus[gpu]);
    else if (sscanf(line, "memory %d", &gpu) == 1 && gpu >= 0 && gpu < gpu_count) dprintf(connection, "%llu\n", memory);
    else return;
  }
}

int main(int argc, char **argv) {
  const char *visible = getenv("CUDA_VISIBLE_DEVICES"), *memory_mb = getenv("MEMORY_MB");
  if (argc != 2 || !visible || !memory_mb) {
    fprintf(stderr, "Expected a port, CUDA_VISIBLE_DEVICES and MEMORY_MB\n");
    return 2;
  }
  for (char *gpu = strtok(strdup(visible), ","); gpu && gpu_count < MAX_GPUS; gpu = strtok(NULL, ",")) gpus[gpu_count++] = gpu;
  memory = strtoull(memory_mb, NULL, 10) * 1000000;
  signal(SIGTERM, end);     // the first process of a namespace ignores it by default
  signal(SIGCHLD, SIG_IGN); // leaves no zombies
  int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
  if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 128)) fail("listen");
  for (;;) {
    int connection = accept(listener, NULL, NULL);
    if (connection < 0) fail("accept");
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) {
      serve(connection);
      return 0;
    }
    close(connection);
  }
}
