// Bytes that others made, cut, forged or unusual: what fuzzing and reading found, each by its name.
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>

#include "../../native/netlink.h"
#include "check.h"

using namespace berth;

namespace {

using Bytes = std::vector<uint8_t>;

// One netlink message of request 1; `announced` is the length in its header, where that is not its own.
Bytes message(uint16_t type, const Bytes& body, uint32_t announced = 0) {
  nlmsghdr header{};
  header.nlmsg_len = announced ? announced : static_cast<uint32_t>(sizeof(header) + body.size());
  header.nlmsg_type = type;
  header.nlmsg_seq = 1;
  Bytes bytes(sizeof(header));
  std::memcpy(bytes.data(), &header, sizeof(header));
  bytes.insert(bytes.end(), body.begin(), body.end());
  return bytes;
}

Bytes number(int value) {
  Bytes bytes(sizeof(value));
  std::memcpy(bytes.data(), &value, sizeof(value));
  return bytes;
}

// In memory of exactly their size, so that ASan sees a byte too many.
NetlinkAnswer answerOf(const Bytes& datagram, int* messages = nullptr) {
  Bytes alone(datagram);
  alone.shrink_to_fit();
  NetlinkAnswer answer;
  parseNetlink(alone.data(), alone.size(), 1, &answer, [&](uint16_t, const uint8_t*, size_t) {
    if (messages) ++*messages;
  });
  return answer;
}

TEST("a dump that the kernel ends with an error is a failure, not an empty table", [] {
  // A protocol without handler, as TCP is where the kernel has inet_diag and not tcp_diag.
  DiagSocket diag;
  CHECK(!diag.open());
  inet_diag_req_v2 request{};
  request.sdiag_family = AF_INET;
  request.sdiag_protocol = 255;
  request.idiag_states = 0xffffffff;
  bool interrupted = false;
  Failure why = diag.ask(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, request, {}, &interrupted,
                         [](uint16_t, const uint8_t*, size_t) { CHECK(false); });
  CHECK_EQUAL(why.error, ENOENT);

  CHECK_EQUAL(answerOf(message(NLMSG_DONE, number(-ENOENT))).failure.error, ENOENT);
  CHECK(answerOf(message(NLMSG_DONE, number(0))).done);
  CHECK(!answerOf(message(NLMSG_DONE, number(0))).failure);
  CHECK(!answerOf(message(NLMSG_DONE, {})).failure);
});

TEST("a message whose last padding is missing ends the datagram", [] {
  int messages = 0;
  CHECK(!answerOf(message(SOCK_DIAG_BY_FAMILY, {1, 2, 3}), &messages).done);
  CHECK_EQUAL(messages, 1);
});

TEST("a message that is cut off is an error: no datagram would complete it", [] {
  Bytes whole = message(SOCK_DIAG_BY_FAMILY, Bytes(8));
  for (size_t length = 1; length < whole.size(); length++)
    CHECK_EQUAL(answerOf(Bytes(whole.begin(), whole.begin() + static_cast<long>(length))).failure.error, EPROTO);
  for (uint32_t announced : {1u, 15u, 25u, 0x7fffffffu, 0xffffffffu})
    CHECK_EQUAL(answerOf(message(SOCK_DIAG_BY_FAMILY, Bytes(8), announced)).failure.error, EPROTO);
});

TEST("an error message without room for its error, or with none that is one", [] {
  CHECK_EQUAL(answerOf(message(NLMSG_ERROR, {})).failure.error, EPROTO);
  CHECK_EQUAL(answerOf(message(NLMSG_ERROR, {0, 0, 0})).failure.error, EPROTO);
  CHECK_EQUAL(answerOf(message(NLMSG_ERROR, number(5))).failure.error, EPROTO);
  CHECK_EQUAL(answerOf(message(NLMSG_ERROR, number(INT32_MIN))).failure.error, EPROTO);
  CHECK_EQUAL(answerOf(message(NLMSG_ERROR, number(-EPERM))).failure.error, EPERM);
  CHECK(answerOf(message(NLMSG_ERROR, number(0))).done);
  CHECK(!answerOf(message(NLMSG_ERROR, number(0))).failure);
});

TEST("a line of /proc/net that lacks a field, or has one beyond its range, is no socket", [] {
  const std::string tail = " 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0";
  const std::string good = "   0: 0100007F:4E20 00000000:0000 0A" + tail;
  SocketRow row;
  CHECK(parseProcSocket(good, false, false, &row));
  CHECK(row.localPort == 20000 && row.local[0] == 127 && row.state == 10 && row.inode == 4711);
  CHECK(!parseProcSocket("   0: 0100007F:" + std::string(80, ' '), false, false, &row));
  CHECK(!parseProcSocket("   0: 0100007F:4E20 0000", false, false, &row));
  CHECK(!parseProcSocket("   0: 0100007F:14E20 00000000:0000 0A" + tail, false, false, &row));
  CHECK(!parseProcSocket("   0: 0100007F:4E20 00000000:0000 FF" + tail, false, false, &row));
  CHECK(!parseProcSocket(good, true, false, &row));
  CHECK(!parseProcSocket("", false, false, &row));
});

TEST("a unix socket's path is all of the rest of its line", [] {
  UnixListener listener;
  const std::string head = "00000000deadbeef: 00000002 00000000 00010000 0001 01 4711";
  CHECK(parseProcUnix(head + " /run/a b ", &listener) && listener.path == "/run/a b " && listener.inode == 4711);
  CHECK(parseProcUnix(head + " @a@b", &listener) && listener.path == "a@b" && listener.abstract);
  CHECK(parseProcUnix(head, &listener) && listener.path.empty() && !listener.abstract);
  CHECK(!parseProcUnix("00000000deadbeef: 00000002 00000000 00000000 0001 03 4711 /run/a", &listener));
});

TEST("a process may be called whatever it likes", [] {
  std::string fields = " Z";
  for (int field = 4; field <= 52; field++) fields += ' ' + std::to_string(field);
  for (const char* name : {"haproxy", ") R 1 2 3", "((", "))", "", "a\nb"}) {
    ProcessStat stat;
    CHECK(parseProcStat(std::string("17 (") + name + ")" + fields + "\n", &stat));
    CHECK(stat.state == 'Z' && stat.startTicks == 22 && stat.waitStatus == 52);
  }
  ProcessStat stat;
  CHECK(!parseProcStat("17 (haproxy) R 1 2", &stat));
  CHECK(!parseProcStat("17 (haproxy" + fields, &stat));
  CHECK(!parseProcStat("", &stat));
});

}  // namespace
