// A program that is linked dynamically with musl: it prints whether the loader has given it libcuda.so.1.

#include <stdio.h>
#include <string.h>

int main(void) {
  FILE *maps = fopen("/proc/self/maps", "r");
  if (!maps) {
    perror("/proc/self/maps");
    return 1;
  }
  int is_attached = 0;
  for (char line[4096]; fgets(line, sizeof line, maps);)
    if (strstr(line, "libcuda.so.1")) is_attached = 1;
  printf("%s\n", is_attached ? "attached" : "not attached");
  return 0;
}
