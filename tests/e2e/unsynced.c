/* A file-system shim for LD_PRELOAD: what was never synced did not survive the power cut.
 *
 * On every fsync or fdatasync of a file below $UNSYNCED_ROOT the file's content is copied to $UNSYNCED_SHADOW: after a
 * kill -9 the shadows are what a disk would hold. With $UNSYNCED_LIE set, syncs are not recorded: a control that must
 * lose data.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void record(int fd) {
    const char *root = getenv("UNSYNCED_ROOT"), *shadow = getenv("UNSYNCED_SHADOW");
    if (!root || !shadow || getenv("UNSYNCED_LIE")) return;
    char link[64], path[4096], fresh[4200], final[4200], buffer[65536];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return;
    path[n] = 0;
    if (strncmp(path, root, strlen(root)) != 0) return;
    const char *base = strrchr(path, '/') + 1;
    snprintf(fresh, sizeof fresh, "%s/%s.fresh", shadow, base);
    snprintf(final, sizeof final, "%s/%s", shadow, base);
    int in = open(path, O_RDONLY), out = open(fresh, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (in < 0 || out < 0) abort();
    while ((n = read(in, buffer, sizeof buffer)) > 0)
        if (write(out, buffer, (size_t)n) != n) abort();
    close(in);
    close(out);
    if (rename(fresh, final) != 0) abort();
}

int fsync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    int result = real(fd);
    if (result == 0) record(fd);
    return result;
}

int fdatasync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    int result = real(fd);
    if (result == 0) record(fd);
    return result;
}
