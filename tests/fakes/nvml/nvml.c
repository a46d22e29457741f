/* A libnvidia-ml.so.1 without a GPU, for the real nvidia-ml-py: it answers from the text file that NVML_STUB names, which it
 * reads again at every call, so that a test changes the hardware by writing a file. One statement a line, # begins a comment:
 *
 *   driver 570.86.15            the driver's version
 *   cuda 12080                  the highest CUDA, as NVML tells it
 *   appears EPOCH               until then there is no driver (DriverNotLoaded)
 *   gpu uuid=GPU-… name=A_GPU cc=9.0 memory=81920 used=0 reserved=600 util=0 ecc=0 remap=0,0,0,0 mig=0
 *                               MiB; one line a GPU, in the order of NVML; used=4096,0@EPOCH is 4096 until then and 0 after
 *       energy=MJ reasons=0x40    its counter of millijoules (none where it is not said), energy=MJ+WATTS@EPOCH grows from then on;
 *                               why its clocks are lower than they could be, the bits of NVML's clocks event reasons
 *   mig gpu=0 slot=2 uuid=MIG-… name=1g.10gb memory=10240 used=0
 *   process gpu=0 pid=123 memory=512          (of a MIG device: slot=2 too; one that draws: draws=1, draws=2 computes beside it)
 *   nvlink gpu=0 link=0 bus=00000000:02:00.0  what is at the other end of a link; GPU 0 is at 00000000:01:00.0, and so on
 *   xid gpu=0 code=79           delivered once to every event set that was there before
 *   error CALL CODE [GPU]       CALL answers CODE, for that GPU alone or for all; * is every call
 *   slow CALL MILLISECONDS      CALL takes so long
 *   hang CALL                   CALL does not return while the line is there
 *   missing CALL                CALL answers FunctionNotFound, as a driver too old for it
 *   clocks gpu=0 base=1410 memory=2619 max=1980 step=15 sm=1410 temperature=41 cpus=3 node=1
 *                               MHz, degrees, masks; without sm= it runs as it is locked, or at 345
 *   health gpu=0 corrected=0 generation=4,4 width=16,16 replays=0 recovery=0 fabric=3,0,1
 *                               what the health gate's checks read; now and at most; fabric's state, status and summary. What is
 *                               not said, and without the line all of it, the GPU does not have; fabric_version=2: a driver that
 *                               knows no newer form of it
 *
 * What is done to clocks is appended to a journal beside the file, as lock GPU-… 1410 1410, unlock GPU-…,
 * memory-lock, memory-unlock, persistence GPU-… 1: what holds is read from there. A line `reload` is the driver
 * loaded again, which forgets all of it; other lines are a test's own.
 *
 * A file that is not there is a driver that is not loaded. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long long u64;
typedef unsigned int u32;

enum { OK = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, SMALL = 7, NOT_LOADED = 9, TIMEOUT = 10, NO_FUNCTION = 13 };
#define GPUS 16
#define MIGS 64
#define PROCESSES 256
#define XIDS 256

struct gpu {
    char uuid[96], name[96];
    int major, minor, migmode, metered;
    u64 memory, used, reserved, ecc, energy, reasons;
    u32 util, remap[4];
};
struct mig { int gpu, slot; char uuid[96], name[96]; u64 memory, used; };
struct process { int gpu, slot, draws; u32 pid; u64 memory; };
struct xid { int gpu; u64 code; };
struct world {
    char driver[80];
    int cuda, gpus, migs, processes, xids, error;
    struct gpu gpu[GPUS];
    struct mig mig[MIGS];
    struct process process[PROCESSES];
    struct xid xid[XIDS];
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void pause_ms(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static const char *value(const char *line, const char *key) {
    char wanted[32];
    const char *found = line;
    snprintf(wanted, sizeof wanted, " %s=", key);
    found = strstr(line, wanted);
    return found ? found + strlen(wanted) : NULL;
}

static u64 number(const char *line, const char *key, u64 otherwise) {
    const char *found = value(line, key);
    return found ? strtoull(found, NULL, 10) : otherwise;
}

static void text(const char *line, const char *key, char *into, size_t size) {
    const char *found = value(line, key);
    size_t length = found ? strcspn(found, " \n") : 0;
    if (length >= size) length = size - 1;
    if (found) memcpy(into, found, length);
    into[length] = 0;
}

/* 4096 or 4096,0@EPOCH */
static u64 used_now(const char *line) {
    const char *found = value(line, "used");
    char *rest;
    u64 first, then;
    if (!found) return 0;
    first = strtoull(found, &rest, 10);
    if (*rest != ',') return first;
    then = strtoull(rest + 1, &rest, 10);
    return *rest == '@' && now() >= strtod(rest + 1, NULL) ? then : first;
}

