// Runs all native tests in a network namespace of its own. Needs root; under BERTH_MUST_RUN=1 a skip is a failure.
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "check.h"

static bool enterOwnNamespace() {
  if (::unshare(CLONE_NEWNET) != 0) return false;
  int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  bool up = ::ioctl(fd, SIOCGIFFLAGS, &request) == 0;
  request.ifr_flags |= IFF_UP;
  up = up && ::ioctl(fd, SIOCSIFFLAGS, &request) == 0;
  ::close(fd);
  return up;
}

int main() {
  if (!enterOwnNamespace()) {
    const char* must = std::getenv("BERTH_MUST_RUN");
    std::printf("skipped: no network namespace of its own: %s\n", std::strerror(errno));
    return must && std::strcmp(must, "1") == 0 ? 1 : 0;
  }
  int passed = 0, failed = 0;
  for (const Test& test : tests()) {
    int before = failures();
    test.run();
    bool ok = failures() == before;
    (ok ? passed : failed)++;
    std::printf("%s %s\n", ok ? "ok    " : "FAILED", test.name);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed ? 1 : 0;
}
