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

constexpr int kTries = 5;

void append(std::vector<uint8_t>* bytes, const void* data, size_t length) {
  const auto* from = static_cast<const uint8_t*>(data);
  bytes->insert(bytes->end(), from, from + length);
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
                              SocketRow row;
                              if (answered != type || !parseInetDiag(data, length, query.udp, &row)) return;
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
                     UnixListener listener;
                     if (type == SOCK_DIAG_BY_FAMILY && parseUnixDiag(data, length, &listener))
                       listeners.push_back(std::move(listener));
                   });
  if (why && isMissing(why)) return readProcUnix();
  if (why) return why;
  return listeners;
}

}  // namespace berth
