/*
 * Lets one call of the C library fail, for real: preloaded into Berth, and into nothing that Berth starts.
 *
 * BERTH_SHIM_ROOT   only calls on paths below it count, and all calls that have no path
 * BERTH_SHIM_LOG    a line for each call that counts: its name
 * BERTH_SHIM_FAIL   NAME:NTH:ERRNO[:on]  the NTH call of NAME fails, and with `on` all behind it
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char root[4096], name_failing[64];
static int log_fd = -1, nth_failing, errno_failing, goes_on;
static atomic_int armed, seen;

__attribute__((constructor)) static void begin(void) {
  const char *r = getenv("BERTH_SHIM_ROOT"), *l = getenv("BERTH_SHIM_LOG"), *f = getenv("BERTH_SHIM_FAIL");
  if (!r) return;
  snprintf(root, sizeof root, "%s", r);
  if (l) log_fd = (int)syscall(SYS_openat, AT_FDCWD, l, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  char rest[8] = "";
  if (f && sscanf(f, "%63[^:]:%d:%d:%7s", name_failing, &nth_failing, &errno_failing, rest) >= 3) goes_on = !strcmp(rest, "on");
  unsetenv("LD_PRELOAD");
}

/* 1 where this call is to fail. Nothing counts before the first touch of the root: that is Node's own start. */
static int fails(const char *name, const char *path) {
  if (!root[0]) return 0;
  if (path) {
    if (strncmp(path, root, strlen(root))) return 0;
    atomic_store(&armed, 1);
  } else if (!atomic_load(&armed)) {
    return 0;
  }
  if (log_fd >= 0) {
    char line[80];
    int length = snprintf(line, sizeof line, "%s\n", name);
    if (syscall(SYS_write, log_fd, line, length) < 0) _exit(99);
  }
  if (strcmp(name, name_failing)) return 0;
  int n = atomic_fetch_add(&seen, 1) + 1;
  if (n != nth_failing && !(goes_on && n > nth_failing)) return 0;
  errno = errno_failing;
  return 1;
}

#define CALL(result, name, path, parameters, arguments) \
  result name parameters { \
    static result(*real) parameters; \
    if (!real) real = (result(*) parameters)dlsym(RTLD_NEXT, #name); \
    if (fails(#name, path)) return -1; \
    return real arguments; \
  }

#define OPEN(name) \
  int name(const char *path, int flags, ...) { \
    va_list list; \
    va_start(list, flags); \
    mode_t mode = va_arg(list, mode_t); \
    va_end(list); \
    static int (*real)(const char *, int, ...); \
    if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name); \
    if (fails("open", path)) return -1; \
    return real(path, flags, mode); \
  }

OPEN(open)
OPEN(open64)
/* Of what Node writes to pipes and eventfds nothing is Berth's. */
static const char *file(int fd) {
  struct stat found;
  return fstat(fd, &found) == 0 && S_ISREG(found.st_mode) ? root : "";
}

CALL(ssize_t, write, file(fd), (int fd, const void *data, size_t size), (fd, data, size))
CALL(ssize_t, pwrite64, file(fd), (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
CALL(int, fsync, NULL, (int fd), (fd))
CALL(int, fdatasync, NULL, (int fd), (fd))
CALL(int, ftruncate64, NULL, (int fd, off64_t size), (fd, size))
CALL(int, rename, to, (const char *from, const char *to), (from, to))
CALL(int, symlink, at, (const char *to, const char *at), (to, at))
CALL(int, mkdir, path, (const char *path, mode_t mode), (path, mode))
CALL(int, unlink, path, (const char *path), (path))
CALL(int, socket, NULL, (int domain, int type, int protocol), (domain, type, protocol))
CALL(int, bind, NULL, (int fd, const struct sockaddr *address, socklen_t size), (fd, address, size))
CALL(int, listen, NULL, (int fd, int backlog), (fd, backlog))
CALL(int, setsockopt, NULL, (int fd, int level, int name, const void *value, socklen_t size), (fd, level, name, value, size))
CALL(ssize_t, sendmsg, NULL, (int fd, const struct msghdr *message, int flags), (fd, message, flags))
CALL(ssize_t, recvmsg, NULL, (int fd, struct msghdr *message, int flags), (fd, message, flags))
CALL(int, fork, NULL, (void), ())

/* What the C library has no name for: pidfd_open(2), pidfd_getfd(2), pidfd_send_signal(2). */
long syscall(long number, ...) {
  va_list list;
  va_start(list, number);
  long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long);
  long d = va_arg(list, long), e = va_arg(list, long), f = va_arg(list, long);
  va_end(list);
  static long (*real)(long, ...);
  if (!real) real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
  const char *name = number == SYS_pidfd_open ? "pidfd_open" : number == 438 ? "pidfd_getfd" : number == 424 ? "pidfd_send_signal" : NULL;
  if (name && fails(name, NULL)) return -1;
  return real(number, a, b, c, d, e, f);
}
