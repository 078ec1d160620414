// The kernel as Berth needs it: plain structs and functions that make system calls. No Node header, no policy.
// Every function returns a Failure (or a Result holding one) instead of throwing; every descriptor is O_CLOEXEC.
// Functions that look at the network work on the network namespace of the calling thread (see netns.cc).
#pragma once

#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace berth {

// A failed system call: errno and the call's name; error 0 is success.
struct Failure {
  int error = 0;
  const char* syscall = "";
  explicit operator bool() const { return error != 0; }
};

inline Failure failed(const char* syscall) { return Failure{errno, syscall}; }

template <typename T>
struct Result {
  T value{};
  Failure failure;
  Result(T v) : value(std::move(v)) {}
  Result(Failure f) : failure(f) {}
  bool ok() const { return failure.error == 0; }
};

// Closes its descriptor. close(2) is never retried on EINTR: on Linux the descriptor is gone either way.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    reset(other.release());
    return *this;
  }
  ~UniqueFd() { reset(); }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

// Repeats a system call that a signal interrupted.
template <typename Call>
auto retry(Call call) -> decltype(call()) {
  decltype(call()) result;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  return result;
}

// ---- probe.cc: test binds and guards

struct Endpoint {
  bool udp = false;
  bool v6 = false;
  bool v6only = false;
  bool transparent = false;
  uint16_t port = 0;
  uint8_t address[16] = {};  // network order; IPv4 in the first four bytes
  std::string device;        // SO_BINDTODEVICE, empty for none
};

enum class Outcome : int32_t { free = 0, beside = 1, busy = 2, failed = 3 };

struct ProbeResult {
  Outcome outcome = Outcome::failed;
  int fd = -1;  // the guard, where one was asked for
  Failure failure;
};

struct ProbeOptions {
  bool keep = false;       // return the sockets of successful binds as guards
  bool asHAProxy = false;  // skip the strict bind (TCP)
};

bool parseAddress(const std::string& text, Endpoint* endpoint);
ProbeResult probe(const Endpoint& endpoint, const ProbeOptions& options);

// ---- sockets.cc, procnet.cc: the kernel's socket tables

constexpr uint8_t kStateBound = 13;  // TCP_BOUND_INACTIVE, linux/tcp_states.h since 6.8
constexpr uint8_t kTimerTimeWait = 3;

// One socket. The layout crosses to TypeScript as it is (src/kernel/sockets.ts reads the same offsets).
struct SocketRow {
  uint64_t cookie = 0;     // 0: unknown
  uint64_t cgroup = 0;     // 0: unknown
  uint8_t local[16] = {};  // network order; IPv4 in the first four bytes
  uint8_t remote[16] = {};
  uint32_t inode = 0;
  uint32_t uid = 0;
  uint32_t expires = 0;  // ms, where timer is kTimerTimeWait
  uint32_t device = 0;   // interface index, 0: none
  uint16_t localPort = 0;
  uint16_t remotePort = 0;
  uint8_t family = 0;  // 4 or 6
  uint8_t udp = 0;
  uint8_t state = 0;   // linux/tcp_states.h
  uint8_t timer = 0;   // idiag_timer
  uint8_t v6only = 2;       // 0, 1, or 2: unknown
  uint8_t transparent = 2;  // 0, 1, or 2: unknown
  uint8_t padding[6] = {};
};
static_assert(sizeof(SocketRow) == 80, "src/kernel/sockets.ts reads rows of 80 bytes");

enum class TableSource : int32_t { automatic = 0, sockDiag = 1, proc = 2 };

struct SocketQuery {
  bool udp = false;
  uint32_t states = 0xffffffff;  // bit 1 << state
  bool byPort = false;
  std::vector<uint16_t> ports;  // local ports, where byPort
  TableSource source = TableSource::automatic;
};

// A set of ports as 65536 bits: the exact filter behind the coarse one in the kernel.
class PortBits {
 public:
  explicit PortBits(const std::vector<uint16_t>& ports) : bits_(1024) {
    for (uint16_t port : ports) bits_[port >> 6] |= uint64_t{1} << (port & 63);
  }
  bool has(uint16_t port) const { return (bits_[port >> 6] >> (port & 63)) & 1; }

 private:
  std::vector<uint64_t> bits_;
};

struct SocketTable {
  std::vector<SocketRow> rows;
  std::vector<std::pair<uint32_t, std::string>> devices;  // of the indexes that occur
  bool fromProc = false;
};

// IPv4 and IPv6. A table is not a snapshot: a socket that is absent may still exist; bind(2) is the
// truth.
Result<SocketTable> readSockets(const SocketQuery& query);
// The inet_diag byte code that keeps sockets of these ports (and possibly of a few more); see ss(8),
// net/ipv4/inet_diag.c.
std::vector<uint8_t> portProgram(const std::vector<uint16_t>& ports);
Failure readProcNet(const SocketQuery& query, std::vector<SocketRow>* rows);
// SOCK_DESTROY of exactly this socket; the cookie keeps a reused address from being hit. ENOENT: it has gone.
// `endpoint` is the local end, `remote` the other.
Failure destroySocket(const Endpoint& endpoint, const Endpoint& remote, uint64_t cookie);

struct UnixListener {
  uint32_t inode = 0;
  bool abstract = false;
  std::string path;
};
Result<std::vector<UnixListener>> unixListeners();
Result<std::vector<UnixListener>> readProcUnix();

// ---- owners.cc: /proc

