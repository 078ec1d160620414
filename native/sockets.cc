// Socket tables by NETLINK_SOCK_DIAG (sock_diag(7)), and SOCK_DESTROY.
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>

#include "netlink.h"

namespace berth {

namespace {

constexpr uint8_t kTcpClose = 7;
constexpr int kTries = 5;

void append(std::vector<uint8_t>* bytes, const void* data, size_t length) {
  const auto* from = static_cast<const uint8_t*>(data);
  bytes->insert(bytes->end(), from, from + length);
}

// Calls `each(type, data, length)` for the attributes in a message.
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

SocketRow toRow(const uint8_t* data, size_t length, bool udp) {
  inet_diag_msg message;
  std::memcpy(&message, data, sizeof(message));
  SocketRow row;
  row.udp = udp;
  row.family = message.idiag_family == AF_INET6 ? 6 : 4;
  // The kernel reports bound and silent TCP sockets as CLOSE; no other closed one is in a table.
  row.state = !udp && message.idiag_state == kTcpClose ? kStateBound : message.idiag_state;
  row.timer = message.idiag_timer;
  row.expires = message.idiag_expires;
  row.localPort = ntohs(message.id.idiag_sport);
  row.remotePort = ntohs(message.id.idiag_dport);
  size_t width = row.family == 6 ? 16 : 4;
  std::memcpy(row.local, message.id.idiag_src, width);
  std::memcpy(row.remote, message.id.idiag_dst, width);
  row.device = message.id.idiag_if;
  row.cookie = message.id.idiag_cookie[0] | static_cast<uint64_t>(message.id.idiag_cookie[1]) << 32;
  row.uid = message.idiag_uid;
  row.inode = message.idiag_inode;
  attributes(data + NLMSG_ALIGN(sizeof(message)), length - NLMSG_ALIGN(sizeof(message)),
             [&](int type, const uint8_t* value, size_t size) {
               if (type == INET_DIAG_SKV6ONLY && size >= 1) row.v6only = *value ? 1 : 0;
               if (type == INET_DIAG_CGROUP_ID && size >= sizeof(row.cgroup))
                 std::memcpy(&row.cgroup, value, sizeof(row.cgroup));
             });
  return row;
}

template <typename Request>
Failure dump(DiagSocket* diag, uint16_t type, const Request& request, const SocketQuery& query,
             std::vector<SocketRow>* rows) {
  std::vector<uint8_t> filter;
  if (query.byPort) {
    std::vector<uint8_t> program = portProgram(query.ports);
    nlattr attribute{static_cast<uint16_t>(sizeof(nlattr) + program.size()), INET_DIAG_REQ_BYTECODE};
    append(&filter, &attribute, sizeof(attribute));
    append(&filter, program.data(), program.size());
  }
  PortBits bits(query.ports);
  size_t before = rows->size();
  for (int attempt = 1;; attempt++) {
    bool interrupted = false;
    Failure why = diag->ask(type, NLM_F_DUMP, request, filter, &interrupted,
                            [&](uint16_t answered, const uint8_t* data, size_t length) {
                              if (answered != type || length < sizeof(inet_diag_msg)) return;
                              SocketRow row = toRow(data, length, query.udp);
                              if (!query.byPort || bits.has(row.localPort)) rows->push_back(row);
                            });
    if (why || !interrupted || attempt == kTries) return why;
    rows->resize(before);
  }
}

Failure readDiag(const SocketQuery& query, std::vector<SocketRow>* rows) {
  DiagSocket diag;
  if (Failure why = diag.open()) return why;
  if (!query.udp) {
    // The older request has both families in one walk over the hash tables, which is what a dump costs; ss(8) uses it,
    // too.
    inet_diag_req request{};
    request.idiag_states = query.states;
    return dump(&diag, TCPDIAG_GETSOCK, request, query, rows);
  }
  for (uint8_t family : {AF_INET, AF_INET6}) {
    inet_diag_req_v2 request{};
    request.sdiag_family = family;
    request.sdiag_protocol = IPPROTO_UDP;
    request.idiag_states = query.states;
    if (Failure why = dump(&diag, SOCK_DIAG_BY_FAMILY, request, query, rows)) return why;
  }
  return {};
}

// sock_diag is not compiled in, not loadable, or not allowed here (some containers, seccomp, SELinux).
bool isMissing(const Failure& why) {
  switch (why.error) {
    case EPROTONOSUPPORT:
    case ESOCKTNOSUPPORT:
    case EAFNOSUPPORT:
    case EOPNOTSUPP:
    case ECONNREFUSED:
    case ENOENT:
    case ENOSYS:
    case EPERM:
    case EACCES:
    case EINVAL:
      return true;
    default:
      return false;
  }
}

}  // namespace

Result<SocketTable> readSockets(const SocketQuery& query) {
  SocketTable table;
  if (query.byPort && query.ports.empty()) return table;
  bool byProc = query.source == TableSource::proc;
  if (!byProc) {
    Failure why = readDiag(query, &table.rows);
    if (why && (query.source == TableSource::sockDiag || !isMissing(why))) return why;
    byProc = static_cast<bool>(why);
  }
  if (byProc) {
    table.fromProc = true;
    table.rows.clear();
    if (Failure why = readProcNet(query, &table.rows)) return why;
  }
  std::vector<uint32_t> indexes;
  for (const SocketRow& row : table.rows) {
    if (row.device && std::find(indexes.begin(), indexes.end(), row.device) == indexes.end())
      indexes.push_back(row.device);
  }
  for (uint32_t index : indexes) {
    char name[IF_NAMESIZE];
    if (::if_indextoname(index, name)) table.devices.emplace_back(index, name);
  }
  return table;
}

Failure destroySocket(const Endpoint& endpoint, const Endpoint& remote, uint64_t cookie) {
  DiagSocket diag;
  if (Failure why = diag.open()) return why;
  inet_diag_req_v2 request{};
  request.sdiag_family = endpoint.v6 ? AF_INET6 : AF_INET;
  request.sdiag_protocol = endpoint.udp ? IPPROTO_UDP : IPPROTO_TCP;
  request.idiag_states = 0xffffffff;
  request.id.idiag_sport = htons(endpoint.port);
  request.id.idiag_dport = htons(remote.port);
  std::memcpy(request.id.idiag_src, endpoint.address, sizeof(endpoint.address));
  std::memcpy(request.id.idiag_dst, remote.address, sizeof(remote.address));
  if (!endpoint.device.empty()) {
    request.id.idiag_if = ::if_nametoindex(endpoint.device.c_str());
    if (request.id.idiag_if == 0) return failed("if_nametoindex");
  }
  request.id.idiag_cookie[0] = static_cast<uint32_t>(cookie);
  request.id.idiag_cookie[1] = static_cast<uint32_t>(cookie >> 32);
  bool interrupted = false;
  Failure why = diag.ask(SOCK_DESTROY, NLM_F_ACK, request, {}, &interrupted, [](uint16_t, const uint8_t*, size_t) {});
  return why ? Failure{why.error, "SOCK_DESTROY"} : why;
}

Result<std::vector<UnixListener>> unixListeners() {
  std::vector<UnixListener> listeners;
  DiagSocket diag;
  Failure why = diag.open();
  unix_diag_req request{};
  request.sdiag_family = AF_UNIX;
  request.udiag_states = 1u << 10;  // TCP_LISTEN, which unix sockets borrow
  request.udiag_show = UDIAG_SHOW_NAME;
  bool interrupted = false;
  if (!why)
    why = diag.ask(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, request, {}, &interrupted,
                   [&](uint16_t type, const uint8_t* data, size_t length) {
                     if (type != SOCK_DIAG_BY_FAMILY || length < sizeof(unix_diag_msg)) return;
                     unix_diag_msg message;
                     std::memcpy(&message, data, sizeof(message));
                     UnixListener listener;
                     listener.inode = message.udiag_ino;
                     attributes(data + NLMSG_ALIGN(sizeof(message)), length - NLMSG_ALIGN(sizeof(message)),
                                [&](int kind, const uint8_t* value, size_t size) {
                                  if (kind != UNIX_DIAG_NAME || size == 0) return;
                                  listener.abstract = value[0] == 0;
                                  const char* text = reinterpret_cast<const char*>(value);
                                  size_t skip = listener.abstract ? 1 : 0;
                                  listener.path.assign(text + skip, size - skip);
                                  if (!listener.abstract) listener.path.resize(std::strlen(listener.path.c_str()));
                                });
                     listeners.push_back(listener);
                   });
  if (why && isMissing(why)) return readProcUnix();
  if (why) return why;
  return listeners;
}

}  // namespace berth
