// What Node lacks: sysctl files of the thread's own namespace, signals that cannot hit a recycled pid, file lock.
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel.h"

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

namespace berth {

Result<std::string> readSysctl(const std::string& path) {
  UniqueFd fd(retry([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
  if (!fd) return failed("open");
  // One read: a list of ports that is read in pieces can change in between, and the kernel cuts it at the buffer's size
  // (65535 ports in list form are at most 192 KiB).
  std::string text(256 * 1024, '\0');
  ssize_t got = retry([&] { return ::pread(fd.get(), &text[0], text.size(), 0); });
  if (got < 0) return failed("read");
  text.resize(static_cast<size_t>(got));
  return text;
}

Failure writeSysctl(const std::string& path, const std::string& text, int64_t offset) {
  UniqueFd fd(retry([&] { return ::open(path.c_str(), O_WRONLY | O_CLOEXEC); }));
  if (!fd) return failed("open");
  ssize_t put = retry([&] { return ::pwrite(fd.get(), text.data(), text.size(), offset); });
  if (put < 0) return failed("write");
  return static_cast<size_t>(put) == text.size() ? Failure{} : Failure{EIO, "write"};
}

Result<UniqueFd> openProcess(int pid, uint64_t ticks) {
  UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process) return failed("pidfd_open");
  // Checked after the pidfd exists: if the pid was another's when it was opened, that one is dead by the time this
  // matches.
  Result<ProcessStat> stat = processStat(pid);
  if (!stat.ok()) return stat.failure;
  if (stat.value.startTicks != ticks) return Failure{ESRCH, "pidfd_open"};
  return process;
}

Result<bool> signalProcess(int pid, uint64_t ticks, int signo) {
  Result<UniqueFd> process = openProcess(pid, ticks);
  if (process.failure.error == ESRCH) return false;
  if (!process.ok()) return process.failure;
  if (::syscall(SYS_pidfd_send_signal, process.value.get(), signo, nullptr, 0) == 0) return true;
  if (errno == ESRCH) return false;
  return failed("pidfd_send_signal");
}

Result<UniqueFd> tryLock(const std::string& path) {
  UniqueFd fd(retry([&] { return ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600); }));
  if (!fd) return failed("open");
  if (retry([&] { return ::flock(fd.get(), LOCK_EX | LOCK_NB); }) == 0) return fd;
  if (errno == EWOULDBLOCK) return UniqueFd();
  return failed("flock");
}

Result<Credentials> peerCredentials(int fd) {
  ucred peer{};
  socklen_t length = sizeof(peer);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return failed("getsockopt(SO_PEERCRED)");
  Credentials found{peer.pid, peer.uid, peer.gid, {}};
  // Both of the moment of connect(2), so that no process which has the pid by now can lend its groups.
  std::vector<gid_t> groups(32);
  length = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
  int got = ::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &length);
  if (got != 0 && errno == ERANGE) {
    groups.resize(length / sizeof(gid_t));
    got = ::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &length);
  }
  if (got == 0) found.groups.assign(groups.begin(), groups.begin() + length / sizeof(gid_t));
  return found;
}

Failure syncFileSystem(const std::string& path) {
  UniqueFd fd(retry([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
  if (!fd) return failed("open");
  return ::syncfs(fd.get()) == 0 ? Failure{} : failed("syncfs");
}

Result<DescriptorLimit> raiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return failed("getrlimit");
  if (limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return failed("setrlimit");
  }
  return DescriptorLimit{limit.rlim_cur, limit.rlim_max};
}

void growDescriptorTable(size_t more) {
  UniqueFd lowest(::eventfd(0, EFD_CLOEXEC));
  if (!lowest) return;
  // Beyond the limit this fails, and whoever opens that many is told by the call that finds none left.
  UniqueFd highest(::fcntl(lowest.get(), F_DUPFD_CLOEXEC, lowest.get() + static_cast<int>(more)));
}

void releaseMemory() {
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
}

}  // namespace berth
