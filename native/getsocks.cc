// Both sides of HAProxy's `_getsocks`, by which a new process takes the listening sockets of an old one (-x):
//   asker: "_getsocks\n"      server: int, how many descriptors
//   then, until all are there,  server: at most 252 descriptors (SCM_RIGHTS); data: for each its namespace and its
//   interface, both as one byte of length and the name, and four zero bytes   asker: int, how many it has got
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>

#include "kernel.h"

namespace berth {

namespace {

constexpr char kCommand[] = "_getsocks\n";
constexpr size_t kCommandLength = sizeof(kCommand) - 1;
constexpr int kMostSockets = 1 << 20;
constexpr size_t kBytesPerDescriptor = 1 + 255 + 1 + 255 + 4;
// One more than a peer may send, so that a descriptor too many is seen (and closed), not cut off.
constexpr size_t kControlSpace = CMSG_SPACE(sizeof(int) * (kDescriptorsPerMessage + 1));

// Waits on one non-blocking socket with a deadline for the whole exchange.
class Patience {
 public:
  Patience(int timeoutMs, int cancel)
      : end_(std::chrono::steady_clock::now() + std::chrono::milliseconds(timeoutMs)), cancel_(cancel) {}

  Failure wait(int fd, short events) {
    for (;;) {
      auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(end_ - std::chrono::steady_clock::now()).count();
      if (left <= 0) return Failure{ETIMEDOUT, "poll"};
      pollfd watched[2] = {{fd, events, 0}, {cancel_, POLLIN, 0}};
      int ready = ::poll(watched, 2, static_cast<int>(left));
      if (ready < 0 && errno != EINTR) return failed("poll");
      // What has come before the cancellation still counts: an acknowledgement that is there was given.
      if (ready > 0 && watched[0].revents) return {};
      if (ready > 0 && watched[1].revents) return Failure{ECANCELED, "poll"};
    }
  }

  // Repeats a call that would block; its result, or the failure of the wait or the call.
  template <typename Call>
  Result<size_t> until(int fd, short events, const char* name, Call call) {
    for (;;) {
      ssize_t done = retry(call);
      if (done >= 0) return static_cast<size_t>(done);
      if (errno != EAGAIN) return failed(name);
      if (Failure why = wait(fd, events)) return why;
    }
  }

 private:
  std::chrono::steady_clock::time_point end_;
  int cancel_;
};

Failure address(const std::string& path, sockaddr_un* result, socklen_t* length) {
  *result = {};
  result->sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(result->sun_path)) return Failure{ENAMETOOLONG, "bind"};
  std::memcpy(result->sun_path, path.data(), path.size());
  *length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  return {};
}

Failure sendAll(int fd, const void* data, size_t length, Patience* patience) {
  const char* at = static_cast<const char*>(data);
  while (length > 0) {
    Result<size_t> sent = patience->until(fd, POLLOUT, "send", [&] { return ::send(fd, at, length, MSG_NOSIGNAL); });
    if (!sent.ok()) return sent.failure;
    at += sent.value;
    length -= sent.value;
  }
  return {};
}

Failure receiveAll(int fd, void* data, size_t length, Patience* patience) {
  char* at = static_cast<char*>(data);
  while (length > 0) {
    Result<size_t> got = patience->until(fd, POLLIN, "recv", [&] { return ::recv(fd, at, length, 0); });
    if (!got.ok()) return got.failure;
    if (got.value == 0) return Failure{ECONNRESET, "recv"};
    at += got.value;
    length -= got.value;
  }
  return {};
}

// One message; its descriptors are owned by `descriptors` whatever else it holds.
Failure receiveDescriptors(int fd, Patience* patience, std::vector<char>* data, std::vector<UniqueFd>* descriptors,
                           size_t* bytes) {
  alignas(cmsghdr) char control[kControlSpace];
  iovec part{data->data(), data->size()};
  msghdr message{};
  Result<size_t> got = patience->until(fd, POLLIN, "recvmsg", [&] {
    message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    return ::recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  });
  if (!got.ok()) return got.failure;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int received;
      std::memcpy(&received, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      descriptors->emplace_back(received);
    }
  }
  *bytes += got.value;
  if (got.value == 0) return Failure{ECONNRESET, "recvmsg"};
  // Descriptors cut off: more than the protocol has, or more than this process may open.
  if (message.msg_flags & MSG_CTRUNC) return Failure{EMFILE, "recvmsg"};
  return {};
}

