// The fallback where sock_diag is missing: /proc/thread-self/net, which is the calling thread's namespace (/proc/net
// and /proc/self/net are the main thread's). It shows neither bound-and-silent TCP sockets, nor devices, nor cookies.
#include <fcntl.h>
#include <unistd.h>

#include "parse.h"

namespace berth {

namespace {

// Calls `each(line)` for all lines but the first, which is the heading.
template <typename Each>
Failure eachLine(const char* path, Each each) {
  UniqueFd fd(retry([&] { return ::open(path, O_RDONLY | O_CLOEXEC); }));
  if (!fd) return failed("open");
  Lines lines;
  char buffer[65536];  // the kernel gives about one page a read
  for (;;) {
    ssize_t got = retry([&] { return ::read(fd.get(), buffer, sizeof(buffer)); });
    if (got < 0) return failed("read");
    if (got == 0) return {};
    lines.feed(std::string_view(buffer, static_cast<size_t>(got)), each);
  }
}

}  // namespace

Failure readProcNet(const SocketQuery& query, std::vector<SocketRow>* rows) {
  static const long ticksPerSecond = ::sysconf(_SC_CLK_TCK);
  PortBits bits(query.ports);
  for (bool v6 : {false, true}) {
    std::string path = std::string("/proc/thread-self/net/") + (query.udp ? "udp" : "tcp") + (v6 ? "6" : "");
    Failure why = eachLine(path.c_str(), [&](std::string_view line) {
      SocketRow row;
      if (!parseProcSocket(line, v6, query.udp, &row)) return;
      row.expires = static_cast<uint32_t>(row.expires * uint64_t{1000} / static_cast<uint64_t>(ticksPerSecond));
      if ((query.states >> row.state & 1) && (!query.byPort || bits.has(row.localPort))) rows->push_back(row);
    });
    if (why.error == ENOENT && v6) continue;  // a kernel without IPv6
    if (why) return why;
  }
  return {};
}

Result<std::vector<UnixListener>> readProcUnix() {
  std::vector<UnixListener> listeners;
  Failure why = eachLine("/proc/thread-self/net/unix", [&](std::string_view line) {
    UnixListener listener;
    if (parseProcUnix(line, &listener)) listeners.push_back(std::move(listener));
  });
  if (why) return why;
  return listeners;
}

}  // namespace berth
