// A datagram of NETLINK_SOCK_DIAG, answering request 1.
#include "fuzz.h"

using namespace berth;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t length) {
  std::vector<uint8_t> datagram = alone(data, length);
  NetlinkAnswer answer;
  parseNetlink(datagram.data(), datagram.size(), 1, &answer, [&](uint16_t type, const uint8_t* body, size_t size) {
    MUST(body >= datagram.data() && body + size <= datagram.data() + datagram.size());
    std::vector<uint8_t> message = alone(body, size);
    SocketRow row;
    if (parseInetDiag(message.data(), size, type & 1, &row)) MUST(row.family == 4 || row.family == 6);
    UnixListener listener;
    if (parseUnixDiag(message.data(), size, &listener) && !listener.abstract)
      MUST(listener.path.find('\0') == std::string::npos);
  });
  MUST(!answer.failure || answer.done);
  MUST(answer.failure.error >= 0 && answer.failure.error < 4096);
  return 0;
}
