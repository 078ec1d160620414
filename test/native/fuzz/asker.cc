// Who asks Berth for sockets: what it says before it closes. It gets all of them or none is counted as given.
#include "fuzz.h"

using namespace berth;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t length) {
  static const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  // Two messages: there is one acknowledgement in the middle.
  static const std::vector<HandedSocket> sockets(kDescriptorsPerMessage + 1, {socket.get(), "blue", "eth0"});
  constexpr size_t kDialogue = sizeof("_getsocks\n") - 1 + 2 * sizeof(int);
  int before = lowestFree();
  {
    Connection connection;
    ssize_t sent = ::send(connection.theirs.get(), data, std::min<size_t>(length, 4096), MSG_NOSIGNAL);
    ::shutdown(connection.theirs.get(), SHUT_WR);
    Failure why = answerAsker(connection.ours.get(), sockets, 10000, -1);
    MUST(why.error != ETIMEDOUT);
    MUST(why || sent >= static_cast<ssize_t>(kDialogue));
  }
  MUST(lowestFree() == before);
  return 0;
}
