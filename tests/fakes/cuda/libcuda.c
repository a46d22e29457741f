/* A libcuda.so.1 without a GPU: memory of the process, and the kernel `add` computed here. It says whether a program calls the
 * driver with the arguments that cuda.h declares, and whether a launch's parameters are where the kernel looks for them; of PTX it
 * knows the entry's name alone. CUDA_STUB_FAILS=CALL: that call answers CUDA_ERROR_OUT_OF_MEMORY. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef int CUresult, CUdevice;
typedef uint64_t CUdeviceptr;
typedef struct { int retained; } *CUcontext;
typedef const char *CUmodule;
typedef struct { char name[32]; } *CUfunction;
typedef struct { int recorded; } *CUevent, *CUstream;

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, INVALID_CONTEXT = 201, NOT_FOUND = 500 };
static int initialized, bound;
static struct { int retained; } context;
static size_t used;
#define TOTAL ((size_t)8 << 30)

static int fails(const char *call) {
    const char *named = getenv("CUDA_STUB_FAILS");
    return named && !strcmp(named, call);
}
#define CALL                                   \
    if (fails(__func__)) return OUT_OF_MEMORY; \
    if (!initialized) return NOT_INITIALIZED
#define BOUND \
    CALL;     \
    if (!bound) return INVALID_CONTEXT

CUresult cuInit(unsigned int flags) {
    if (flags) return INVALID_VALUE;
    initialized = 1;
    return SUCCESS;
}
CUresult cuDriverGetVersion(int *version) { *version = 13000; return SUCCESS; }
CUresult cuGetErrorName(CUresult error, const char **name) {
    *name = error == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_OF_THE_STUB";
    return SUCCESS;
}
CUresult cuDeviceGetCount(int *count) { CALL; *count = 1; return SUCCESS; }
CUresult cuDeviceGet(CUdevice *device, int ordinal) { CALL; *device = 7; return ordinal ? INVALID_VALUE : SUCCESS; }
CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device) {
    CALL;
    *value = attribute == 75 ? 9 : 0;
    return device == 7 && (attribute == 75 || attribute == 76) ? SUCCESS : INVALID_VALUE;
}
CUresult cuDevicePrimaryCtxRetain(CUcontext *given, CUdevice device) {
    CALL;
    context.retained++;
    *given = (CUcontext)&context;
    return device == 7 ? SUCCESS : INVALID_VALUE;
}
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) { CALL; return device == 7 && context.retained-- ? SUCCESS : INVALID_CONTEXT; }
CUresult cuCtxSetCurrent(CUcontext given) { CALL; bound = given == (CUcontext)&context; return bound ? SUCCESS : INVALID_CONTEXT; }
CUresult cuCtxSynchronize(void) { BOUND; return SUCCESS; }
CUresult cuModuleLoadData(CUmodule *module, const void *image) {
    BOUND;
    *module = strdup(image);
    return strstr(image, ".target sm_75") ? SUCCESS : INVALID_VALUE;
}
CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
    char entry[64] = ".entry ";
    BOUND;
    strncat(strncat(entry, name, 40), "(", 2);
    *function = calloc(1, sizeof **function);
    strncpy((*function)->name, name, sizeof (*function)->name - 1);
    return strstr(module, entry) ? SUCCESS : NOT_FOUND;
}
CUresult cuMemGetInfo_v2(size_t *free, size_t *total) { BOUND; *total = TOTAL; *free = TOTAL - used; return SUCCESS; }
CUresult cuMemAlloc_v2(CUdeviceptr *place, size_t size) {
    BOUND;
    used += size;
    *place = (CUdeviceptr)(uintptr_t)malloc(size);
    return SUCCESS;
}
CUresult cuMemFree_v2(CUdeviceptr place) { BOUND; free((void *)(uintptr_t)place); return SUCCESS; }
CUresult cuMemsetD8_v2(CUdeviceptr place, unsigned char value, size_t size) { BOUND; memset((void *)(uintptr_t)place, value, size); return SUCCESS; }
CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t size) { BOUND; memcpy((void *)(uintptr_t)to, from, size); return SUCCESS; }
CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t size) { BOUND; memcpy(to, (void *)(uintptr_t)from, size); return SUCCESS; }
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t size, CUstream stream) {
    BOUND;
    memcpy((void *)(uintptr_t)to, (void *)(uintptr_t)from, size);
    return stream ? INVALID_VALUE : SUCCESS;
}
CUresult cuLaunchKernel(CUfunction function, unsigned int x, unsigned int y, unsigned int z, unsigned int bx, unsigned int by,
                        unsigned int bz, unsigned int shared, CUstream stream, void **parameters, void **extra) {
    BOUND;
    if (y != 1 || z != 1 || by != 1 || bz != 1 || shared || stream || extra || !parameters) return INVALID_VALUE;
    if (!strcmp(function->name, "add")) {
        float *a = (float *)(uintptr_t)*(CUdeviceptr *)parameters[0], *b = (float *)(uintptr_t)*(CUdeviceptr *)parameters[1];
        float *c = (float *)(uintptr_t)*(CUdeviceptr *)parameters[2];
        unsigned int n = *(unsigned int *)parameters[3], i;
        for (i = 0; i < n && i < x * bx; i++) c[i] = a[i] + b[i];
    }
    return SUCCESS;
}
CUresult cuEventCreate(CUevent *event, unsigned int flags) { BOUND; *event = calloc(1, sizeof **event); return flags ? INVALID_VALUE : SUCCESS; }
CUresult cuEventRecord(CUevent event, CUstream stream) { BOUND; event->recorded = 1; return stream ? INVALID_VALUE : SUCCESS; }
CUresult cuEventSynchronize(CUevent event) { BOUND; return event->recorded ? SUCCESS : INVALID_VALUE; }
CUresult cuEventElapsedTime(float *milliseconds, CUevent first, CUevent last) {
    BOUND;
    *milliseconds = 2.0f;
    return first->recorded && last->recorded ? SUCCESS : INVALID_VALUE;
}
