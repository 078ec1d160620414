/*
 * Clients that cost little: thousands of new connections a second, and long ones that carry data all the while, in one
 * thread and a small share of a processor, so that what is measured beside them is not starved. Built with cc -O2.
 *
 *   traffic clients HOST RATE LONG LIFE_MS HANG_MS
 *     RATE short connections a second: "bye\n", wait for the answer, reset, so that no TIME_WAIT is left;
 *     LONG long ones: "ping\n" every 200 ms, each closed first by this side after half to all of LIFE_MS (0: never) and
 *     replaced. HANG_MS without an answer is a hang.
 *     Standard input: `aim PORT…` (all of them, round robin) answers {"event":"aimed"} when every connection begun before
 *     has been served or has failed; `report` and `stop` answer with the counts; the end of the input ends it at once.
 *   traffic echo HOST PORT…
 *     Sends back what it gets, closes first after what begins with "bye". {"event":"ready"}; ends with its input.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_OPEN = 500, PING_US = 200000, SCAN_US = 20000, OCTAVE = 16, BUCKETS = 32 * OCTAVE };

typedef long long us;

static void die(const char *what) {
  fprintf(stderr, "traffic: %s: %s\n", what, strerror(errno));
  exit(1);
}

static us now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000LL + time.tv_nsec / 1000;
}

static int epoll;

static void watch(int fd, void *what, unsigned events) {
  struct epoll_event event = {.events = events, .data = {.ptr = what}};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl");
}

/* --- The echo --- */

struct server {
  int fd, listens;
};

static void serve(struct server *server) {
  char text[4096];
  ssize_t got = read(server->fd, text, sizeof text);
  if (got > 0 && write(server->fd, text, (size_t)got) == got && text[0] != 'b') return;
  if (got < 0 && errno == EAGAIN) return;
  close(server->fd);
  free(server);
}

static struct server *server_of(int fd, int listens) {
  struct server *server = malloc(sizeof *server);
  *server = (struct server){fd, listens};
  watch(fd, server, EPOLLIN);
  return server;
}

static void echo(const char *host, int count, char **ports) {
  int one = 1;
  for (int i = 0; i < count; i++) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(ports[i]))};
    address.sin_addr.s_addr = inet_addr(host);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 4096) != 0) die("listen");
    server_of(fd, 1);
  }
  struct server input = {0, 0};
  watch(0, &input, EPOLLIN);
  puts("{\"event\":\"ready\"}");
  fflush(stdout);
  for (;;) {
    struct epoll_event events[256];
    int ready = epoll_wait(epoll, events, 256, -1);
    for (int i = 0; i < ready; i++) {
      struct server *server = events[i].data.ptr;
      if (server == &input) return;
      if (!server->listens) {
        serve(server);
        continue;
      }
      for (int fd; (fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0;) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        server_of(fd, 0);
      }
      if (errno == EMFILE || errno == ENFILE) die("accept");
    }
  }
}

/* --- The clients --- */

struct connection {
  int fd, port, is_long, connected, up, waits;
  unsigned batch;
  us began, asked, ends;
  struct connection *next, *before;
};

/* In the order of the report. */
enum outcome { OK, REFUSED, RESET, END, HUNG, OTHER, OUTCOMES };
static const char *const OUTCOME[] = {"ok", "refused", "reset", "eof", "hung", "other"};

static struct {
  long long attempts, shorts[OUTCOMES], skipped, replaced, cut[OUTCOMES], failed[OUTCOMES], echoes;
  long long connects[BUCKETS], answers[BUCKETS];
} counts;
static struct connection everyone = {.next = &everyone, .before = &everyone};
static struct sockaddr_in target;
static int ports[65536], port_count, port_next, open_shorts, open_longs, last_errno;
static unsigned batch, unserved[2];
static us life, hang, began;

/* Sixteenths of an octave: within 7 %. */
static int bucket(us time) {
  if (time < OCTAVE) return time < 0 ? 0 : (int)time;
  int octave = 63 - __builtin_clzll((unsigned long long)time);
  int at = (octave - 3) * OCTAVE + (int)(time >> (octave - 4)) - OCTAVE;
  return at < BUCKETS ? at : BUCKETS - 1;
}

static double bound_ms(int at) {
  if (at < OCTAVE) return at / 1000.0;
  return (double)((1LL + OCTAVE + at % OCTAVE) << (at / OCTAVE - 1)) / 1000.0;
}