Failure sendDescriptors(int fd, Patience* patience, const HandedSocket* sockets, size_t count) {
  std::string data;
  for (size_t i = 0; i < count; i++) {
    for (const std::string* name : {&sockets[i].netns, &sockets[i].device}) {
      if (name->size() > 255) return Failure{ENAMETOOLONG, "sendmsg"};
      data += static_cast<char>(name->size());
      data += *name;
    }
    data.append(4, '\0');
  }
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kDescriptorsPerMessage)] = {};
  iovec part{&data[0], data.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int) * count);
  for (size_t i = 0; i < count; i++) std::memcpy(CMSG_DATA(header) + i * sizeof(int), &sockets[i].fd, sizeof(int));
  Result<size_t> sent = patience->until(fd, POLLOUT, "sendmsg", [&] { return ::sendmsg(fd, &message, MSG_NOSIGNAL); });
  if (!sent.ok()) return sent.failure;
  // The descriptors went with the first byte; the rest of the names may follow.
  return sendAll(fd, data.data() + sent.value, data.size() - sent.value, patience);
}

// connect(2) on a unix socket does not wait when it is non-blocking: a full backlog is EAGAIN at once.
Failure connectUnix(int fd, const std::string& path, Patience* patience) {
  sockaddr_un peer;
  socklen_t length;
  if (Failure why = address(path, &peer, &length)) return why;
  while (retry([&] { return ::connect(fd, reinterpret_cast<sockaddr*>(&peer), length); }) != 0) {
    if (errno != EAGAIN) return failed("connect");
    pollfd none{-1, 0, 0};
    ::poll(&none, 1, 10);
    Failure why = patience->wait(fd, POLLOUT | POLLHUP);
    if (why) return why;
  }
  return {};
}

// The asker's side of the exchange.
Result<std::vector<int>> receiveSockets(int fd, Patience* patience) {
  if (Failure why = sendAll(fd, kCommand, kCommandLength, patience)) return why;
  int expected = 0;
  if (Failure why = receiveAll(fd, &expected, sizeof(expected), patience)) return why;
  // Without `expose-fd listeners` HAProxy answers with text: four letters are a number far beyond any count.
  if (expected < 0 || expected > kMostSockets) return Failure{EPROTO, "_getsocks"};

  growDescriptorTable(static_cast<size_t>(expected));
  std::vector<UniqueFd> received;
  std::vector<char> data(kDescriptorsPerMessage * kBytesPerDescriptor);
  size_t bytes = 0;
  while (received.size() < static_cast<size_t>(expected)) {
    size_t before = received.size();
    if (Failure why = receiveDescriptors(fd, patience, &data, &received, &bytes)) return why;
    if (received.size() > static_cast<size_t>(expected) || received.size() - before > kDescriptorsPerMessage ||
        bytes > static_cast<size_t>(expected) * kBytesPerDescriptor) {
      return Failure{EPROTO, "_getsocks"};
    }
    if (received.size() == before) continue;  // the rest of the names before it
    int count = static_cast<int>(received.size());
    if (Failure why = sendAll(fd, &count, sizeof(count), patience)) {
      // HAProxy does not wait for the last acknowledgement and may have closed.
      if (count != expected) return why;
    }
  }
  std::vector<int> result;
  for (UniqueFd& one : received) result.push_back(one.release());
  return result;
}

}  // namespace

Result<std::vector<int>> askForSockets(const std::string& path, int timeoutMs, int cancel) {
  Patience patience(timeoutMs, cancel);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return failed("socket");
  if (Failure why = connectUnix(fd.get(), path, &patience)) return why;
  return receiveSockets(fd.get(), &patience);
}

Result<std::vector<int>> askForSockets(int peer, int timeoutMs, int cancel) {
  Patience patience(timeoutMs, cancel);
  return receiveSockets(peer, &patience);
}

Failure answerAsker(int peer, const std::vector<HandedSocket>& sockets, int timeoutMs, int cancel) {
  Patience patience(timeoutMs, cancel);
  char command[kCommandLength];
  if (Failure why = receiveAll(peer, command, sizeof(command), &patience)) return why;
  if (std::memcmp(command, kCommand, sizeof(command)) != 0) return Failure{EPROTO, "_getsocks"};
  int total = static_cast<int>(sockets.size());
  if (Failure why = sendAll(peer, &total, sizeof(total), &patience)) return why;
  for (size_t sent = 0; sent < sockets.size();) {
    size_t count = std::min(kDescriptorsPerMessage, sockets.size() - sent);
    if (Failure why = sendDescriptors(peer, &patience, &sockets[sent], count)) return why;
    sent += count;
    int acknowledged = 0;
    if (Failure why = receiveAll(peer, &acknowledged, sizeof(acknowledged), &patience)) return why;
  }
  return {};
}

Result<UniqueFd> bindUnix(const std::string& path) {
  sockaddr_un own;
  socklen_t length;
  if (Failure why = address(path, &own, &length)) return why;
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return failed("socket");
  // The mode of the unbound socket becomes that of the file, so that it is never open to others, not even for a moment.
  if (::fchmod(fd.get(), 0600) != 0) return failed("fchmod");
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&own), length) != 0) return failed("bind");
  return fd;
}

}  // namespace berth