/* 5000 or 5000+300@EPOCH, in mJ and W; 0 where the GPU has no such counter. */
static int energy_now(const char *line, u64 *energy) {
    const char *found = value(line, "energy");
    char *rest;
    double watts, since;
    if (!found) return 0;
    *energy = strtoull(found, &rest, 10);
    if (*rest == '+') {
        watts = strtod(rest + 1, &rest);
        since = *rest == '@' ? strtod(rest + 1, NULL) : now();
        if (now() > since) *energy += (u64)((now() - since) * watts * 1000);
    }
    return 1;
}

static int applies(const char *named, const char *call) { return !strcmp(named, "*") || !strcmp(named, call); }

/* The number at that place of a key of the GPU's `health` line: 0 where it is not said. */
static int health_of(int gpu, const char *key, int place, u64 *into) {
    FILE *file = fopen(getenv("NVML_STUB"), "r");
    char line[512];
    int known = 0;
    while (file && fgets(line, sizeof line, file)) {
        const char *found = strncmp(line, "health ", 7) || number(line, "gpu", 0) != (u64)gpu ? NULL : value(line, key);
        int left = place;
        while (found && left--) {
            found += strcspn(found, ", \n");
            found = *found == ',' ? found + 1 : NULL;
        }
        if (found) *into = strtoull(found, NULL, 0), known = 1;
    }
    if (file) fclose(file);
    return known;
}

/* Reads the file: 1 where CALL is to be asked again after a while. */
static int read_world(struct world *w, const char *call, int gpu, long *slow) {
    const char *path = getenv("NVML_STUB");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[512], named[96];
    int code, only, hang = 0;
    long ms;
    memset(w, 0, sizeof *w);
    strcpy(w->driver, "570.86.15");
    w->cuda = 12080;
    if (!file) {
        w->error = NOT_LOADED;
        return 0;
    }
    while (fgets(line, sizeof line, file)) {
        if (!strncmp(line, "driver ", 7)) sscanf(line, "driver %79s", w->driver);
        else if (!strncmp(line, "cuda ", 5)) w->cuda = atoi(line + 5);
        else if (!strncmp(line, "appears ", 8) && now() < strtod(line + 8, NULL)) w->error = NOT_LOADED;
        else if (!strncmp(line, "gpu ", 4) && w->gpus < GPUS) {
            struct gpu *g = &w->gpu[w->gpus++];
            const char *cc = value(line, "cc"), *remap = value(line, "remap");
            text(line, "uuid", g->uuid, sizeof g->uuid);
            text(line, "name", g->name, sizeof g->name);
            g->major = 9;
            if (cc) sscanf(cc, "%d.%d", &g->major, &g->minor);
            if (remap) sscanf(remap, "%u,%u,%u,%u", &g->remap[0], &g->remap[1], &g->remap[2], &g->remap[3]);
            g->memory = number(line, "memory", 81920);
            g->used = used_now(line);
            g->reserved = number(line, "reserved", 600);
            g->ecc = number(line, "ecc", 0);
            g->util = number(line, "util", 0);
            g->migmode = number(line, "mig", 0);
            g->metered = energy_now(line, &g->energy);
            if (value(line, "reasons")) g->reasons = strtoull(value(line, "reasons"), NULL, 0);
        } else if (!strncmp(line, "mig ", 4) && w->migs < MIGS) {
            struct mig *m = &w->mig[w->migs++];
            m->gpu = number(line, "gpu", 0);
            m->slot = number(line, "slot", 0);
            text(line, "uuid", m->uuid, sizeof m->uuid);
            text(line, "name", m->name, sizeof m->name);
            m->memory = number(line, "memory", 10240);
            m->used = used_now(line);
        } else if (!strncmp(line, "process ", 8) && w->processes < PROCESSES) {
            struct process *p = &w->process[w->processes++];
            p->gpu = number(line, "gpu", 0);
            p->slot = number(line, "slot", 0xffffffff);
            p->pid = number(line, "pid", 0);
            p->memory = number(line, "memory", 0);
            p->draws = number(line, "draws", 0);
        } else if (!strncmp(line, "xid ", 4) && w->xids < XIDS) {
            w->xid[w->xids].gpu = number(line, "gpu", 0);
            w->xid[w->xids++].code = number(line, "code", 0);
        } else if (!strncmp(line, "error ", 6)) {
            only = -1;
            if (sscanf(line, "error %95s %d %d", named, &code, &only) >= 2 && applies(named, call) &&
                (only < 0 || only == gpu))
                w->error = code;
        } else if (sscanf(line, "slow %95s %ld", named, &ms) == 2 && applies(named, call)) *slow = ms;
        else if (sscanf(line, "hang %95s", named) == 1 && applies(named, call)) hang = 1;
        else if (sscanf(line, "missing %95s", named) == 1 && applies(named, call)) w->error = NO_FUNCTION;
    }
    fclose(file);
    return hang;
}

