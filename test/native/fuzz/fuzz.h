// What the targets share. Each defines LLVMFuzzerTestOneInput (llvm.org/docs/LibFuzzer.html) and is given bytes as a
// hostile kernel, process or peer might choose them; a memory error, undefined behaviour or a broken MUST ends it.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "parse.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t length);

#define MUST(condition)                                                            \
  do {                                                                             \
    if (!(condition)) {                                                            \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                \
    }                                                                              \
  } while (0)

// The bytes alone, in memory of exactly their size: one that is read beyond them is seen.
inline std::vector<uint8_t> alone(const uint8_t* data, size_t length) {
  return std::vector<uint8_t>(data, data + length);
}

// Equal before and after where no descriptor is left open.
inline int lowestFree() {
  int fd = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
  ::close(fd);
  return fd;
}

// Two ends of a connection; what is written to `theirs` waits to be read from `ours`.
struct Connection {
  Connection() {
    int both[2];
    MUST(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, both) == 0);
    ours.reset(both[0]);
    theirs.reset(both[1]);
  }
  berth::UniqueFd ours, theirs;
};
