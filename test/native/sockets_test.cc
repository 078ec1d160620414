// The port filter, run as the kernel runs it; the tables of both sources; messages that are cut or forged.
#include <linux/filter.h>
#include <linux/inet_diag.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <random>
#include <set>

#include "../../native/kernel.h"
#include "check.h"

using namespace berth;

namespace {

// net/ipv4/inet_diag.c, inet_diag_bc_run: true where the program ends exactly at its end.
bool accepts(const std::vector<uint8_t>& program, uint16_t port) {
  size_t at = 0;
  while (at < program.size()) {
    inet_diag_bc_op op, argument{};
    std::memcpy(&op, &program[at], sizeof(op));
    if (op.code != INET_DIAG_BC_JMP) std::memcpy(&argument, &program[at + 4], sizeof(argument));
    bool yes = false;
    if (op.code == INET_DIAG_BC_S_GE) yes = port >= argument.no;
    if (op.code == INET_DIAG_BC_S_LE) yes = port <= argument.no;
    if (op.code == INET_DIAG_BC_S_EQ) yes = port == argument.no;
    at += yes ? op.yes : op.no;
  }
  return at == program.size();
}

TEST("the filter accepts its ports and, up to 2000 ranges, no others", [] {
  std::mt19937 random(7);
  for (size_t count : {1, 2, 3, 7, 100, 1000, 2000}) {
    std::set<uint16_t> wanted;
    while (wanted.size() < count) wanted.insert(static_cast<uint16_t>(random() % 65535 + 1));
    if (count > 3)
      for (uint16_t port = 100; port < 120; port++) wanted.insert(port);
    std::vector<uint16_t> ports(wanted.begin(), wanted.end());
    std::shuffle(ports.begin(), ports.end(), random);
    std::vector<uint8_t> program = portProgram(ports);
    CHECK(program.size() <= 65531);
    int wrong = 0;
    for (uint32_t port = 0; port <= 65535; port++) {
      bool is = accepts(program, static_cast<uint16_t>(port));
      bool should = wanted.count(static_cast<uint16_t>(port)) > 0;
      if (is != should) wrong++;
    }
    CHECK_EQUAL(wrong, 0);
  }
});

TEST("more ranges than it holds: it accepts all of them and as few others as possible", [] {
  std::vector<uint16_t> ports;
  for (uint32_t port = 1; port < 65535; port += 2) ports.push_back(static_cast<uint16_t>(port));
  ports.push_back(65535);
  std::vector<uint8_t> program = portProgram(ports);
  CHECK(program.size() <= 65531);
  int refused = 0;
  for (uint16_t port : ports) refused += !accepts(program, port);
  CHECK_EQUAL(refused, 0);
  CHECK(portProgram({}).empty());
  std::vector<uint16_t> all;
  for (uint32_t port = 0; port <= 65535; port++) all.push_back(static_cast<uint16_t>(port));
  CHECK(accepts(portProgram(all), 0) && accepts(portProgram(all), 65535));
});

TEST("the kernel takes the largest filter, and both sources agree on it", [] {
  std::vector<UniqueFd> listeners;
  for (uint16_t i = 0; i < 50; i++) {
    UniqueFd fd(::socket(i % 2 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in6 where{};
    where.sin6_family = i % 2 ? AF_INET6 : AF_INET;
    where.sin6_port = htons(static_cast<uint16_t>(35000 + i));
    CHECK(::bind(fd.get(), reinterpret_cast<sockaddr*>(&where), i % 2 ? sizeof(where) : sizeof(sockaddr_in)) == 0);
    CHECK(::listen(fd.get(), 1) == 0);
    listeners.push_back(std::move(fd));
  }
  for (int step : {1, 2, 3}) {
    SocketQuery query;
    query.byPort = true;
    for (uint32_t port = 1; port <= 65535; port += static_cast<uint32_t>(step))
      query.ports.push_back(static_cast<uint16_t>(port));
    query.source = TableSource::sockDiag;
    Result<SocketTable> diag = readSockets(query);
    query.source = TableSource::proc;
    Result<SocketTable> proc = readSockets(query);
    CHECK(diag.ok() && proc.ok());
    auto inodes = [](const SocketTable& table) {
      std::set<uint32_t> all;
      for (const SocketRow& row : table.rows)
        if (row.state == 10) all.insert(row.inode);
      return all;
    };
    CHECK(inodes(diag.value) == inodes(proc.value));
    CHECK(!diag.value.fromProc && proc.value.fromProc);
    CHECK(inodes(diag.value).size() >= 16);
  }
});

// As seccomp profiles of containers have it: no netlink sockets.
void forbidNetlink() {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_NETLINK, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog filter{sizeof(program) / sizeof(program[0]), program};
  CHECK(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
}

TEST("where sock_diag is forbidden the tables come from /proc without being told", [] {
  pid_t child = ::fork();
  if (child == 0) {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    CHECK(::listen(fd.get(), 1) == 0);
    forbidNetlink();
    int before = failures();
    Result<SocketTable> table = readSockets({});
    CHECK(table.ok() && table.value.fromProc && !table.value.rows.empty());
    SocketQuery strict;
    strict.source = TableSource::sockDiag;
    CHECK_EQUAL(readSockets(strict).failure.error, EPERM);
    CHECK(unixListeners().ok());
    std::fflush(stdout);
    ::_exit(failures() == before ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK_EQUAL(status, 0);
});

TEST("owners: this process holds its own socket, nobody holds inode 0", [] {
  UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  Result<std::vector<Holder>> own = socketsOf(::getpid());
  CHECK(own.ok());
  uint32_t inode = 0;
  for (const Holder& holder : own.value)
    if (holder.fd == fd.get()) inode = holder.inode;
  CHECK(inode != 0);
  std::vector<Holder> holders = holdersOf({inode, 0}, {});
  CHECK_EQUAL(holders.size(), 1);
  CHECK(holders.size() == 1 && holders[0].pid == ::getpid() && holders[0].fd == fd.get());
  CHECK(!socketsOf(4000000).ok());
  CHECK_EQUAL(processStat(4000000).failure.error, ESRCH);
  CHECK(processStat(::getpid()).value.startTicks > 0);
});

}  // namespace
