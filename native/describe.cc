// What the descriptors of this process are: the sockets that a keeper holds tell themselves where they are bound.
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>

#include "parse.h"

#ifndef SIOCGSKNS
#define SIOCGSKNS 0x894C
#endif
#ifndef IPV6_TRANSPARENT
#define IPV6_TRANSPARENT 75
#endif

namespace berth {

namespace {

constexpr uint8_t kStateListen = 10;  // linux/tcp_states.h
constexpr uint8_t kStateClose = 7;

int option(int fd, int level, int name, int otherwise) {
  int value = 0;
  socklen_t length = sizeof(value);
  return ::getsockopt(fd, level, name, &value, &length) == 0 ? value : otherwise;
}

uint32_t namespaceOf(int fd) {
  UniqueFd netns(::ioctl(fd, SIOCGSKNS));
  struct stat status{};
  return netns && ::fstat(netns.get(), &status) == 0 ? static_cast<uint32_t>(status.st_ino) : 0;
}

// The kernel looks the name up in the namespace of the socket, not in ours.
uint32_t deviceOf(int fd, SocketTable* table) {
  char name[IFNAMSIZ] = {};
  socklen_t length = sizeof(name);
  if (::getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &length) != 0 || name[0] == '\0') return 0;
  auto& devices = table->devices;
  auto found = std::find_if(devices.begin(), devices.end(), [&](const auto& device) { return device.second == name; });
  if (found != devices.end()) return found->first;
  devices.emplace_back(devices.size() + 1, name);
  return devices.back().first;
}

bool bound(const sockaddr_storage& address, SocketRow* row) {
  if (address.ss_family == AF_INET) {
    auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    row->family = 4;
    row->localPort = ntohs(v4.sin_port);
    std::memcpy(row->local, &v4.sin_addr, sizeof(v4.sin_addr));
  } else {
    auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    row->family = 6;
    row->localPort = ntohs(v6.sin6_port);
    std::memcpy(row->local, &v6.sin6_addr, sizeof(v6.sin6_addr));
  }
  return row->localPort != 0;
}

void addInet(const DescribedSocket& socket, int type, SocketRow row, DescribedSockets* result) {
  bool v6 = row.family == 6;
  row.udp = type == SOCK_DGRAM;
  row.state = socket.listening ? kStateListen : row.udp ? kStateClose : kStateBound;
  row.device = deviceOf(socket.fd, &result->table);
  row.v6only = v6 ? option(socket.fd, IPPROTO_IPV6, IPV6_V6ONLY, 2) : 0;
  row.transparent = v6 ? option(socket.fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 2) : option(socket.fd, IPPROTO_IP, IP_TRANSPARENT, 2);
  result->table.rows.push_back(row);
  result->inet.push_back(socket);
}

void addUnix(const DescribedSocket& socket, uint32_t inode, const sockaddr_storage& address, socklen_t length,
             DescribedSockets* result) {
  auto& local = reinterpret_cast<const sockaddr_un&>(address);
  constexpr size_t kHead = offsetof(sockaddr_un, sun_path);
  if (length <= kHead) return;  // not bound
  DescribedUnix entry;
  static_cast<DescribedSocket&>(entry) = socket;
  entry.name.inode = inode;
  parseUnixName(reinterpret_cast<const uint8_t*>(local.sun_path), std::min(length - kHead, sizeof(local.sun_path)),
                &entry.name);
  result->local.push_back(std::move(entry));
}

}  // namespace

DescribedSockets describeSockets(const std::vector<int>& fds) {
  DescribedSockets result;
  for (int fd : fds) {
    struct stat status{};
    if (::fstat(fd, &status) != 0 || !S_ISSOCK(status.st_mode)) continue;
    sockaddr_storage address{};
    socklen_t length = sizeof(address);
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) continue;
    DescribedSocket socket;
    socket.fd = fd;
    socket.listening = option(fd, SOL_SOCKET, SO_ACCEPTCONN, 0) != 0;
    socket.netns = namespaceOf(fd);
    auto inode = static_cast<uint32_t>(status.st_ino);
    int type = option(fd, SOL_SOCKET, SO_TYPE, 0);
    SocketRow row;
    row.inode = inode;
    if (address.ss_family == AF_UNIX) {
      addUnix(socket, inode, address, length, &result);
    } else if ((address.ss_family == AF_INET || address.ss_family == AF_INET6) &&
               (type == SOCK_STREAM || type == SOCK_DGRAM) && bound(address, &row)) {
      addInet(socket, type, row, &result);
    }
  }
  return result;
}

}  // namespace berth
