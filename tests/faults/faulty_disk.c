/* Library for LD_PRELOAD: at every n-th call of write, fsync or rename on a file below a folder, it fails with an errno.

   FAULT_FOLDER   folder of the files
   FAULT_CALL     name of the call: write, fsync or rename
   FAULT_ERRNO    number of the error
   FAULT_EVERY    n
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long calls;

static int is_due(const char *call, const char *path) {
    const char *folder = getenv("FAULT_FOLDER"), *name = getenv("FAULT_CALL"), *every = getenv("FAULT_EVERY");
    if (!folder || !name || !every || strcmp(call, name) || strncmp(path, folder, strlen(folder))) return 0;
    return atomic_fetch_add(&calls, 1) % atol(every) == atol(every) - 1;
}

static int is_due_at(const char *call, int descriptor) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_due(call, path);
}

static int fail(void) {
    errno = atoi(getenv("FAULT_ERRNO"));
    return -1;
}

#define REAL(type, name, ...) ((type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t size) {
    return is_due_at("write", fd) ? fail() : REAL(ssize_t, write, int, const void *, size_t)(fd, data, size);
}

ssize_t writev(int fd, const struct iovec *parts, int num) {
    return is_due_at("write", fd) ? fail() : REAL(ssize_t, writev, int, const struct iovec *, int)(fd, parts, num);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t place) {
    return is_due_at("write", fd) ? fail() : REAL(ssize_t, pwrite, int, const void *, size_t, off_t)(fd, data, size, place);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t place) {
    return is_due_at("write", fd) ? fail() : REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t)(fd, data, size, place);
}

int fsync(int fd) { return is_due_at("fsync", fd) ? fail() : REAL(int, fsync, int)(fd); }

int fdatasync(int fd) { return is_due_at("fsync", fd) ? fail() : REAL(int, fdatasync, int)(fd); }

int syncfs(int fd) { return is_due_at("fsync", fd) ? fail() : REAL(int, syncfs, int)(fd); }

int rename(const char *from, const char *to) {
    return is_due("rename", to) ? fail() : REAL(int, rename, const char *, const char *)(from, to);
}
