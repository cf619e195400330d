// A stand-in for the client of a data plane: a libcuda.so.1 with some functions of the CUDA driver API, which asks server.c at
// STAND_IN_SERVER (an IPv4 address and a port, as 127.0.0.1:14833). Every process of a container may load it: it does nothing before cuInit.

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// CUresult
enum { SUCCESS = 0, INVALID_VALUE = 1, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101, UNKNOWN = 999 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int connection = -1, is_initialized;

static int connect_to_server(void) {
  const char *server = getenv("STAND_IN_SERVER");
  char host[16];
  unsigned short port;
  if (!server || sscanf(server, "%15[0-9.]:%hu", host, &port) != 2) return -1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  if (inet_pton(AF_INET, host, &address.sin_addr) != 1) return -1;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
  if (fd >= 0) close(fd);
  return -1;
}

static int exchange(const char *request, char *answer, size_t size) {
  size_t length = strlen(request);
  if (send(connection, request, length, MSG_NOSIGNAL) != (ssize_t)length) return 0;
  for (size_t at = 0; at < size; at++) {
    ssize_t count;
    do count = recv(connection, answer + at, 1, 0);
    while (count < 0 && errno == EINTR);
    if (count != 1) return 0;
    if (answer[at] != '\n') continue;
    answer[at] = '\0';
    return 1;
  }
  return 0;
}

// What was on the GPUs is lost with the connection: each later call fails.
static int call(const char *request, char *answer, size_t size) {
  pthread_mutex_lock(&lock);
  int result = !is_initialized ? NOT_INITIALIZED : connection >= 0 && exchange(request, answer, size) ? SUCCESS : UNKNOWN;
  if (result == UNKNOWN && connection >= 0) {
    close(connection);
    connection = -1;
  }
  pthread_mutex_unlock(&lock);
  return result;
}

static int call_device(const char *what, int device, char *answer, size_t size) {
  char request[64];
  snprintf(request, sizeof request, "%s %d\n", what, device);
  return call(request, answer, size);
}

int cuInit(unsigned int flags) {
  if (flags != 0) return INVALID_VALUE;
  pthread_mutex_lock(&lock);
  if (!is_initialized) is_initialized = (connection = connect_to_server()) >= 0;
  int result = is_initialized ? SUCCESS : NO_DEVICE;
  pthread_mutex_unlock(&lock);
  return result;
}

int cuDeviceGetCount(int *count) {
  char answer[32];
  int result = call("count\n", answer, sizeof answer);
  if (result == SUCCESS) *count = atoi(answer);
  return result;
}

int cuDeviceGet(int *device, int ordinal) {
  int count, result = cuDeviceGetCount(&count);
  if (result != SUCCESS) return result;
  if (ordinal < 0 || ordinal >= count) return INVALID_DEVICE;
  *device = ordinal;
  return SUCCESS;
}

int cuDeviceGetName(char *name, int size, int device) {
  char answer[256];
  int result = call_device("name", device, answer, sizeof answer);
  if (result == SUCCESS) snprintf(name, size, "%s", answer);
  return result;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device) {
  char answer[32];
  int result = call_device("memory", device, answer, sizeof answer);
  if (result == SUCCESS) *bytes = strtoull(answer, NULL, 10);
  return result;
}
