// The fallback where sock_diag is missing: /proc/thread-self/net, which is the calling thread's namespace (/proc/net
// and /proc/self/net are the main thread's). It shows neither bound-and-silent TCP sockets, nor devices, nor cookies.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernel.h"

namespace berth {

namespace {

constexpr uint8_t kNewSynReceived = 12;
constexpr uint8_t kSynReceived = 3;

// Calls `each(line)` (without newline, NUL-terminated) for all lines but the first, which is the heading.
template <typename Each>
Failure eachLine(const char* path, Each each) {
  UniqueFd fd(retry([&] { return ::open(path, O_RDONLY | O_CLOEXEC); }));
  if (!fd) return failed("open");
  std::string pending;
  bool heading = true;
  char buffer[65536];  // the kernel gives about one page a read
  for (;;) {
    ssize_t got = retry([&] { return ::read(fd.get(), buffer, sizeof(buffer)); });
    if (got < 0) return failed("read");
    if (got == 0) return {};
    pending.append(buffer, static_cast<size_t>(got));
    size_t start = 0;
    for (size_t end; (end = pending.find('\n', start)) != std::string::npos; start = end + 1) {
      pending[end] = '\0';
      if (!heading) each(pending.c_str() + start);
      heading = false;
    }
    pending.erase(0, start);
  }
}

// Addresses are printed as host-order words of the network-order bytes: reading a word back restores them.
const char* readAddress(const char* at, size_t words, uint8_t* address, uint16_t* port) {
  for (size_t i = 0; i < words; i++, at += 8) {
    char word[9] = {};
    std::memcpy(word, at, 8);
    uint32_t value = static_cast<uint32_t>(std::strtoul(word, nullptr, 16));
    std::memcpy(address + 4 * i, &value, 4);
  }
  char* end;
  *port = static_cast<uint16_t>(std::strtoul(at + 1, &end, 16));  // after the colon
  return *end == ' ' ? end + 1 : end;
}

bool parseRow(const char* line, bool v6, bool udp, SocketRow* row) {
  size_t words = v6 ? 4 : 1;
  const char* at = std::strchr(line, ':');
  if (!at || std::strlen(at) < 2 + 2 * (8 * words + 6)) return false;
  at = readAddress(at + 2, words, row->local, &row->localPort);
  at = readAddress(at, words, row->remote, &row->remotePort);
  unsigned state, timer, uid;
  unsigned long when, inode;
  if (std::sscanf(at, "%x %*x:%*x %x:%lx %*x %u %*u %lu", &state, &timer, &when, &uid, &inode) != 5) return false;
  row->family = v6 ? 6 : 4;
  row->udp = udp;
  row->state = static_cast<uint8_t>(state == kNewSynReceived ? kSynReceived : state);
  row->timer = static_cast<uint8_t>(timer);
  static const long ticksPerSecond = ::sysconf(_SC_CLK_TCK);
  row->expires = static_cast<uint32_t>(when * 1000 / static_cast<unsigned long>(ticksPerSecond));
  row->uid = uid;
  row->inode = static_cast<uint32_t>(inode);
  return true;
}

}  // namespace

Failure readProcNet(const SocketQuery& query, std::vector<SocketRow>* rows) {
  PortBits bits(query.ports);
  for (bool v6 : {false, true}) {
    std::string path = std::string("/proc/thread-self/net/") + (query.udp ? "udp" : "tcp") + (v6 ? "6" : "");
    Failure why = eachLine(path.c_str(), [&](const char* line) {
      SocketRow row;
      if (!parseRow(line, v6, query.udp, &row)) return;
      if ((query.states >> row.state & 1) && (!query.byPort || bits.has(row.localPort))) rows->push_back(row);
    });
    if (why.error == ENOENT && v6) continue;  // a kernel without IPv6
    if (why) return why;
  }
  return {};
}

Result<std::vector<UnixListener>> readProcUnix() {
  std::vector<UnixListener> listeners;
  Failure why = eachLine("/proc/thread-self/net/unix", [&](const char* line) {
    constexpr unsigned kAcceptsConnections = 1u << 16;  // __SO_ACCEPTCON, include/linux/net.h
    unsigned flags;
    unsigned long inode;
    int path = 0;
    if (std::sscanf(line, "%*x: %*x %*x %x %*x %*x %lu %n", &flags, &inode, &path) != 2 ||
        !(flags & kAcceptsConnections))
      return;
    UnixListener listener;
    listener.inode = static_cast<uint32_t>(inode);
    if (path) listener.path = line + path;
    listener.abstract = !listener.path.empty() && listener.path[0] == '@';
    if (listener.abstract) listener.path.erase(0, 1);
    listeners.push_back(listener);
  });
  if (why) return why;
  return listeners;
}

}  // namespace berth
