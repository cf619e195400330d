// A CUDA program that knows nothing of the pool: it prints the name and the memory of each GPU that libcuda.so.1 shows. With --keep, it then uses
// the first one until that fails. A failed call ends it with exit status 1.

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *library;

static void *find(const char *name) {
  void *function = dlsym(library, name);
  if (function) return function;
  fprintf(stderr, "%s\n", dlerror());
  exit(1);
}

static void check(const char *what, int result) {
  if (result == 0) return;
  printf("%s: CUDA error %d\n", what, result);
  exit(1);
}

int main(int argc, char **argv) {
  int keep = argc == 2 && !strcmp(argv[1], "--keep");
  setvbuf(stdout, NULL, _IOLBF, 0);
  library = dlopen("libcuda.so.1", RTLD_NOW);
  if (!library) {
    printf("No CUDA: %s\n", dlerror());
    return 1;
  }
  int (*init)(unsigned int) = find("cuInit");
  int (*get_count)(int *) = find("cuDeviceGetCount");
  int (*get_device)(int *, int) = find("cuDeviceGet");
  int (*get_name)(char *, int, int) = find("cuDeviceGetName");
  int (*get_memory)(size_t *, int) = find("cuDeviceTotalMem_v2");
  check("cuInit", init(0));
  int count, device;
  size_t bytes;
  check("cuDeviceGetCount", get_count(&count));
  for (int ordinal = 0; ordinal < count; ordinal++) {
    char name[256];
    check("cuDeviceGet", get_device(&device, ordinal));
    check("cuDeviceGetName", get_name(name, sizeof name, device));
    check("cuDeviceTotalMem", get_memory(&bytes, device));
    printf("%s: %zu MB\n", name, bytes / 1000000);
  }
  while (keep) {
    check("cuDeviceTotalMem", get_memory(&bytes, 0));
    usleep(100000);
  }
  return 0;
}
