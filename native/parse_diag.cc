// What sock_diag(7) tells of one socket.
#include <linux/inet_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>

#include <algorithm>

#include "parse.h"

namespace berth {

namespace {

constexpr uint8_t kTcpClose = 7;

// Calls `each(type, value, length)` for the attributes in a message.
template <typename Each>
void attributes(const uint8_t* data, size_t length, Each each) {
  while (length >= sizeof(nlattr)) {
    nlattr attribute;
    std::memcpy(&attribute, data, sizeof(attribute));
    if (attribute.nla_len < sizeof(attribute) || attribute.nla_len > length) return;
    each(attribute.nla_type & NLA_TYPE_MASK, data + sizeof(attribute), attribute.nla_len - sizeof(attribute));
    size_t step = std::min<size_t>(NLA_ALIGN(attribute.nla_len), length);
    data += step;
    length -= step;
  }
}

}  // namespace

bool parseInetDiag(const uint8_t* body, size_t length, bool udp, SocketRow* row) {
  inet_diag_msg message;
  constexpr size_t kHead = sizeof(message);
  static_assert(kHead == NLMSG_ALIGN(kHead), "attributes follow at once");
  if (length < kHead) return false;
  std::memcpy(&message, body, kHead);
  row->udp = udp;
  row->family = message.idiag_family == AF_INET6 ? 6 : 4;
  // The kernel reports bound and silent TCP sockets as CLOSE; no other closed one is in a table.
  row->state = !udp && message.idiag_state == kTcpClose ? kStateBound : message.idiag_state;
  row->timer = message.idiag_timer;
  row->expires = message.idiag_expires;
  row->localPort = ntohs(message.id.idiag_sport);
  row->remotePort = ntohs(message.id.idiag_dport);
  size_t width = row->family == 6 ? 16 : 4;
  std::memcpy(row->local, message.id.idiag_src, width);
  std::memcpy(row->remote, message.id.idiag_dst, width);
  row->device = message.id.idiag_if;
  row->cookie = message.id.idiag_cookie[0] | static_cast<uint64_t>(message.id.idiag_cookie[1]) << 32;
  row->uid = message.idiag_uid;
  row->inode = message.idiag_inode;
  attributes(body + kHead, length - kHead, [row](int type, const uint8_t* value, size_t size) {
    if (type == INET_DIAG_SKV6ONLY && size >= 1) row->v6only = *value ? 1 : 0;
    if (type == INET_DIAG_CGROUP_ID && size >= sizeof(row->cgroup))
      std::memcpy(&row->cgroup, value, sizeof(row->cgroup));
  });
  return true;
}

bool parseUnixDiag(const uint8_t* body, size_t length, UnixListener* listener) {
  unix_diag_msg message;
  constexpr size_t kHead = sizeof(message);
  static_assert(kHead == NLMSG_ALIGN(kHead), "attributes follow at once");
  if (length < kHead) return false;
  std::memcpy(&message, body, kHead);
  listener->inode = message.udiag_ino;
  attributes(body + kHead, length - kHead, [listener](int type, const uint8_t* value, size_t size) {
    if (type == UNIX_DIAG_NAME) parseUnixName(value, size, listener);
  });
  return true;
}

void parseUnixName(const uint8_t* name, size_t length, UnixListener* listener) {
  std::string_view text(reinterpret_cast<const char*>(name), length);
  listener->abstract = !text.empty() && text.front() == '\0';
  // NULs belong to an abstract name.
  listener->path = listener->abstract ? text.substr(1) : text.substr(0, text.find('\0'));
}

}  // namespace berth
