// A program that uses a GPU through the CUDA driver API. It needs no CUDA toolkit: the types are those of cuda.h, the kernel is PTX.
//
//   cuda_program LIBRARY run        computes on the GPU, and prints the time of a call
//   cuda_program LIBRARY fork       the same, before and after a child process of it has ended
//   cuda_program LIBRARY hold MB    allocates MB (1,000,000 bytes), prints "held", and uses them until standard input ends
//
// It ends with status 0, or with 1 and one line on standard error. Status 3: CUDA_ERROR_OUT_OF_MEMORY.

#include <dlfcn.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { OUT_OF_MEMORY = 2, N = 1 << 20, BLOCK = 256, CALLS = 1000 };

typedef unsigned long long device_pointer;

static int (*init)(unsigned), (*device_get)(int *, int), (*retain)(void **, int), (*set_current)(void *);
static int (*allocate)(device_pointer *, size_t), (*release)(device_pointer), (*fill)(device_pointer, unsigned char, size_t);
static int (*upload)(device_pointer, const void *, size_t), (*download)(void *, device_pointer, size_t);
static int (*load)(void **, const void *), (*get_function)(void **, void *, const char *), (*synchronize)(void);
static int (*launch)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **);

static const struct { const char *name; void *address; } FUNCTIONS[] = {
    {"cuInit", &init}, {"cuDeviceGet", &device_get}, {"cuDevicePrimaryCtxRetain", &retain}, {"cuCtxSetCurrent", &set_current},
    {"cuMemAlloc_v2", &allocate}, {"cuMemFree_v2", &release}, {"cuMemsetD8_v2", &fill}, {"cuMemcpyHtoD_v2", &upload},
    {"cuMemcpyDtoH_v2", &download}, {"cuModuleLoadData", &load}, {"cuModuleGetFunction", &get_function},
    {"cuCtxSynchronize", &synchronize}, {"cuLaunchKernel", &launch},
};

// y = 2 x + y
static const char PTX[] =
    ".version 6.0\n.target sm_50\n.address_size 64\n"
    ".visible .entry scale_add(.param .u64 p_x, .param .u64 p_y, .param .u32 p_n) {\n"
    ".reg .pred %p<2>; .reg .b32 %r<6>; .reg .f32 %f<4>; .reg .b64 %rd<6>;\n"
    "ld.param.u64 %rd1, [p_x]; ld.param.u64 %rd2, [p_y]; ld.param.u32 %r1, [p_n];\n"
    "cvta.to.global.u64 %rd3, %rd1; cvta.to.global.u64 %rd4, %rd2;\n"
    "mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x; mad.lo.s32 %r5, %r2, %r3, %r4;\n"
    "setp.ge.u32 %p1, %r5, %r1; @%p1 bra DONE;\n"
    "mul.wide.u32 %rd5, %r5, 4; add.s64 %rd3, %rd3, %rd5; add.s64 %rd4, %rd4, %rd5;\n"
    "ld.global.f32 %f1, [%rd3]; ld.global.f32 %f2, [%rd4]; fma.rn.f32 %f3, %f1, 0f40000000, %f2;\n"
    "st.global.f32 [%rd4], %f3;\n"
    "DONE: ret;\n}\n";

static void check(int result, const char *call) {
  if (result == 0) return;
  fprintf(stderr, "%s: CUresult %d\n", call, result);
  exit(result == OUT_OF_MEMORY ? 3 : 1);
}

static void fail(const char *message) {
  fprintf(stderr, "%s\n", message);
  exit(1);
}

static void open_gpu(const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
  if (!library) fail(dlerror());
  for (size_t i = 0; i < sizeof FUNCTIONS / sizeof *FUNCTIONS; i++) {
    void *function = dlsym(library, FUNCTIONS[i].name);
    if (!function) fail(dlerror());
    memcpy(FUNCTIONS[i].address, &function, sizeof function);
  }
  int device;
  void *context;
  check(init(0), "cuInit");
  check(device_get(&device, 0), "cuDeviceGet");
  check(retain(&context, device), "cuDevicePrimaryCtxRetain");
  check(set_current(context), "cuCtxSetCurrent");
}

static void compute(void) {
  static float x[N], y[N];
  for (int i = 0; i < N; i++) x[i] = (float)(i % 1000), y[i] = 1;
  device_pointer dx, dy;
  void *module, *function;
  unsigned n = N;
  check(allocate(&dx, sizeof x), "cuMemAlloc");
  check(allocate(&dy, sizeof y), "cuMemAlloc");
  check(upload(dx, x, sizeof x), "cuMemcpyHtoD");
  check(upload(dy, y, sizeof y), "cuMemcpyHtoD");
  check(load(&module, PTX), "cuModuleLoadData");
  check(get_function(&function, module, "scale_add"), "cuModuleGetFunction");
  void *parameters[] = {&dx, &dy, &n};
  check(launch(function, (N + BLOCK - 1) / BLOCK, 1, 1, BLOCK, 1, 1, 0, NULL, parameters, NULL), "cuLaunchKernel");
  check(synchronize(), "cuCtxSynchronize");
  check(download(y, dy, sizeof y), "cuMemcpyDtoH");
  for (int i = 0; i < N; i++) if (y[i] != 2 * x[i] + 1) fail("The GPU has computed a wrong result");
  check(release(dx), "cuMemFree");
  check(release(dy), "cuMemFree");
}

// The time of a call that waits for the GPU's answer, in µs.
static double call_time(void) {
  device_pointer pointer;
  char byte;
  struct timespec from, to;
  check(allocate(&pointer, 1), "cuMemAlloc");
  clock_gettime(CLOCK_MONOTONIC, &from);
  for (int i = 0; i < CALLS; i++) check(download(&byte, pointer, 1), "cuMemcpyDtoH");
  clock_gettime(CLOCK_MONOTONIC, &to);
  check(release(pointer), "cuMemFree");
  return ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) / 1e3 / CALLS;
}

static void hold(size_t bytes) {
  device_pointer pointer;
  char byte;
  check(allocate(&pointer, bytes), "cuMemAlloc");
  check(fill(pointer, 1, bytes), "cuMemsetD8");
  check(synchronize(), "cuCtxSynchronize");
  puts("held");
  fflush(stdout);
  struct pollfd input = {STDIN_FILENO, POLLIN, 0};
  while (poll(&input, 1, 200) == 0) check(download(&byte, pointer, 1), "cuMemcpyDtoH");
}

int main(int count, char **arguments) {
  if (count < 3) fail("expected a library and a command");
  open_gpu(arguments[1]);
  if (strcmp(arguments[2], "hold") == 0 && count == 4) {
    hold((size_t)atoll(arguments[3]) * 1000 * 1000);
  } else {
    compute();
    if (strcmp(arguments[2], "fork") == 0) {
      pid_t child = fork();
      if (child == 0) exit(0);
      if (child < 0 || waitpid(child, NULL, 0) < 0) fail("Cannot fork");
      compute();
    }
    printf("%.0f\n", call_time());
  }
  return 0;
}
