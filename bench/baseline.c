/*
 * What Berth is measured against, without Berth: the same system calls in a bare loop, other programs under a clock,
 * and a crowd of connections. Built by the benches with cc -O2.
 *
 *   baseline probe ADDRESS FIRST COUNT BATCH   bind, set both reuse options, close; prints nanoseconds
 *   baseline time PROGRAM ARGUMENT...          runs it with no output; prints nanoseconds
 *   baseline dump STATES                       the kernel's TCP sockets of these states (a mask), read and not looked at
 *   baseline sync DIRECTORY COUNT              writes that many small files and flushes each; prints nanoseconds
 *   baseline bound ADDRESS PORT                a socket that is bound and does not listen, until stdin ends
 *   baseline outgoing ADDRESS PORT             a connection to itself from a port of the kernel's choice, which it prints
 *   baseline crowd FIRST PROCESSES CONNECTIONS both ends of that many connections in each process, until stdin ends;
 *                                              the processes are numbered from FIRST, each with addresses of its own
 *   baseline through ADDRESS FIRST COUNT CONNECTIONS BACKEND-PORT
 *                                              clients and backend of a HAProxy with COUNT listeners, until stdin ends
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what) {
  fprintf(stderr, "baseline: %s: %s\n", what, strerror(errno));
  exit(1);
}

static long long now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static struct sockaddr_in address_of(in_addr_t host, int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr = {host}};
  return address;
}

static void raise_limit(void) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

static void probe(in_addr_t host, int first, int count, int batch) {
  int *guards = calloc((size_t)batch, sizeof *guards);
  int one = 1;
  long long begin = now();
  for (int done = 0; done < count; done += batch) {
    int size = count - done < batch ? count - done : batch;
    for (int i = 0; i < size; i++) {
      struct sockaddr_in address = address_of(host, first + done + i);
      int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      if (fd < 0) die("socket");
      if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0) die("bind");
      if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0) die("setsockopt");
      if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) != 0) die("setsockopt");
      guards[i] = fd;
    }
    for (int i = 0; i < size; i++) close(guards[i]);
  }
  printf("%lld\n", now() - begin);
  free(guards);
}

static int run_timed(char **command) {
  long long begin = now();
  pid_t child = vfork();
  if (child < 0) die("vfork");
  if (child == 0) {
    int null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(null, 1);
    dup2(null, 2);
    execvp(command[0], command);
    _exit(127);
  }
  int status;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  long long end = now();
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    fprintf(stderr, "baseline: %s ended with status %d\n", command[0], WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    return 1;
  }
  printf("%lld\n", end - begin);
  return 0;
}

/* sock_diag(7): what every list of sockets has to wait for. Prints nanoseconds. */
static void dump(unsigned states) {
  static char buffer[32768];
  long long begin = now();
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  if (fd < 0) die("socket");
  for (int family = 0; family < 2; family++) {
    struct {
      struct nlmsghdr header;
      struct inet_diag_req_v2 body;
    } request = {
        .header = {.nlmsg_len = sizeof request, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .body = {.sdiag_family = family ? AF_INET6 : AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = states}};
    if (send(fd, &request, sizeof request, 0) < 0) die("send");
    for (int done = 0; !done;) {
      ssize_t size = recv(fd, buffer, sizeof buffer, 0);
      if (size < 0) die("recv");
      /* NLMSG_DONE comes in a message of its own, or as the last of one. */
      for (struct nlmsghdr *one = (struct nlmsghdr *)buffer; NLMSG_OK(one, size); one = NLMSG_NEXT(one, size)) {
        if (one->nlmsg_type == NLMSG_ERROR) die("sock_diag");
        if (one->nlmsg_type == NLMSG_DONE) done = 1;
      }
    }
  }
  printf("%lld\n", now() - begin);
}

static void sync_files(const char *directory, int count) {
  char path[4096];
  long long begin = now();
  for (int i = 0; i < count; i++) {
    snprintf(path, sizeof path, "%s/sync-%d", directory, i);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, path, strlen(path)) < 0 || fsync(fd) != 0) die(path);
    close(fd);
  }
  printf("%lld\n", now() - begin);
  for (int i = 0; i < count; i++) {
    snprintf(path, sizeof path, "%s/sync-%d", directory, i);
    unlink(path);
  }
}

static void say_ready(void) {
  char byte;
  puts("ready");
  fflush(stdout);
  while (read(0, &byte, 1) > 0) continue;
}

/* No option set: the kernel lets nobody bind beside it, and no table of listeners has it. */
static void bound(const char *address, int port) {
  struct sockaddr_in here = address_of(inet_addr(address), port);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof here) != 0) die("bind");
  say_ready();
}