/* The world as it is for CALL on that GPU (-1: on none); its error is the answer where it is not 0. */
static void look(struct world *w, const char *call, int gpu) {
    long slow = 0;
    while (read_world(w, call, gpu, &slow)) pause_ms(20);
    if (slow) pause_ms(slow);
}

/* A handle is 1 + GPU, and of a MIG device 1000 + 100 * GPU + its slot. */
typedef size_t handle;
static int gpu_of(handle h) { return h >= 1000 ? (int)(h - 1000) / 100 : (int)h - 1; }

#define LOOK(h)                                      \
    struct world w;                                  \
    look(&w, __func__, (h) ? gpu_of(h) : -1);        \
    if (w.error) return w.error;                     \
    if ((h) && gpu_of(h) >= w.gpus) return NOT_FOUND

static struct mig *mig_of(struct world *w, handle h) {
    int i;
    for (i = 0; i < w->migs; i++)
        if (h >= 1000 && w->mig[i].gpu == gpu_of(h) && w->mig[i].slot == (int)(h - 1000) % 100) return &w->mig[i];
    return NULL;
}

static int answer(char *into, u32 size, const char *what) {
    if (strlen(what) >= size) return SMALL;
    strcpy(into, what);
    return OK;
}

int nvmlInitWithFlags(u32 flags) { LOOK(0); return flags ? 2 : OK; }
int nvmlShutdown(void) { return OK; }
int nvmlSystemGetDriverVersion(char *into, u32 size) { LOOK(0); return answer(into, size, w.driver); }
int nvmlSystemGetNVMLVersion(char *into, u32 size) { LOOK(0); return answer(into, size, "12.570.86.15"); }
int nvmlSystemGetCudaDriverVersion(int *cuda) { LOOK(0); *cuda = w.cuda; return OK; }
int nvmlSystemGetCudaDriverVersion_v2(int *cuda) { LOOK(0); *cuda = w.cuda; return OK; }
int nvmlDeviceGetCount_v2(u32 *count) { LOOK(0); *count = w.gpus; return OK; }

int nvmlDeviceGetHandleByIndex_v2(u32 index, handle *h) {
    struct world w;
    look(&w, __func__, (int)index);
    if (w.error) return w.error;
    if ((int)index >= w.gpus) return 2;
    *h = 1 + index;
    return OK;
}

int nvmlDeviceGetUUID(handle h, char *into, u32 size) {
    LOOK(h);
    return answer(into, size, mig_of(&w, h) ? mig_of(&w, h)->uuid : w.gpu[gpu_of(h)].uuid);
}
int nvmlDeviceGetName(handle h, char *into, u32 size) {
    LOOK(h);
    return answer(into, size, mig_of(&w, h) ? mig_of(&w, h)->name : w.gpu[gpu_of(h)].name);
}
int nvmlDeviceGetMinorNumber(handle h, u32 *minor) { LOOK(h); *minor = gpu_of(h); return OK; }
int nvmlDeviceGetCudaComputeCapability(handle h, int *major, int *minor) {
    LOOK(h);
    *major = w.gpu[gpu_of(h)].major;
    *minor = w.gpu[gpu_of(h)].minor;
    return OK;
}

