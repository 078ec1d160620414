// Messages and descriptors to the service manager, and what it gives back: sd_notify(3), sd_pid_notify_with_fds(3),
// sd_listen_fds(3).
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>

#include "kernel.h"

namespace berth {

Failure notifyService(const std::string& socketPath, const std::string& message, const std::vector<int>& fds) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socketPath.empty() || socketPath.size() >= sizeof(address.sun_path)) return Failure{ENAMETOOLONG, "sendmsg"};
  std::memcpy(address.sun_path, socketPath.data(), socketPath.size());
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';  // abstract
  UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return failed("socket");

  iovec part{const_cast<char*>(message.data()), message.size()};
  msghdr header{};
  header.msg_name = &address;
  header.msg_namelen = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socketPath.size());
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  size_t bytes = fds.size() * sizeof(int);
  // Of a vector of cmsghdr, for its alignment.
  std::vector<cmsghdr> control(CMSG_SPACE(bytes) / sizeof(cmsghdr) + 1);
  if (!fds.empty()) {
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(bytes);
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(bytes);
    std::memcpy(CMSG_DATA(rights), fds.data(), bytes);
  }
  ssize_t sent = retry([&] { return ::sendmsg(socket.get(), &header, MSG_NOSIGNAL | MSG_DONTWAIT); });
  return sent < 0 ? failed("sendmsg") : Failure{};
}

Result<std::vector<int>> copyDescriptors(const std::vector<int>& fds) {
  std::vector<UniqueFd> copies;
  for (int fd : fds) {
    copies.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!copies.back()) return failed("fcntl");
  }
  std::vector<int> result;
  for (UniqueFd& copy : copies) result.push_back(copy.release());
  return result;
}

std::vector<int> adoptSockets(const std::vector<int>& fds) {
  std::vector<int> sockets;
  for (int fd : fds) {
    struct stat status{};
    if (::fstat(fd, &status) != 0 || !S_ISSOCK(status.st_mode)) continue;
    int flags = ::fcntl(fd, F_GETFD);
    if (flags >= 0 && ::fcntl(fd, F_SETFD, flags | FD_CLOEXEC) == 0) sockets.push_back(fd);
  }
  return sockets;
}

}  // namespace berth
