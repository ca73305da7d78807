/* Writes down every change of a project's database files, in order: what a simulated loss of power then drops.
   cc -shared -fPIC -o power_loss.so power_loss.c -ldl -lpthread;  POWER_LOSS_LOG=log LD_PRELOAD=power_loss.so python … */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char kinds[4096]; /* of each open file: 'd' database, 'w' log, 'j' journal, 'm' marks */
static int log_file = -1;

static ssize_t real_pwrite(int fd, const void *data, size_t size, off64_t place) {
    static ssize_t (*next)(int, const void *, size_t, off64_t);
    if (!next) next = dlsym(RTLD_NEXT, "pwrite64");
    return next(fd, data, size, place);
}

static ssize_t real_write(int fd, const void *data, size_t size) {
    static ssize_t (*next)(int, const void *, size_t);
    if (!next) next = dlsym(RTLD_NEXT, "write");
    return next(fd, data, size);
}

static void note(char operation, char kind, int64_t place, int64_t size, const void *data) {
    char head[18];
    head[0] = operation, head[1] = kind;
    memcpy(head + 2, &place, 8), memcpy(head + 10, &size, 8);
    pthread_mutex_lock(&lock);
    if (log_file < 0) {
        static int (*next)(const char *, int, ...);
        next = dlsym(RTLD_NEXT, "open64");
        log_file = next(getenv("POWER_LOSS_LOG"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    }
    real_write(log_file, head, 18);
    if (data) real_write(log_file, data, size);
    pthread_mutex_unlock(&lock);
}

static char kind_of(const char *path) {
    const char *end = path + strlen(path);
    if (end - path >= 10 && !strcmp(end - 10, "project.db")) return 'd';
    if (end - path >= 14 && !strcmp(end - 14, "project.db-wal")) return 'w';
    if (end - path >= 18 && !strcmp(end - 18, "project.db-journal")) return 'j';
    if (end - path >= 10 && !strcmp(end - 10, "power.mark")) return 'm';
    return 0;
}

static int opened(const char *name, const char *path, int flags, int mode) {
    int (*next)(const char *, int, ...) = dlsym(RTLD_NEXT, name);
    int fd = next(path, flags, mode);
    if (fd >= 0 && fd < 4096) kinds[fd] = kind_of(path);
    return fd;
}

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                       \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        int mode = flags & O_CREAT ? va_arg(rest, int) : 0;                                                            \
        va_end(rest);                                                                                                  \
        return opened(#name, path, flags, mode);                                                                       \
    }
OPEN(open)
OPEN(open64)

static char kind(int fd) { return fd >= 0 && fd < 4096 ? kinds[fd] : 0; }

int close(int fd) {
    int (*next)(int) = dlsym(RTLD_NEXT, "close");
    if (fd >= 0 && fd < 4096) kinds[fd] = 0;
    return next(fd);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t place) {
    if (kind(fd)) note('W', kind(fd), place, size, data);
    return real_pwrite(fd, data, size, place);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t place) { return pwrite64(fd, data, size, place); }

ssize_t write(int fd, const void *data, size_t size) {
    if (kind(fd)) note('W', kind(fd), lseek64(fd, 0, SEEK_CUR), size, data);
    return real_write(fd, data, size);
}

static int cut(const char *name, int fd, off64_t size) {
    int (*next)(int, off64_t) = dlsym(RTLD_NEXT, name);
    if (kind(fd)) note('T', kind(fd), size, 0, NULL);
    return next(fd, size);
}
int ftruncate(int fd, off_t size) { return cut("ftruncate64", fd, size); }
int ftruncate64(int fd, off64_t size) { return cut("ftruncate64", fd, size); }

static int forced(const char *name, int fd) {
    int (*next)(int) = dlsym(RTLD_NEXT, name);
    char of = kind(fd);
    if (of) note('S', of, 0, 0, NULL);
    int result = next(fd);
    if (of) note('E', of, 0, 0, NULL);
    return result;
}
int fsync(int fd) { return forced("fsync", fd); }
int fdatasync(int fd) { return forced("fdatasync", fd); }

int unlink(const char *path) {
    int (*next)(const char *) = dlsym(RTLD_NEXT, "unlink");
    if (kind_of(path)) note('U', kind_of(path), 0, 0, NULL);
    return next(path);
}