struct memory { u64 total, free, used; };
int nvmlDeviceGetMemoryInfo(handle h, struct memory *m) {
    LOOK(h);
    struct mig *part = mig_of(&w, h);
    struct gpu *g = &w.gpu[gpu_of(h)];
    m->total = (part ? part->memory : g->memory) << 20;
    m->used = (part ? part->used : g->used + g->reserved) << 20;
    m->free = m->total - m->used;
    return OK;
}
struct memory2 { u32 version; u64 total, reserved, free, used; };
int nvmlDeviceGetMemoryInfo_v2(handle h, struct memory2 *m) {
    LOOK(h);
    struct mig *part = mig_of(&w, h);
    struct gpu *g = &w.gpu[gpu_of(h)];
    m->total = (part ? part->memory : g->memory) << 20;
    m->reserved = (part ? 0 : g->reserved) << 20;
    m->used = (part ? part->used : g->used) << 20;
    m->free = m->total - m->used - m->reserved;
    return OK;
}

struct utilization { u32 gpu, memory; };
int nvmlDeviceGetUtilizationRates(handle h, struct utilization *u) {
    LOOK(h);
    if (mig_of(&w, h) || w.gpu[gpu_of(h)].migmode) return NOT_SUPPORTED;
    u->gpu = w.gpu[gpu_of(h)].util;
    u->memory = 0;
    return OK;
}
int nvmlDeviceGetTotalEccErrors(handle h, u32 kind, u32 counter, u64 *count) {
    (void)counter;
    LOOK(h);
    if (!kind && health_of(gpu_of(h), "corrected", 0, count)) return OK;
    *count = kind ? w.gpu[gpu_of(h)].ecc : 0;
    return OK;
}
int nvmlDeviceGetRemappedRows(handle h, u32 *corrected, u32 *uncorrected, u32 *pending, u32 *failed) {
    LOOK(h);
    u32 *rows = w.gpu[gpu_of(h)].remap;
    *corrected = rows[0], *uncorrected = rows[1], *pending = rows[2], *failed = rows[3];
    return OK;
}
int nvmlDeviceGetMigMode(handle h, u32 *current, u32 *pending) {
    LOOK(h);
    *current = *pending = w.gpu[gpu_of(h)].migmode;
    return OK;
}
int nvmlDeviceGetMaxMigDeviceCount(handle h, u32 *count) { LOOK(h); *count = 7; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(handle h, u32 index, handle *part) {
    LOOK(h);
    *part = 1000 + 100 * gpu_of(h) + index;
    return mig_of(&w, *part) ? OK : NOT_FOUND;
}

/* What a job's energy and throttling are told from. A MIG device has neither. */
int nvmlDeviceGetTotalEnergyConsumption(handle h, u64 *millijoules) {
    LOOK(h);
    if (mig_of(&w, h) || !w.gpu[gpu_of(h)].metered) return NOT_SUPPORTED;
    *millijoules = w.gpu[gpu_of(h)].energy;
    return OK;
}
int nvmlDeviceGetCurrentClocksEventReasons(handle h, u64 *reasons) {
    LOOK(h);
    if (mig_of(&w, h)) return NOT_SUPPORTED;
    *reasons = w.gpu[gpu_of(h)].reasons;
    return OK;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(handle h, u64 *reasons) {
    LOOK(h);
    if (mig_of(&w, h)) return NOT_SUPPORTED;
    *reasons = w.gpu[gpu_of(h)].reasons;
    return OK;
}

struct info { u32 pid; u64 memory; u32 gpu_instance, compute_instance; };
static int processes(struct world *w, handle h, int without, u32 *count, struct info *infos) {
    u32 found = 0, room = *count;
    int i;
    struct mig *part = mig_of(w, h);
    for (i = 0; i < w->processes; i++) {
        struct process *p = &w->process[i];
        if (p->gpu != gpu_of(h) || (part && p->slot != part->slot) || p->draws == without) continue;
        if (infos && found < room) {
            infos[found].pid = p->pid;
            infos[found].memory = p->memory << 20;
            infos[found].gpu_instance = infos[found].compute_instance = (u32)p->slot;
        }
        found++;
    }
    *count = found;
    return found > room || (found && !infos) ? SMALL : OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(handle h, u32 *count, struct info *infos) {
    LOOK(h);
    return processes(&w, h, 1, count, infos);
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(handle h, u32 *count, struct info *infos) {
    LOOK(h);
    return processes(&w, h, 0, count, infos);
}

/* An event set remembers how many of the file's XIDs it has delivered. */
struct set { int delivered, watched[GPUS]; };
int nvmlDeviceGetSupportedEventTypes(handle h, u64 *types) { LOOK(h); *types = 0xa; return OK; }
int nvmlEventSetCreate(struct set **set) {
    LOOK(0);
    *set = calloc(1, sizeof **set);
    (*set)->delivered = w.xids;
    return OK;
}
int nvmlEventSetFree(struct set *set) { free(set); return OK; }
int nvmlDeviceRegisterEvents(handle h, u64 types, struct set *set) {
    LOOK(h);
    set->watched[gpu_of(h)] = (types & 8) != 0;
    return OK;
}
struct event { handle device; u64 type, data; u32 gpu_instance, compute_instance; };
int nvmlEventSetWait_v2(struct set *set, struct event *event, u32 timeout) {
    double end = now() + timeout / 1e3;
    for (;;) {
        LOOK(0);
        while (set->delivered < w.xids) {
            struct xid *x = &w.xid[set->delivered++];
            if (x->gpu >= GPUS || !set->watched[x->gpu]) continue;
            memset(event, 0, sizeof *event);
            event->device = 1 + x->gpu;
            event->type = 8;
            event->data = x->code;
            event->gpu_instance = event->compute_instance = 0xffffffff;
            return OK;
        }
        if (now() >= end) return TIMEOUT;
        pause_ms(5);
    }
}

/* -- clocks: what is set is in the journal, what the GPU is like in its `clocks` line ------------------------ */

struct clocks { u32 base, memory, max, step, sm, locked, memory_locked, temperature, persistent; u64 cpus, node; };

static void journal_name(char *into, size_t size) { snprintf(into, size, "%s.clocks", getenv("NVML_STUB")); }

static void journal(const char *text) {
    char name[512];
    FILE *file;
    journal_name(name, sizeof name);
    file = fopen(name, "a");
    if (!file) return;
    fprintf(file, "%s\n", text);
    fclose(file);
}

static void read_clocks(struct clocks *c, const char *uuid, int gpu) {
    char name[512], line[512], of[96];
    u32 low, high;
    FILE *file = fopen(getenv("NVML_STUB"), "r");
    memset(c, 0, sizeof *c);
    c->base = 1410, c->memory = 2619, c->max = 1980, c->step = 15, c->temperature = 40, c->persistent = 1;
    c->cpus = c->node = 1;
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, "clocks ", 7) || number(line, "gpu", 0) != (u64)gpu) continue;
        c->base = number(line, "base", c->base);
        c->memory = number(line, "memory", c->memory);
        c->max = number(line, "max", c->max);
        c->step = number(line, "step", c->step);
        c->sm = number(line, "sm", 0);
        c->temperature = number(line, "temperature", c->temperature);
        c->cpus = number(line, "cpus", c->cpus);
        c->node = number(line, "node", c->node);
    }
    if (file) fclose(file);
    journal_name(name, sizeof name);
    file = fopen(name, "r");
    while (file && fgets(line, sizeof line, file)) {
        if (!strncmp(line, "reload", 6)) c->locked = c->memory_locked = c->persistent = 0;
        else if (sscanf(line, "lock %95s %u %u", of, &low, &high) == 3 && !strcmp(of, uuid)) c->locked = high;
        else if (sscanf(line, "unlock %95s", of) == 1 && !strcmp(of, uuid)) c->locked = 0;
        else if (sscanf(line, "memory-lock %95s %u %u", of, &low, &high) == 3 && !strcmp(of, uuid))
            c->memory_locked = high;
        else if (sscanf(line, "memory-unlock %95s", of) == 1 && !strcmp(of, uuid)) c->memory_locked = 0;
        else if (sscanf(line, "persistence %95s %u", of, &low) == 2 && !strcmp(of, uuid)) c->persistent = low;
    }
    if (file) fclose(file);
}

#define CLOCKS(h)                                    \
    LOOK(h);                                         \
    struct clocks c;                                 \
    const char *uuid = w.gpu[gpu_of(h)].uuid;        \
    if (h >= 1000) return NOT_SUPPORTED;             \
    read_clocks(&c, uuid, gpu_of(h))

static int set_clocks(const char *what, const char *uuid, u32 low, u32 high) {
    char text[200];
    snprintf(text, sizeof text, "%s %s %u %u", what, uuid, low, high);
    journal(text);
    return OK;
}
static int reset_clocks(const char *what, const char *uuid) {
    char text[200];
    snprintf(text, sizeof text, "%s %s", what, uuid);
    journal(text);
    return OK;
}

int nvmlDeviceGetHandleByUUID(const char *wanted, handle *h) {
    LOOK(0);
    int i;
    for (i = 0; i < w.gpus; i++)
        if (!strcmp(w.gpu[i].uuid, wanted)) return *h = 1 + i, OK;
    for (i = 0; i < w.migs; i++)
        if (!strcmp(w.mig[i].uuid, wanted)) return *h = 1000 + 100 * w.mig[i].gpu + w.mig[i].slot, OK;
    return NOT_FOUND;
}
int nvmlDeviceGetPersistenceMode(handle h, u32 *mode) { CLOCKS(h); *mode = c.persistent; return OK; }
int nvmlDeviceSetPersistenceMode(handle h, u32 mode) {
    CLOCKS(h);
    char text[200];
    snprintf(text, sizeof text, "persistence %s %u", uuid, mode);
    journal(text);
    return OK;
}
int nvmlDeviceSetGpuLockedClocks(handle h, u32 low, u32 high) { CLOCKS(h); return set_clocks("lock", uuid, low, high); }
int nvmlDeviceResetGpuLockedClocks(handle h) { CLOCKS(h); return reset_clocks("unlock", uuid); }
int nvmlDeviceSetMemoryLockedClocks(handle h, u32 low, u32 high) {
    CLOCKS(h);
    return set_clocks("memory-lock", uuid, low, high);
}
int nvmlDeviceResetMemoryLockedClocks(handle h) { CLOCKS(h); return reset_clocks("memory-unlock", uuid); }

/* 0 graphics, 1 SM, 2 memory */
int nvmlDeviceGetDefaultApplicationsClock(handle h, u32 kind, u32 *mhz) {
    CLOCKS(h);
    *mhz = kind == 2 ? c.memory : c.base;
    return *mhz ? OK : NOT_SUPPORTED;
}
int nvmlDeviceGetMaxClockInfo(handle h, u32 kind, u32 *mhz) { CLOCKS(h); *mhz = kind == 2 ? c.memory : c.max; return OK; }
int nvmlDeviceGetClockInfo(handle h, u32 kind, u32 *mhz) {
    CLOCKS(h);
    if (kind == 2) *mhz = c.memory_locked ? c.memory_locked : c.memory;
    else *mhz = c.sm ? c.sm : c.locked ? c.locked : 345;
    return OK;
}
int nvmlDeviceGetSupportedMemoryClocks(handle h, u32 *count, u32 *mhz) {
    CLOCKS(h);
    if (!mhz || *count < 1) return *count = 1, SMALL;
    mhz[0] = c.memory;
    *count = 1;
    return OK;
}
int nvmlDeviceGetSupportedGraphicsClocks(handle h, u32 memory, u32 *count, u32 *mhz) {
    CLOCKS(h);
    u32 many = (c.max - 210) / c.step + 1, i;
    if (memory != c.memory) return NOT_FOUND;
    if (!mhz || *count < many) return *count = many, SMALL;
    for (i = 0; i < many; i++) mhz[i] = c.max - i * c.step;
    *count = many;
    return OK;
}
int nvmlDeviceGetTemperature(handle h, u32 sensor, u32 *degrees) {
    CLOCKS(h);
    (void)sensor;
    *degrees = c.temperature;
    return OK;
}

static int words(u64 first, u32 size, unsigned long *into) {
    u32 i;
    for (i = 0; i < size; i++) into[i] = i ? 0 : first;
    return OK;
}
int nvmlDeviceGetCpuAffinity(handle h, u32 size, unsigned long *into) { CLOCKS(h); return words(c.cpus, size, into); }
int nvmlDeviceGetMemoryAffinity(handle h, u32 size, unsigned long *into, u32 scope) {
    CLOCKS(h);
    (void)scope;
    return words(c.node, size, into);
}

/* -- what the health gate's checks read: the GPU's `health` line ---------------------------------------------- */

static int health_number(handle h, const char *key, int place, u32 *into) {
    u64 found = 0;
    if (h >= 1000 || !health_of(gpu_of(h), key, place, &found)) return NOT_SUPPORTED;
    *into = found;
    return OK;
}
int nvmlDeviceGetCurrPcieLinkGeneration(handle h, u32 *n) { LOOK(h); return health_number(h, "generation", 0, n); }
int nvmlDeviceGetMaxPcieLinkGeneration(handle h, u32 *n) { LOOK(h); return health_number(h, "generation", 1, n); }
int nvmlDeviceGetCurrPcieLinkWidth(handle h, u32 *n) { LOOK(h); return health_number(h, "width", 0, n); }
int nvmlDeviceGetMaxPcieLinkWidth(handle h, u32 *n) { LOOK(h); return health_number(h, "width", 1, n); }
int nvmlDeviceGetPcieReplayCounter(handle h, u32 *n) { LOOK(h); return health_number(h, "replays", 0, n); }

struct field { u32 id, scope; long long at, latency; u32 type, answer; union { double d; u32 ui; u64 ull; } value; };
int nvmlDeviceGetFieldValues(handle h, int count, struct field *fields) {
    LOOK(h);
    int i;
    for (i = 0; i < count; i++) {
        struct field *f = &fields[i];
        f->at = f->latency = 0, f->type = 1, f->value.ull = 0; /* an unsigned int */
        f->answer = f->id == 230 ? health_number(h, "recovery", 0, &f->value.ui) : NOT_SUPPORTED;
    }
    return OK;
}

struct fabric { u32 version; unsigned char cluster[16]; u32 status, clique, state, mask; unsigned char summary; };
int nvmlDeviceGetGpuFabricInfoV(handle h, struct fabric *f) {
    LOOK(h);
    u32 summary = 0, newest = 3, version = f->version >> 24;
    health_number(h, "fabric_version", 0, &newest);
    if (version > newest || version < 2) return 25;
    if (health_number(h, "fabric", 0, &f->state)) return NOT_SUPPORTED;
    memset(f->cluster, 0, sizeof f->cluster);
    f->status = f->clique = f->mask = 0;
    health_number(h, "fabric", 1, &f->status);
    health_number(h, "fabric", 2, &summary);
    if (version > 2) f->summary = summary;
    return OK;
}

/* -- where GPUs are, and what they are linked with ------------------------------------------------------------ */

struct pci { char legacy[16]; u32 domain, bus, device, id, subsystem; char bus_id[32]; };

static void place(struct pci *p, const char *bus_id) {
    memset(p, 0, sizeof *p);
    snprintf(p->bus_id, sizeof p->bus_id, "%.31s", bus_id);
    snprintf(p->legacy, sizeof p->legacy, "%.15s", strlen(bus_id) > 4 ? bus_id + 4 : "");
    sscanf(bus_id, "%x:%x:%x", &p->domain, &p->bus, &p->device);
}

int nvmlDeviceGetPciInfo_v3(handle h, struct pci *p) {
    LOOK(h);
    char bus_id[32];
    snprintf(bus_id, sizeof bus_id, "00000000:%02X:00.0", gpu_of(h) + 1);
    place(p, bus_id);
    return OK;
}

/* Whether the GPU has such a link, and where it leads. */
static int link_end(int gpu, u32 link, char *bus_id, size_t size) {
    char line[512];
    FILE *file = fopen(getenv("NVML_STUB"), "r");
    int found = 0;
    while (file && !found && fgets(line, sizeof line, file))
        if (!strncmp(line, "nvlink ", 7) && number(line, "gpu", 0) == (u64)gpu && number(line, "link", 0) == link) {
            text(line, "bus", bus_id, size);
            found = 1;
        }
    if (file) fclose(file);
    return found;
}

int nvmlDeviceGetNvLinkState(handle h, u32 link, u32 *active) {
    LOOK(h);
    char bus_id[32];
    *active = 1;
    return link_end(gpu_of(h), link, bus_id, sizeof bus_id) ? OK : NOT_SUPPORTED;
}
int nvmlDeviceGetNvLinkRemotePciInfo_v2(handle h, u32 link, struct pci *p) {
    LOOK(h);
    char bus_id[32];
    if (!link_end(gpu_of(h), link, bus_id, sizeof bus_id)) return NOT_SUPPORTED;
    place(p, bus_id);
    return OK;
}
