// Bytes that Berth did not make: the kernel's tables, and in them names that any process on the host may choose. A parser
// is given all the bytes there are and looks at no others; it makes no system call. Fuzzed by test/native/fuzz.
#pragma once

#include <linux/netlink.h>

#include <charconv>
#include <cstring>
#include <string_view>

#include "kernel.h"

namespace berth {

// What the datagrams of one netlink answer have said so far.
struct NetlinkAnswer {
  bool done = false;
  bool interrupted = false;  // NLM_F_DUMP_INTR: the table changed under the dump
  Failure failure;
};

// Calls `each(type, body, length)` for the messages of a datagram that answer request `sequence` and are not control.
template <typename Each>
void parseNetlink(const uint8_t* data, size_t length, uint32_t sequence, NetlinkAnswer* answer, Each each) {
  auto end = [answer](int error) {
    answer->done = true;
    if (error) answer->failure = Failure{error, "NETLINK_SOCK_DIAG"};
  };
  // Of the error at the beginning of a body: negative, 0 for none.
  auto errorOf = [](const uint8_t* body, size_t size) {
    int error = -EPROTO;
    if (size >= sizeof(error)) std::memcpy(&error, body, sizeof(error));
    return error < 0 && error > -4096 ? -error : error ? EPROTO : 0;
  };
  while (length > 0 && !answer->done) {
    nlmsghdr header{};
    if (length >= sizeof(header)) std::memcpy(&header, data, sizeof(header));
    // One that is cut off: no further datagram would complete it, and to wait for one might be for ever.
    if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > length) return end(EPROTO);
    const uint8_t* body = data + NLMSG_HDRLEN;
    size_t size = header.nlmsg_len - NLMSG_HDRLEN;
    if (header.nlmsg_seq == sequence) {
      if (header.nlmsg_flags & NLM_F_DUMP_INTR) answer->interrupted = true;
      if (header.nlmsg_type == NLMSG_ERROR) {
        end(errorOf(body, size));
      } else if (header.nlmsg_type == NLMSG_DONE) {
        // A dump that fails says so here (af_netlink.c netlink_dump_done): ENOENT where the kernel has inet_diag and
        // not tcp_diag or udp_diag. Taken for the end, the table would be an empty one.
        end(size == 0 ? 0 : errorOf(body, size));
      } else {
        each(header.nlmsg_type, body, size);
      }
    }
    // The padding of the last message may be missing.
    size_t step = NLMSG_ALIGN(size_t{header.nlmsg_len});
    if (step >= length) return;
    data += step;
    length -= step;
  }
}

// ---- parse_diag.cc: bodies of sock_diag(7) messages; false where it is too short

bool parseInetDiag(const uint8_t* body, size_t length, bool udp, SocketRow* row);
bool parseUnixDiag(const uint8_t* body, size_t length, UnixListener* listener);
// sun_path, with or without the NUL at its end; one at its beginning marks an abstract name.
void parseUnixName(const uint8_t* name, size_t length, UnixListener* listener);

// ---- parse_proc.cc: text of /proc; false where it is not of that form

// Lines of a file with a heading, from pieces of any size.
class Lines {
 public:
  // Calls `each(line)` for the lines that are complete by now, without the heading and their newlines.
  template <typename Each>
  void feed(std::string_view piece, Each each) {
    for (size_t end; (end = piece.find('\n')) != std::string_view::npos; piece.remove_prefix(end + 1)) {
      pending_ += piece.substr(0, end);
      if (!heading_) each(std::string_view(pending_));
      heading_ = false;
      pending_.clear();
    }
    pending_ += piece;
  }

 private:
  std::string pending_;
  bool heading_ = true;
};

// A line of /proc/net/{tcp,udp}{,6}; `row->expires` is in ticks of the kernel (sysconf(_SC_CLK_TCK)).
bool parseProcSocket(std::string_view line, bool v6, bool udp, SocketRow* row);
// A line of /proc/net/unix; false for a socket that does not listen, too.
bool parseProcUnix(std::string_view line, UnixListener* listener);
// /proc/PID/stat
bool parseProcStat(std::string_view text, ProcessStat* stat);
// Where /proc/PID/fd/N points to: "socket:[INODE]"
bool parseSocketLink(std::string_view target, uint32_t* inode);

}  // namespace berth
