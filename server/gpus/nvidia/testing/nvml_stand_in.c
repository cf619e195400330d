// A stand-in for libnvidia-ml.so.1, for tests: it answers what the file STATE says, which is read again at each call. See nvml_stand_in.ts
// for its content. Types are those of nvml.h 13.3.
//
//   cc -shared -fPIC -DSTATE='"/path"' -o libnvidia-ml.so.1 nvml_stand_in.c

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, TIMEOUT = 10, GPU_IS_LOST = 15, UNKNOWN = 999 };
enum { MAX_GPUS = 16, MAX_MIG = 7, MAX_XIDS = 64, MAX_PROCESSES = 8192, TEXT = 96 };
enum { RECOVERY_ACTION = 230, XID_EVENT = 8 };

typedef struct {
  char uuid[TEXT], name[TEXT];
  unsigned long long memory;
  int status, recovery, remap_failed, retired_pending, mig, gi, ci, processes;
} device;

typedef struct {
  device *device;
  unsigned int pid;
  unsigned long long memory, at;
  int utilization, graphics;
} process;
typedef struct { unsigned int pid; unsigned long long memory; unsigned int gi, ci; } process_info;
typedef struct { unsigned int pid; unsigned long long at; unsigned int sm, memory, encoder, decoder; } sample;

typedef struct { int gpu, number, gi, ci; } xid;
typedef struct { device *device; unsigned long long type, data; unsigned int gi, ci; } event;
typedef struct { unsigned int id, scope; long long timestamp, latency; int type, status; unsigned long long value; } field;

// A handle is the address of a device here. Those of MIG devices follow their GPU's.
static device devices[MAX_GPUS][1 + MAX_MIG];
static xid xids[MAX_XIDS];
static process processes[MAX_PROCESSES];
static int gpus, process_count, xid_count, delivered, cuda, init_status, wait_status;
static char driver[TEXT];

static int number(const char *line, const char *key, int missing) {
  const char *at = strstr(line, key);
  return at ? atoi(at + strlen(key)) : missing;
}

