// The cells of the kernel's bind conflict matrix that decide about a reload.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../native/kernel.h"
#include "check.h"

using namespace berth;

namespace {

constexpr uint16_t kPort = 30000;
enum Options { strict = 0, reuseAddress = 1, reusePort = 2, both = 3, noPort = 4 };

void set(int fd, int level, int name) {
  int one = 1;
  CHECK(::setsockopt(fd, level, name, &one, sizeof(one)) == 0);
}

sockaddr_in at(const char* address, uint16_t port) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_port = htons(port);
  ::inet_pton(AF_INET, address, &result.sin_addr);
  return result;
}

UniqueFd bound(int options, uint16_t port = kPort, const char* address = "127.0.0.1", int type = SOCK_STREAM) {
  UniqueFd fd(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
  if (options & reuseAddress) set(fd.get(), SOL_SOCKET, SO_REUSEADDR);
  if (options & reusePort) set(fd.get(), SOL_SOCKET, SO_REUSEPORT);
  if (options & noPort) set(fd.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT);
  sockaddr_in where = at(address, options & noPort ? 0 : port);
  CHECK(::bind(fd.get(), reinterpret_cast<sockaddr*>(&where), sizeof(where)) == 0);
  return fd;
}

UniqueFd listening(int options, uint16_t port = kPort, const char* address = "127.0.0.1") {
  UniqueFd fd = bound(options, port, address);
  CHECK(::listen(fd.get(), 8) == 0);
  return fd;
}

void join(int fd, uint16_t port) {
  sockaddr_in where = at("127.0.0.1", port);
  CHECK(::connect(fd, reinterpret_cast<sockaddr*>(&where), sizeof(where)) == 0);
}

uint16_t portOf(int fd) {
  sockaddr_in where{};
  socklen_t length = sizeof(where);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&where), &length);
  return ntohs(where.sin_port);
}

Endpoint endpoint(uint16_t port = kPort, const char* address = "127.0.0.1") {
  Endpoint result;
  result.v6 = std::string(address).find(':') != std::string::npos;
  result.port = port;
  CHECK(parseAddress(address, &result));
  return result;
}

Outcome look(const Endpoint& where, bool asHAProxy = false) { return probe(where, {false, asHAProxy}).outcome; }

#define CHECK_OUTCOME(where, expected)     \
  CHECK(look(where) == Outcome::expected); \
  CHECK(look(where, true) == (Outcome::expected == Outcome::busy ? Outcome::busy : Outcome::beside))

TEST("nobody: free", [] { CHECK_OUTCOME(endpoint(), free); });

TEST("listeners: HAProxy's own is beside, all others are busy", [] {
  {
    UniqueFd holder = listening(both);
    CHECK_OUTCOME(endpoint(), beside);
    CHECK_OUTCOME(endpoint(kPort, "0.0.0.0"), beside);
  }
  {
    UniqueFd holder = listening(reusePort);
    CHECK_OUTCOME(endpoint(), beside);
  }
  {
    UniqueFd holder = listening(reuseAddress);
    CHECK_OUTCOME(endpoint(), busy);
    CHECK_OUTCOME(endpoint(kPort, "0.0.0.0"), busy);
  }
  {
    UniqueFd holder = listening(strict);
    CHECK_OUTCOME(endpoint(), busy);
    CHECK_OUTCOME(endpoint(kPort, "127.0.0.2"), free);
  }
  {
    UniqueFd holder = listening(strict, kPort, "0.0.0.0");
    CHECK_OUTCOME(endpoint(), busy);
    CHECK_OUTCOME(endpoint(kPort, "::"), busy);
  }
});

TEST("a listener of another user is busy, SO_REUSEPORT or not", [] {
  CHECK(::seteuid(65534) == 0);
  UniqueFd holder = listening(both);
  CHECK(::seteuid(0) == 0);
  CHECK_OUTCOME(endpoint(), busy);
});

TEST("bound and silent: strict ones are busy, reusable ones are beside", [] {
  {
    UniqueFd holder = bound(strict);
    CHECK_OUTCOME(endpoint(), busy);
  }
  {
    UniqueFd holder = bound(reuseAddress);
    CHECK_OUTCOME(endpoint(), beside);
  }
  {
    UniqueFd holder = bound(both);
    CHECK_OUTCOME(endpoint(), beside);
  }
  {
    UniqueFd holder = bound(strict, kPort, "127.0.0.1", SOCK_DGRAM);
    CHECK_OUTCOME(endpoint(), free);
  }
});

