// The service manager's side of the descriptor store, and what our own descriptors say of themselves.
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <arpa/inet.h>

#include <cstddef>
#include <cstring>

#include "../../native/kernel.h"
#include "check.h"

using namespace berth;

namespace {

// A datagram socket with an abstract name, as systemd's is in a container.
UniqueFd manager(const char* name) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path + 1, name);
  auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + std::strlen(name));
  CHECK_EQUAL(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
  return fd;
}

std::string receive(int fd, std::vector<UniqueFd>* descriptors) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 253)];
  char text[256];
  iovec part{text, sizeof(text)};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t got = ::recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  if (got < 0) return "";
  if (cmsghdr* header = CMSG_FIRSTHDR(&message)) {
    for (size_t i = 0; i < (header->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
      int one;
      std::memcpy(&one, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      descriptors->emplace_back(one);
    }
  }
  return std::string(text, static_cast<size_t>(got));
}

UniqueFd boundTo(const char* address, int type, int port) {
  bool v6 = std::strchr(address, ':');
  UniqueFd fd(::socket(v6 ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, 0));
  sockaddr_in6 v6Address{};
  sockaddr_in v4Address{};
  v6Address.sin6_family = AF_INET6;
  v4Address.sin_family = AF_INET;
  v6Address.sin6_port = v4Address.sin_port = htons(static_cast<uint16_t>(port));
  ::inet_pton(AF_INET6, address, &v6Address.sin6_addr);
  ::inet_pton(AF_INET, address, &v4Address.sin_addr);
  auto* to = v6 ? reinterpret_cast<sockaddr*>(&v6Address) : reinterpret_cast<sockaddr*>(&v4Address);
  CHECK_EQUAL(::bind(fd.get(), to, v6 ? sizeof(v6Address) : sizeof(v4Address)), 0);
  return fd;
}

}  // namespace

TEST("a message carries up to 253 descriptors, not one more", [] {
  int before = openFiles();
  {
    UniqueFd service = manager("berth-test-store");
    std::vector<int> fds(253, STDOUT_FILENO);
    CHECK(!notifyService("@berth-test-store", "FDSTORE=1", fds));
    std::vector<UniqueFd> got;
    CHECK(receive(service.get(), &got) == "FDSTORE=1");
    CHECK_EQUAL(got.size(), 253);
    CHECK(!notifyService("@berth-test-store", "READY=1", {}));
    got.clear();
    CHECK(receive(service.get(), &got) == "READY=1");
    CHECK_EQUAL(got.size(), 0);
    fds.push_back(STDOUT_FILENO);
    CHECK_EQUAL(notifyService("@berth-test-store", "FDSTORE=1", fds).error, EINVAL);
    CHECK_EQUAL(notifyService("@berth-test-store", "FDSTORE=1", {1 << 20}).error, EBADF);
  }
  CHECK_EQUAL(openFiles(), before);
});

TEST("a service manager that is behind does not keep us waiting", [] {
  UniqueFd service = manager("berth-test-slow");
  Failure why;
  for (int i = 0; i < 100000 && !why; i++) why = notifyService("@berth-test-slow", "FDSTORE=1", {STDOUT_FILENO});
  CHECK_EQUAL(why.error, EAGAIN);
});

TEST("what was passed is adopted where it is a socket", [] {
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM, 0));
  UniqueFd file(::open("/dev/null", O_RDONLY));
  std::vector<int> adopted = adoptSockets({socket.get(), file.get(), 1 << 20, -1});
  CHECK_EQUAL(adopted.size(), 1);
  CHECK_EQUAL(adopted[0], socket.get());
  CHECK_EQUAL(::fcntl(socket.get(), F_GETFD), FD_CLOEXEC);
  CHECK_EQUAL(::fcntl(file.get(), F_GETFD), 0);
});

TEST("sockets tell where they are bound", [] {
  UniqueFd v4 = boundTo("127.0.0.1", SOCK_STREAM, 20000), v6 = boundTo("::1", SOCK_STREAM, 20001);
  UniqueFd udp = boundTo("127.0.0.1", SOCK_DGRAM, 20002), unbound(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  UniqueFd netlink(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0)), service = manager("berth-test-name");
  UniqueFd nameless(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  CHECK_EQUAL(::listen(v4.get(), 1), 0);
  CHECK_EQUAL(::setsockopt(v6.get(), SOL_SOCKET, SO_BINDTODEVICE, "lo", 3), 0);
  int before = openFiles();
  DescribedSockets sockets = describeSockets({v4.get(), v6.get(), udp.get(), unbound.get(), netlink.get(),
                                              service.get(), nameless.get(), STDOUT_FILENO, -1, 1 << 20});
  CHECK_EQUAL(openFiles(), before);
  CHECK_EQUAL(sockets.inet.size(), 3);
  CHECK_EQUAL(sockets.table.rows.size(), 3);
  struct stat status{}, netns{};
  ::fstat(v4.get(), &status);
  ::stat("/proc/thread-self/ns/net", &netns);
  const SocketRow* rows = sockets.table.rows.data();
  CHECK_EQUAL(sockets.inet[0].fd, v4.get());
  CHECK(sockets.inet[0].listening && !sockets.inet[1].listening && !sockets.inet[2].listening);
  CHECK_EQUAL(sockets.inet[0].netns, netns.st_ino);
  CHECK_EQUAL(rows[0].inode, status.st_ino);
  CHECK_EQUAL(rows[0].localPort, 20000);
  CHECK_EQUAL(rows[0].family, 4);
  CHECK_EQUAL(rows[0].state, 10);
  CHECK_EQUAL(rows[1].family, 6);
  CHECK_EQUAL(rows[1].v6only, 1);  // bind(2) sets it on a specific address
  CHECK_EQUAL(rows[1].transparent, 0);
  CHECK_EQUAL(rows[1].state, kStateBound);
  CHECK(sockets.table.devices.size() == 1 && sockets.table.devices[0].second == "lo");
  CHECK_EQUAL(rows[1].device, sockets.table.devices[0].first);
  CHECK_EQUAL(rows[2].udp, 1);
  CHECK_EQUAL(sockets.local.size(), 1);
  CHECK(sockets.local[0].name.abstract && sockets.local[0].name.path == "berth-test-name");
});

TEST("descriptors are copied, all or none", [] {
  int before = openFiles();
  Result<std::vector<int>> copies = copyDescriptors({STDOUT_FILENO, STDERR_FILENO});
  CHECK_EQUAL(copies.value.size(), 2);
  CHECK_EQUAL(::fcntl(copies.value[0], F_GETFD), FD_CLOEXEC);
  for (int copy : copies.value) ::close(copy);
  CHECK_EQUAL(copyDescriptors({STDOUT_FILENO, 1 << 20}).failure.error, EBADF);
  CHECK_EQUAL(openFiles(), before);
});
