// The process behind a stats socket, asked for its listening sockets. Its messages: how many descriptors, of what kind,
// how many bytes (two, low first), the bytes. Then it closes.
#include "fuzz.h"

using namespace berth;

namespace {

constexpr size_t kHead = 4;
constexpr size_t kMostDescriptors = 253;  // SCM_MAX_FD

// A socket, a file, a pipe, and a socket of another family.
int kindOf(uint8_t kind) {
  static const std::vector<int> kinds = [] {
    int pipe[2];
    MUST(::pipe2(pipe, O_CLOEXEC) == 0);
    ::close(pipe[1]);
    return std::vector<int>{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), ::open("/dev/null", O_RDWR | O_CLOEXEC),
                            pipe[0], ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  }();
  return kinds[kind % kinds.size()];
}

void say(int fd, const uint8_t* data, size_t length, size_t descriptors, int descriptor) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMostDescriptors)] = {};
  iovec part{const_cast<uint8_t*>(data), length};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (descriptors) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * descriptors);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * descriptors);
    for (size_t i = 0; i < descriptors; i++) std::memcpy(CMSG_DATA(header) + i * sizeof(int), &descriptor, sizeof(int));
  }
  (void)::sendmsg(fd, &message, MSG_NOSIGNAL);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t length) {
  kindOf(0);
  int before = lowestFree();
  {
    Connection connection;
    while (length > kHead) {
      size_t size = std::min<size_t>(data[2] | data[3] << 8, length - kHead);
      say(connection.theirs.get(), data + kHead, size, std::min<size_t>(data[0], kMostDescriptors), kindOf(data[1]));
      data += kHead + size;
      length -= kHead + size;
    }
    ::shutdown(connection.theirs.get(), SHUT_WR);
    Result<std::vector<int>> got = askForSockets(connection.ours.get(), 10000, -1);
    MUST(got.failure.error != ETIMEDOUT);
    for (int fd : got.value) {
      MUST(::fcntl(fd, F_GETFD) == FD_CLOEXEC);
      UniqueFd closing(fd);
    }
  }
  MUST(lowestFree() == before);
  return 0;
}