TEST("a guard: HAProxy binds beside it and listens; it survives", [] {
  ProbeResult guard = probe(endpoint(), {true, false});
  UniqueFd holder(guard.fd);
  CHECK(guard.outcome == Outcome::free && holder);
  CHECK_OUTCOME(endpoint(), beside);
  UniqueFd haproxy = listening(both);
  CHECK_OUTCOME(endpoint(), beside);
  ProbeResult second = probe(endpoint(), {true, false});
  UniqueFd besideIt(second.fd);
  CHECK(second.outcome == Outcome::beside && besideIt);
});

TEST("outgoing connections: busy, until they carry SO_REUSEADDR", [] {
  UniqueFd backend = listening(reuseAddress, 31000);
  UniqueFd out(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  join(out.get(), 31000);
  Endpoint where = endpoint(portOf(out.get()));
  CHECK_OUTCOME(where, busy);
  set(out.get(), SOL_SOCKET, SO_REUSEADDR);
  CHECK_OUTCOME(where, beside);
  UniqueFd source = bound(reuseAddress | noPort);
  join(source.get(), 31000);
  CHECK_OUTCOME(endpoint(portOf(source.get())), beside);
});

TEST("accepted connections and TIME_WAIT inherit what their listener had", [] {
  for (int options : {strict, both}) {
    uint16_t port = options == strict ? 32000 : 32001;
    UniqueFd listener = listening(options, port);
    UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    join(client.get(), port);
    UniqueFd accepted(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    listener.reset();
    if (options == strict) {
      CHECK_OUTCOME(endpoint(port), busy);
    } else {
      CHECK_OUTCOME(endpoint(port), beside);
    }
    accepted.reset();
    client.reset();
    if (options == strict) {
      CHECK_OUTCOME(endpoint(port), busy);
    } else {
      CHECK_OUTCOME(endpoint(port), beside);
    }
  }
});

TEST("a listener bound to a device is in the way of all but other devices", [] {
  UniqueFd holder(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  CHECK(::setsockopt(holder.get(), SOL_SOCKET, SO_BINDTODEVICE, "lo", 2) == 0);
  sockaddr_in where = at("0.0.0.0", kPort);
  CHECK(::bind(holder.get(), reinterpret_cast<sockaddr*>(&where), sizeof(where)) == 0 &&
        ::listen(holder.get(), 1) == 0);
  Endpoint onDevice = endpoint();
  onDevice.device = "lo";
  CHECK_OUTCOME(onDevice, busy);
  CHECK_OUTCOME(endpoint(), busy);
});

TEST("UDP: any holder is busy, and a probe never takes a port that is in use", [] {
  Endpoint where = endpoint();
  where.udp = true;
  CHECK(look(where) == Outcome::free);
  for (int options : {strict, reuseAddress, reusePort, both}) {
    UniqueFd holder = bound(options, kPort, "127.0.0.1", SOCK_DGRAM);
    CHECK(look(where) == Outcome::busy);
    CHECK(look(where, true) == Outcome::busy);
  }
  ProbeResult guard = probe(where, {true, false});
  UniqueFd held(guard.fd);
  UniqueFd haproxy = bound(both, kPort, "127.0.0.1", SOCK_DGRAM);
  UniqueFd sender(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  join(sender.get(), kPort);
  for (int i = 0; i < 100; i++) CHECK(::send(sender.get(), "x", 1, 0) == 1);
  char byte;
  int received = 0;
  while (::recv(haproxy.get(), &byte, 1, MSG_DONTWAIT) == 1) received++;
  CHECK_EQUAL(received, 100);
});

TEST("no descriptor left: EMFILE, nothing leaks", [] {
  int before = openFiles();
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  rlimit low = limit;
  low.rlim_cur = static_cast<rlim_t>(before + 10);
  CHECK(::setrlimit(RLIMIT_NOFILE, &low) == 0);
  std::vector<UniqueFd> guards;
  int missed = 0;
  for (uint16_t i = 0; i < 50; i++) {
    ProbeResult result = probe(endpoint(static_cast<uint16_t>(kPort + i)), {true, false});
    if (result.outcome == Outcome::failed) {
      missed++;
      CHECK_EQUAL(result.failure.error, EMFILE);
      CHECK(std::string(result.failure.syscall) == "socket");
      CHECK(result.fd == -1);
    } else {
      guards.emplace_back(result.fd);
    }
  }
  ::setrlimit(RLIMIT_NOFILE, &limit);
  CHECK(missed >= 35 && missed < 50);
  guards.clear();
  CHECK_EQUAL(openFiles(), before);
});

}  // namespace