static double quantile(const long long *buckets, double share) {
  long long all = 0, sum = 0;
  for (int at = 0; at < BUCKETS; at++) all += buckets[at];
  for (int at = 0; at < BUCKETS; at++) {
    sum += buckets[at];
    if (sum > 0 && (double)sum >= share * (double)all) return bound_ms(at);
  }
  return 0;
}

static void settled(struct connection *one) {
  if (one->up) return;
  unserved[one->batch & 1]--;
  one->up = 1;
}

static void forget(struct connection *one, int orderly) {
  struct linger reset = {.l_onoff = 1, .l_linger = 0};
  if (!orderly) setsockopt(one->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  close(one->fd);
  one->next->before = one->before;
  one->before->next = one->next;
  *(one->is_long ? &open_longs : &open_shorts) -= 1;
  free(one);
}

static enum outcome of_errno(int error) {
  last_errno = error;
  return error == ECONNREFUSED ? REFUSED : error == ECONNRESET || error == EPIPE ? RESET : OTHER;
}

static void done(struct connection *one, enum outcome how) {
  long long *count = !one->is_long ? counts.shorts : one->up ? counts.cut : counts.failed;
  count[how]++;
  static int told;
  if (how != OK && told++ < 20) {
    fprintf(stderr, "traffic: %s %s: port %d, %s, %lld ms after its begin%s%s\n", one->is_long ? "long" : "short",
            OUTCOME[how], one->port, one->connected ? "connected" : "not connected", (now() - one->began) / 1000,
            how == OTHER ? ": " : "", how == OTHER ? strerror(last_errno) : "");
  }
  settled(one);
  forget(one, 0);
}

static void dial(int is_long) {
  if (port_count == 0) return;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) die("socket");
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  struct connection *made = calloc(1, sizeof *made);
  us time = now();
  *made = (struct connection){.fd = fd, .port = ports[port_next++ % port_count], .is_long = is_long, .batch = batch};
  made->began = made->asked = time;
  made->ends = is_long && life > 0 ? time + life / 2 + random() % (life / 2) : 0;
  made->next = everyone.next;
  made->before = &everyone;
  everyone.next->before = made;
  everyone.next = made;
  *(is_long ? &open_longs : &open_shorts) += 1;
  unserved[batch & 1]++;
  counts.attempts++;
  target.sin_port = htons((unsigned short)made->port);
  if (connect(fd, (struct sockaddr *)&target, sizeof target) != 0 && errno != EINPROGRESS)
    return done(made, of_errno(errno));
  watch(fd, made, EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP);
}

static int ask(struct connection *one, us time) {
  const char *text = one->is_long ? "ping\n" : "bye\n";
  one->asked = time;
  one->waits = 1;
  return send(one->fd, text, strlen(text), MSG_NOSIGNAL) > 0;
}

static void handle(struct connection *one, unsigned events) {
  us time = now();
  if (!one->connected) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(one->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return done(one, of_errno(error));
    if (!(events & EPOLLOUT)) return;
    one->connected = 1;
    counts.connects[bucket(time - one->began)]++;
    if (!ask(one, time)) return done(one, of_errno(errno));
  }
  for (;;) {
    char text[256];
    ssize_t got = read(one->fd, text, sizeof text);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return done(one, got == 0 ? END : of_errno(errno));
    if (text[got - 1] != '\n') continue;
    if (!one->is_long) {
      counts.answers[bucket(time - one->began)]++;
      return done(one, OK);
    }
    counts.echoes++;
    settled(one);
    one->waits = 0;
  }
}

/* Long connections at the end of their life, the next pings, and who has waited for too long. */
static void scan(us time) {
  for (struct connection *one = everyone.next, *next; one != &everyone; one = next) {
    next = one->next;
    if ((one->waits || !one->connected) && time - one->asked > hang) done(one, HUNG);
    else if (one->is_long && one->up && !one->waits) {
      if (one->ends != 0 && time > one->ends) {
        counts.replaced++;
        forget(one, 1);
      } else if (time - one->asked > PING_US && !ask(one, time)) done(one, of_errno(errno));
    }
  }
}

