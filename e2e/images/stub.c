// The libcuda.so.1 that images of CUDA have for linkers: each function fails with CUDA_ERROR_STUB_LIBRARY.

enum { STUB_LIBRARY = 34 };

int cuInit(void) { return STUB_LIBRARY; }
int cuDeviceGetCount(void) { return STUB_LIBRARY; }
int cuDeviceGet(void) { return STUB_LIBRARY; }
int cuDeviceGetName(void) { return STUB_LIBRARY; }
int cuDeviceTotalMem_v2(void) { return STUB_LIBRARY; }
