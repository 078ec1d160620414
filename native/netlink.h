// One request on a NETLINK_SOCK_DIAG socket and its answer, message by message.
#pragma once

#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include "parse.h"

namespace berth {

class DiagSocket {
 public:
  Failure open() {
    fd_.reset(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
    return fd_ ? Failure{} : failed("socket(NETLINK_SOCK_DIAG)");
  }

  // Sends nlmsghdr + body + further; `each(type, data, length)` gets every message that is not control.
  // *interrupted: the kernel says that the table changed under the dump (NLM_F_DUMP_INTR).
  template <typename Body, typename Each>
  Failure ask(uint16_t type, uint16_t flags, const Body& body, const std::vector<uint8_t>& further, bool* interrupted,
              Each each) {
    nlmsghdr header{};
    header.nlmsg_len = static_cast<uint32_t>(sizeof(header) + sizeof(body) + further.size());
    header.nlmsg_type = type;
    header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
    header.nlmsg_seq = ++sequence_;
    std::vector<uint8_t> request(header.nlmsg_len);
    std::memcpy(request.data(), &header, sizeof(header));
    std::memcpy(request.data() + sizeof(header), &body, sizeof(body));
    if (!further.empty()) std::memcpy(request.data() + sizeof(header) + sizeof(body), further.data(), further.size());
    sockaddr_nl kernel{};
    kernel.nl_family = AF_NETLINK;
    ssize_t sent = retry([&] {
      return ::sendto(fd_.get(), request.data(), request.size(), 0, reinterpret_cast<sockaddr*>(&kernel),
                      sizeof(kernel));
    });
    if (sent < 0) return failed("sendto(NETLINK_SOCK_DIAG)");
    return answer(interrupted, each);
  }

 private:
  template <typename Each>
  Failure answer(bool* interrupted, Each each) {
    // The kernel fills at most 32 KiB a call, whatever the buffer.
    alignas(nlmsghdr) uint8_t buffer[32768];
    NetlinkAnswer heard;
    while (!heard.done) {
      ssize_t got = retry([&] { return ::recv(fd_.get(), buffer, sizeof(buffer), MSG_TRUNC); });
      if (got < 0) return failed("recv(NETLINK_SOCK_DIAG)");
      if (got == 0 || static_cast<size_t>(got) > sizeof(buffer)) return Failure{EMSGSIZE, "recv(NETLINK_SOCK_DIAG)"};
      parseNetlink(buffer, static_cast<size_t>(got), sequence_, &heard, each);
    }
    *interrupted = heard.interrupted;
    return heard.failure;
  }

  UniqueFd fd_;
  uint32_t sequence_ = 0;
};

}  // namespace berth