static void list(const char *name, const long long *outcomes) {
  printf(",\"%s\":{", name);
  for (int how = 0; how < OUTCOMES; how++) printf("%s\"%s\":%lld", how > 0 ? "," : "", OUTCOME[how], outcomes[how]);
  printf("}");
}

static void report(const char *event) {
  printf("{\"event\":\"%s\",\"seconds\":%.3f,\"attempts\":%lld,\"skipped\":%lld,\"open\":%d,\"long\":%d", event,
         (double)(now() - began) / 1e6, counts.attempts, counts.skipped, open_shorts, open_longs);
  printf(",\"replaced\":%lld,\"echoes\":%lld", counts.replaced, counts.echoes);
  list("short", counts.shorts);
  list("cut", counts.cut);
  list("failed", counts.failed);
  printf(",\"connectMs\":{\"p50\":%.3f,\"p99\":%.3f,\"max\":%.3f}", quantile(counts.connects, .5),
         quantile(counts.connects, .99), quantile(counts.connects, 1));
  printf(",\"answerMs\":{\"p50\":%.3f,\"p99\":%.3f,\"max\":%.3f}}\n", quantile(counts.answers, .5),
         quantile(counts.answers, .99), quantile(counts.answers, 1));
  fflush(stdout);
}

static void aim(char *words) {
  port_count = 0;
  for (char *word = strtok(words, " "); word && port_count < 65536; word = strtok(NULL, " "))
    ports[port_count++] = atoi(word);
}

/* One line of standard input. @returns whether to stop */
static int command(char *line, int *aiming) {
  if (strncmp(line, "aim", 3) == 0) {
    aim(line + 3);
    batch++;
    *aiming = 1;
  } else if (strcmp(line, "report") == 0) report("report");
  return strcmp(line, "stop") == 0;
}

static void clients(const char *host, double rate, int longs) {
  static char input[1 << 20];
  size_t filled = 0;
  int stopping = 0, aiming = 0;
  target.sin_family = AF_INET;
  target.sin_addr.s_addr = inet_addr(host);
  watch(0, NULL, EPOLLIN);
  began = now();
  double due = 0;
  puts("{\"event\":\"ready\"}");
  fflush(stdout);
  for (us last = began, scanned = 0;;) {
    struct epoll_event events[512];
    int ready = epoll_wait(epoll, events, 512, 1);
    for (int i = 0; i < ready; i++) {
      if (events[i].data.ptr) {
        handle(events[i].data.ptr, events[i].events);
        continue;
      }
      ssize_t got = read(0, input + filled, sizeof input - filled - 1);
      if (got <= 0) return;
      filled += (size_t)got;
      for (char *end; (end = memchr(input, '\n', filled)) != NULL;) {
        *end = 0;
        stopping |= command(input, &aiming);
        filled -= (size_t)(end + 1 - input);
        memmove(input, end + 1, filled);
      }
    }
    us time = now();
    if (time - scanned > SCAN_US) scan(scanned = time);
    if (aiming && unserved[(batch & 1) ^ 1] == 0) {
      aiming = 0;
      puts("{\"event\":\"aimed\"}");
      fflush(stdout);
    }
    if (stopping) {
      for (struct connection *one = everyone.next, *next; one != &everyone; one = next) {
        next = one->next;
        if (one->is_long && one->up) forget(one, 1);
      }
      if (everyone.next != &everyone) continue;
      report("final");
      return;
    }
    /* After a pause of this process itself (a busy machine) the arrears are dropped, not fired off in one burst. */
    due += rate * (double)(time - last) / 1e6;
    if (due > rate / 10 + 1) due = rate / 10 + 1;
    last = time;
    for (; due >= 1; due--) {
      if (open_shorts < MAX_OPEN) dial(0);
      else counts.skipped++;
    }
    for (int more = 16; more > 0 && open_longs < longs && port_count > 0; more--) dial(1);
  }
}

int main(int count, char **words) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  epoll = epoll_create1(EPOLL_CLOEXEC);
  if (count >= 4 && strcmp(words[1], "echo") == 0) echo(words[2], count - 3, words + 3);
  else if (count == 7 && strcmp(words[1], "clients") == 0) {
    life = 1000LL * atoi(words[5]);
    hang = 1000LL * atoi(words[6]);
    clients(words[2], atof(words[3]), atoi(words[4]));
  } else {
    fputs("traffic: see the head of traffic.c\n", stderr);
    return 2;
  }
  return 0;
}
