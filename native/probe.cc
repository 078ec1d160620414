// Test binds: bind(2) and nothing more. A probe never listens: a second listening socket would take connections of the
// first.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "kernel.h"

#ifndef IPV6_TRANSPARENT
#define IPV6_TRANSPARENT 75
#endif

namespace berth {

void UniqueFd::reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

bool parseAddress(const std::string& text, Endpoint* endpoint) {
  std::memset(endpoint->address, 0, sizeof(endpoint->address));
  return ::inet_pton(endpoint->v6 ? AF_INET6 : AF_INET, text.c_str(), endpoint->address) == 1;
}

namespace {

bool enable(int fd, int level, int name, int value = 1) {
  return ::setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

// What HAProxy sets before its own bind (src/sock_inet.c, src/proto_tcp.c) and the kernel's bind looks at.
Failure prepare(int fd, const Endpoint& endpoint) {
  if (endpoint.v6 && !enable(fd, IPPROTO_IPV6, IPV6_V6ONLY, endpoint.v6only ? 1 : 0))
    return failed("setsockopt(IPV6_V6ONLY)");
  if (endpoint.transparent) {
    bool foreign = endpoint.v6 ? enable(fd, IPPROTO_IPV6, IPV6_TRANSPARENT) : enable(fd, IPPROTO_IP, IP_TRANSPARENT);
    if (!foreign && !enable(fd, IPPROTO_IP, IP_FREEBIND)) return failed("setsockopt(IP_TRANSPARENT)");
  }
  if (!endpoint.device.empty() && ::setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, endpoint.device.c_str(),
                                               static_cast<socklen_t>(endpoint.device.size())) != 0) {
    return failed("setsockopt(SO_BINDTODEVICE)");
  }
  return {};
}

int bindTo(int fd, const Endpoint& endpoint) {
  if (endpoint.v6) {
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(endpoint.port);
    std::memcpy(&address.sin6_addr, endpoint.address, 16);
    return ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address));
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(endpoint.port);
  std::memcpy(&address.sin_addr, endpoint.address, 4);
  return ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address));
}

Failure reuse(int fd, bool port) {
  if (!enable(fd, SOL_SOCKET, SO_REUSEADDR)) return failed("setsockopt(SO_REUSEADDR)");
  if (port && !enable(fd, SOL_SOCKET, SO_REUSEPORT)) return failed("setsockopt(SO_REUSEPORT)");
  return {};
}

ProbeResult failure(Failure why) { return ProbeResult{Outcome::failed, -1, why}; }

ProbeResult bound(Outcome outcome, UniqueFd fd, bool keep) {
  return ProbeResult{outcome, keep ? fd.release() : -1, {}};
}

}  // namespace

ProbeResult probe(const Endpoint& endpoint, const ProbeOptions& options) {
  UniqueFd fd(::socket(endpoint.v6 ? AF_INET6 : AF_INET, (endpoint.udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0));
  if (!fd) return failure(failed("socket"));
  if (Failure why = prepare(fd.get(), endpoint)) return failure(why);

  if (endpoint.udp || !options.asHAProxy) {
    if (bindTo(fd.get(), endpoint) == 0) {
      // The options come after the strict bind, so that the socket is like one of HAProxy's own and HAProxy may bind
      // beside it. UDP gets SO_REUSEADDR alone: where HAProxy binds beside the guard instead of taking it, a guard with
      // SO_REUSEPORT is of HAProxy's reuseport group and is given datagrams that nobody reads; without, the socket
      // bound last gets them all.
      if (options.keep) {
        if (Failure why = reuse(fd.get(), !endpoint.udp)) return failure(why);
      }
      return bound(Outcome::free, std::move(fd), options.keep);
    }
    if (errno != EADDRINUSE) return failure(failed("bind"));
    // UDP ends here: a bind with any reuse option beside a live HAProxy succeeds and takes datagrams away from it.
    if (endpoint.udp) return ProbeResult{Outcome::busy, -1, {EADDRINUSE, "bind"}};
  }

  // HAProxy's own options. A failed bind leaves the socket as it was, so the same one serves again (5 us less).
  // Both options, never SO_REUSEADDR alone: on a port with 100k connections that walks them all under the bucket's
  // lock.
  if (Failure why = reuse(fd.get(), true)) return failure(why);
  if (bindTo(fd.get(), endpoint) == 0) return bound(Outcome::beside, std::move(fd), options.keep);
  if (errno == EADDRINUSE) return ProbeResult{Outcome::busy, -1, {EADDRINUSE, "bind"}};
  return failure(failed("bind"));
}

}  // namespace berth