struct Holder {
  uint32_t inode;
  int pid;
  int fd;
};
// Who holds these sockets: all of `hints`, then, for what is still without holder, all processes called haproxy, then
// the others until each has one. Processes that may not be read are passed over.
std::vector<Holder> holdersOf(const std::vector<uint32_t>& inodes, const std::vector<int>& hints);
// Sockets of one process, as holders.
Result<std::vector<Holder>> socketsOf(int pid);
std::vector<int> allProcesses();
std::vector<int> processesNamed(const std::string& comm);
// Of /proc/PID/stat, proc(5); ESRCH where the process is gone.
struct ProcessStat {
  char state = '?';         // field 3
  uint64_t startTicks = 0;  // field 22
  int waitStatus = 0;       // field 52, as wait(2) gives it; 0 where it may not be read
};
Result<ProcessStat> processStat(int pid);

// ---- handoff.cc, getsocks.cc: descriptors that change hands

struct Duplicate {
  uint32_t inode;
  int fd;
};
// pidfd_getfd(2) of the sockets with these inodes from the process that started at `ticks`. Missing ones are left out.
Result<std::vector<Duplicate>> duplicateSockets(int pid, uint64_t ticks, const std::vector<uint32_t>& inodes);
// SO_REUSEADDR on the holder's own socket, through a duplicate that is closed again. ESTALE: it is another socket by
// now.
Failure shareSocket(int pid, uint64_t ticks, int fd, uint32_t inode);

struct HandedSocket {
  int fd;
  std::string netns;   // HAProxy's `namespace`
  std::string device;  // HAProxy's `interface`
};
// Both sides of HAProxy's `_getsocks` (src/cli.c, src/sock.c; the same from 2.2 to 3.2).
constexpr size_t kDescriptorsPerMessage = 252;
// `cancel` is a descriptor that becomes readable when the wait is to end (ECANCELED); -1 for none.
Result<std::vector<int>> askForSockets(const std::string& path, int timeoutMs, int cancel);
// The same on a connected, non-blocking socket.
Result<std::vector<int>> askForSockets(int peer, int timeoutMs, int cancel);
// Answers one asker on a connected socket.
Failure answerAsker(int peer, const std::vector<HandedSocket>& sockets, int timeoutMs, int cancel);
// A unix stream socket bound to a path of the file system with mode 0600, not listening.
Result<UniqueFd> bindUnix(const std::string& path);
struct Credentials {
  int pid = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  // Supplementary ones; empty where the kernel does not tell (before Linux 4.13).
  std::vector<uint32_t> groups;
};
Result<Credentials> peerCredentials(int fd);

// ---- describe.cc: what our own descriptors are

struct DescribedSocket {
  int fd = -1;
  bool listening = false;  // SO_ACCEPTCONN
  uint32_t netns = 0;      // inode of its network namespace; 0: it may not be asked (CAP_NET_ADMIN)
};
struct DescribedUnix : DescribedSocket {
  UnixListener name;
};
// One entry a descriptor: those of IP sockets stand in the order of `table.rows`.
struct DescribedSockets {
  SocketTable table;  // the indexes of its devices are its own
  std::vector<DescribedSocket> inet;
  std::vector<DescribedUnix> local;
};
// Bound sockets among these descriptors; whatever else they are is left out.
DescribedSockets describeSockets(const std::vector<int>& fds);

// ---- exit.cc: how processes end

struct ProcessEnd {
  enum How : int32_t { exited = 0, killed = 1, unknown = 2 };
  How how = unknown;
  int status = 0;  // exit status, or signal
  bool core = false;
};
// PR_SET_CHILD_SUBREAPER: descendants without parent become our children instead of init's.
Failure becomeSubreaper();

// ---- service.cc: the service manager's descriptor store

// sd_notify(3): one message with at most 253 descriptors (SCM_MAX_FD, unix(7)). EAGAIN: the receiver is behind.
Failure notifyService(const std::string& socketPath, const std::string& message, const std::vector<int>& fds = {});
// Duplicates, all or none.
Result<std::vector<int>> copyDescriptors(const std::vector<int>& fds);
// Those of the descriptors that are sockets, all with O_CLOEXEC from now on.
std::vector<int> adoptSockets(const std::vector<int>& fds);

// ---- sys.cc: what Node lacks

Result<std::string> readSysctl(const std::string& path);
Failure writeSysctl(const std::string& path, const std::string& text, int64_t offset);
// False where the process is gone (or the pid is another's by now).
Result<bool> signalProcess(int pid, uint64_t ticks, int signo);
// A pidfd of the process that started at `ticks`; ESRCH where it is gone.
Result<UniqueFd> openProcess(int pid, uint64_t ticks);
// flock(2) without waiting: the locked descriptor, or an invalid one where another process has it.
Result<UniqueFd> tryLock(const std::string& path);
Failure syncFileSystem(const std::string& path);
struct DescriptorLimit {
  uint64_t soft;
  uint64_t hard;
};
// RLIMIT_NOFILE: soft raised to hard.
Result<DescriptorLimit> raiseDescriptorLimit();
// Room for `more` descriptors, before they are opened one by one. Each time the kernel doubles the table of a process
// with threads it waits for all CPUs (fs/file.c expand_fdtable, synchronize_rcu), 5 to 20 ms.
void growDescriptorTable(size_t more);
// Gives free pages of malloc's arenas back, of which each thread has its own: V8's compilers, libuv's pool and a namespace
// grow theirs to a few MB, once. glibc alone does that (malloc_trim(3)); elsewhere nothing happens.
void releaseMemory();

}  // namespace berth