static unsigned long long large_number(const char *line, const char *key) {
  const char *at = strstr(line, key);
  return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static void parse_device(device *d, const char *line) {
  memset(d, 0, sizeof *d);
  const char *uuid = strstr(line, " uuid="), *name = strstr(line, " name=");
  if (uuid) sscanf(uuid + 6, "%95s", d->uuid);
  if (name) sscanf(name + 6, "%95[^\n]", d->name);
  d->memory = large_number(line, " memory=");
  d->status = number(line, " status=", SUCCESS);
  d->recovery = number(line, " recovery=", -1);
  d->remap_failed = number(line, " remapFailed=", -1);
  d->retired_pending = number(line, " retiredPending=", -1);
  d->mig = number(line, " mig=", -1);
  d->gi = number(line, " gi=", 0);
  d->ci = number(line, " ci=", 0);
  d->processes = number(line, " processes=", -1);
}

// Returns whether calls hang.
static int load(void) {
  FILE *file = fopen(STATE, "r");
  if (!file) return 0;
  int hangs = 0, mig_count = 0;
  gpus = process_count = xid_count = init_status = wait_status = cuda = 0;
  for (char line[512]; fgets(line, sizeof line, file);) {
    if (!strncmp(line, "gpu ", 4) && gpus < MAX_GPUS) {
      parse_device(&devices[gpus++][mig_count = 0], line);
      memset(&devices[gpus - 1][1], 0, sizeof(device) * MAX_MIG);
    } else if (!strncmp(line, "mig ", 4) && gpus > 0 && mig_count < MAX_MIG) {
      parse_device(&devices[gpus - 1][++mig_count], line);
    } else if (!strncmp(line, "process ", 8) && gpus > 0 && process_count < MAX_PROCESSES) {
      processes[process_count++] = (process){&devices[gpus - 1][mig_count], (unsigned int)number(line, " pid=", 0),
                                             large_number(line, " memory="), large_number(line, " at="),
                                             number(line, " utilization=", -1), number(line, " graphics=", 0)};
    } else if (!strncmp(line, "xid ", 4) && xid_count < MAX_XIDS) {
      xids[xid_count++] = (xid){number(line, " gpu=", 0), number(line, " number=", 0), number(line, " gi=", -1),
                                number(line, " ci=", -1)};
    } else if (!strncmp(line, "system ", 7)) {
      const char *version = strstr(line, " driver=");
      if (version) sscanf(version + 8, "%95s", driver);
      cuda = number(line, " cuda=", 0);
      wait_status = number(line, " wait=", SUCCESS);
      init_status = number(line, " init=", SUCCESS);
      hangs = number(line, " hangs=", 0);
    }
  }
  fclose(file);
  return hangs;
}

static void reload(void) {
  while (load()) usleep(5000);
}

static int position(const device *d) { return (int)(d - &devices[0][0]) / (1 + MAX_MIG); }

// The status of a device's calls: also that of a MIG device's GPU.
static int status_of(const device *d) {
  reload();
  return position(d) >= gpus ? GPU_IS_LOST : devices[position(d)][0].status;
}

static int copy(char *out, const char *text, unsigned int size) {
  snprintf(out, size, "%s", text);
  return SUCCESS;
}

// Sets `out` unless the file does not say it.
static int set(int *out, int value) {
  if (value < 0) return NOT_SUPPORTED;
  *out = value;
  return SUCCESS;
}

int nvmlInit_v2(void) {
  reload();
  delivered = xid_count;
  return init_status;
}
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int status) {
  return status == 9 ? "Driver Not Loaded" : status == GPU_IS_LOST ? "GPU is lost" : "Unknown Error";
}
int nvmlSystemGetDriverVersion(char *out, unsigned int size) { return copy(out, driver, size); }
int nvmlSystemGetCudaDriverVersion_v2(int *out) { return set(out, cuda); }
int nvmlDeviceGetCount_v2(int *out) {
  reload();
  return set(out, gpus);
}
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, device **out) {
  *out = &devices[index][0];
  return status_of(*out);
}
int nvmlDeviceGetUUID(device *d, char *out, unsigned int size) {
  int status = status_of(d);
  return status ? status : copy(out, d->uuid, size);
}
int nvmlDeviceGetName(device *d, char *out, unsigned int size) {
  int status = status_of(d);
  return status ? status : copy(out, d->name, size);
}
int nvmlDeviceGetMemoryInfo(device *d, unsigned long long *total_free_used) {
  int status = status_of(d);
  total_free_used[0] = d->memory;
  return status;
}
int nvmlDeviceGetFieldValues(device *d, int count, field *fields) {
  int status = status_of(d);
  for (int i = 0; i < count; i++) {
    fields[i].status = fields[i].id == RECOVERY_ACTION && d->recovery >= 0 ? SUCCESS : NOT_SUPPORTED;
    fields[i].value = (unsigned long long)d->recovery;
  }
  return status;
}
int nvmlDeviceGetRemappedRows(device *d, int *corrected, int *uncorrected, int *pending, int *failed) {
  int status = status_of(d);
  *corrected = *uncorrected = *pending = 0;
  return status ? status : set(failed, d->remap_failed);
}
int nvmlDeviceGetRetiredPagesPendingStatus(device *d, int *pending) {
  int status = status_of(d);
  return status ? status : set(pending, d->retired_pending);
}
int nvmlDeviceGetMigMode(device *d, int *current, int *pending) {
  int status = status_of(d);
  *pending = d->mig;
  return status ? status : set(current, d->mig);
}
int nvmlDeviceGetMaxMigDeviceCount(device *d, int *out) {
  int status = status_of(d);
  return status ? status : set(out, MAX_MIG);
}
int nvmlDeviceGetMigDeviceHandleByIndex(device *d, unsigned int index, device **out) {
  int status = status_of(d);
  *out = d + 1 + index;
  return status ? status : (*out)->uuid[0] ? SUCCESS : NOT_FOUND;
}
int nvmlDeviceGetGpuInstanceId(device *d, int *out) { return set(out, d->gi); }
int nvmlDeviceGetComputeInstanceId(device *d, int *out) { return set(out, d->ci); }
static int list_processes(device *d, unsigned int *count, process_info *out, int graphics) {
  int status = status_of(d);
  if (status) return status;
  if (d->processes < 0) return NOT_SUPPORTED;
  unsigned int room = *count;
  *count = 0;
  for (int i = 0; i < process_count; i++) {
    process p = processes[i];
    if (p.device != d || p.graphics != graphics) continue;
    if (*count < room) out[*count] = (process_info){p.pid, p.memory, (unsigned int)d->gi, (unsigned int)d->ci};
    ++*count;
  }
  return *count > room ? INSUFFICIENT_SIZE : SUCCESS;
}
int nvmlDeviceGetComputeRunningProcesses_v3(device *d, unsigned int *count, process_info *out) {
  return list_processes(d, count, out, 0);
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(device *d, unsigned int *count, process_info *out) {
  return list_processes(d, count, out, 1);
}
int nvmlDeviceGetProcessUtilization(device *d, sample *out, unsigned int *count, unsigned long long after) {
  int status = status_of(d);
  if (status) return status;
  unsigned int room = *count;
  *count = 0;
  struct timeval now;
  gettimeofday(&now, NULL);
  for (int i = 0; i < process_count; i++) {
    process p = processes[i];
    unsigned long long at = p.at ? p.at : (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_usec;
    if (p.device != d || p.utilization < 0 || at <= after) continue;
    if (*count < room) out[*count] = (sample){p.pid, at, (unsigned int)p.utilization, 0, 0, 0};
    ++*count;
  }
  return *count > room ? INSUFFICIENT_SIZE : *count ? SUCCESS : NOT_FOUND;
}
int nvmlEventSetCreate(void **out) {
  *out = &delivered;
  return SUCCESS;
}
int nvmlDeviceRegisterEvents(device *d, unsigned long long types, void *set) {
  return types == XID_EVENT && set == &delivered ? status_of(d) : UNKNOWN;
}
int nvmlEventSetWait_v2(void *set, event *out, unsigned int timeout) {
  if (set != &delivered) return UNKNOWN;
  for (unsigned int waited = 0;; waited += 5) {
    reload();
    if (wait_status) return wait_status;
    if (delivered < xid_count) {
      xid x = xids[delivered++];
      *out = (event){&devices[x.gpu][0], XID_EVENT, (unsigned long long)x.number, (unsigned int)x.gi, (unsigned int)x.ci};
      return SUCCESS;
    }
    if (waited >= timeout) return TIMEOUT;
    usleep(5000);
  }
}
