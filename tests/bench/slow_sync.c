/* Simulates the disk of a POS machine: adds a delay to every sync.
 *
 * Preloaded into a server. SQLite in WAL mode calls fdatasync; other code calls fsync.
 * SLOW_SYNC_MICROSECONDS is read once, at load: getenv is not safe concurrently with setenv. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

typedef int (*sync_call)(int);

static struct timespec delay = {0, 4000000};
static sync_call real_fdatasync;
static sync_call real_fsync;

__attribute__((constructor)) static void read_delay(void) {
    const char *text = getenv("SLOW_SYNC_MICROSECONDS");
    if (text != NULL) {
        long microseconds = strtol(text, NULL, 10);
        delay.tv_sec = microseconds / 1000000;
        delay.tv_nsec = (microseconds % 1000000) * 1000;
    }
    real_fdatasync = (sync_call)dlsym(RTLD_NEXT, "fdatasync");
    real_fsync = (sync_call)dlsym(RTLD_NEXT, "fsync");
}

static int wait_then(sync_call sync, int file) {
    struct timespec left = delay;
    while (nanosleep(&left, &left) == -1 && errno == EINTR) {
    }
    return sync(file);
}

int fdatasync(int file) { return wait_then(real_fdatasync, file); }

int fsync(int file) { return wait_then(real_fsync, file); }