/* As HAProxy connects to its servers. */
static void outgoing(const char *address, int port) {
  struct sockaddr_in server = address_of(inet_addr(address), port), own;
  socklen_t size = sizeof own;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener < 0 || fd < 0) die("socket");
  if (bind(listener, (struct sockaddr *)&server, sizeof server) != 0 || listen(listener, 8) != 0) die("listen");
  if (connect(fd, (struct sockaddr *)&server, sizeof server) != 0) die("connect");
  if (getsockname(fd, (struct sockaddr *)&own, &size) != 0) die("getsockname");
  printf("%d ", ntohs(own.sin_port));
  say_ready();
}

/* Both ends here: 127.1.0.N -> 127.2.0.N:7000, on ports of the kernel's choice. Closed by reset, so that nothing stays. */
static void hold(int number, int connections) {
  struct linger reset = {.l_onoff = 1, .l_linger = 0};
  int one = 1;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in server = address_of(htonl(0x7f020000u + (unsigned)number), 7000);
  if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0) die("setsockopt");
  if (bind(listener, (struct sockaddr *)&server, sizeof server) != 0 || listen(listener, 128) != 0) die("listen");
  for (int i = 0; i < connections; i++) {
    struct sockaddr_in client = address_of(htonl(0x7f010000u + (unsigned)number), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) != 0) die("setsockopt");
    if (bind(fd, (struct sockaddr *)&client, sizeof client) != 0) die("bind");
    if (connect(fd, (struct sockaddr *)&server, sizeof server) != 0) die("connect");
    int accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (accepted < 0) die("accept");
    if (setsockopt(accepted, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) != 0) die("setsockopt");
  }
}

/* Clients of `count` listeners from `first` on, each through to `port`, where its backend accepts it: one at a time. */
static void through(const char *address, int first, int count, int connections, int port) {
  struct linger reset = {.l_onoff = 1, .l_linger = 0};
  int one = 1;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in backend = address_of(inet_addr(address), port);
  if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0) die("setsockopt");
  if (bind(listener, (struct sockaddr *)&backend, sizeof backend) != 0 || listen(listener, 128) != 0) die("listen");
  for (int i = 0; i < connections; i++) {
    struct sockaddr_in server = address_of(inet_addr(address), first + i % count);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) != 0) die("setsockopt");
    if (connect(fd, (struct sockaddr *)&server, sizeof server) != 0) die("connect");
    if (accept4(listener, NULL, NULL, SOCK_CLOEXEC) < 0) die("accept");
  }
  say_ready();
}

/* The children live until their parent closes `life`, or is gone. */
static void crowd(int first, int processes, int connections) {
  int ready[2], life[2];
  char byte = 0;
  if (pipe(ready) != 0 || pipe(life) != 0) die("pipe");
  for (int number = first; number < first + processes; number++) {
    pid_t child = fork();
    if (child < 0) die("fork");
    if (child > 0) continue;
    close(life[1]);
    hold(number, connections);
    if (write(ready[1], &byte, 1) != 1) die("write");
    while (read(life[0], &byte, 1) < 0 && errno == EINTR) continue;
    _exit(0);
  }
  close(ready[1]);
  for (int i = 0; i < processes; i++) {
    if (read(ready[0], &byte, 1) != 1) die("a process of the crowd ended");
  }
  say_ready();
  close(life[1]);
  while (wait(NULL) > 0) continue;
}

int main(int argc, char **argv) {
  raise_limit();
  if (argc == 6 && strcmp(argv[1], "probe") == 0) {
    probe(inet_addr(argv[2]), atoi(argv[3]), atoi(argv[4]), atoi(argv[5]));
    return 0;
  }
  if (argc >= 3 && strcmp(argv[1], "time") == 0) return run_timed(argv + 2);
  if (argc == 3 && strcmp(argv[1], "dump") == 0) {
    dump((unsigned)strtoul(argv[2], NULL, 0));
    return 0;
  }
  if (argc == 4 && strcmp(argv[1], "sync") == 0) {
    sync_files(argv[2], atoi(argv[3]));
    return 0;
  }
  if (argc == 4 && strcmp(argv[1], "bound") == 0) {
    bound(argv[2], atoi(argv[3]));
    return 0;
  }
  if (argc == 4 && strcmp(argv[1], "outgoing") == 0) {
    outgoing(argv[2], atoi(argv[3]));
    return 0;
  }
  if (argc == 5 && strcmp(argv[1], "crowd") == 0) {
    crowd(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]));
    return 0;
  }
  if (argc == 7 && strcmp(argv[1], "through") == 0) {
    through(argv[2], atoi(argv[3]), atoi(argv[4]), atoi(argv[5]), atoi(argv[6]));
    return 0;
  }
  fprintf(stderr, "usage: baseline probe ADDRESS FIRST COUNT BATCH | time PROGRAM... | dump STATES |\n"
                  "       sync DIRECTORY COUNT | bound ADDRESS PORT | outgoing ADDRESS PORT |\n"
                  "       crowd FIRST PROCESSES CONNECTIONS | through ADDRESS FIRST COUNT CONNECTIONS BACKEND-PORT\n");
  return 2;
}
