// Sockets of another process: duplicated with pidfd_getfd(2) (kernel >= 5.6, needs the right to ptrace the owner).
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <unordered_map>

#include "kernel.h"

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

namespace berth {

namespace {

// A duplicate of `fd` of the process; ESTALE where that is another socket by now.
Result<UniqueFd> duplicate(int process, int fd, uint32_t inode) {
  UniqueFd copy(static_cast<int>(::syscall(SYS_pidfd_getfd, process, fd, 0)));
  if (!copy) return errno == EBADF ? Failure{ESTALE, "pidfd_getfd"} : failed("pidfd_getfd");
  struct stat status{};
  if (::fstat(copy.get(), &status) != 0) return failed("fstat");
  if (!S_ISSOCK(status.st_mode) || static_cast<uint32_t>(status.st_ino) != inode) return Failure{ESTALE, "pidfd_getfd"};
  return copy;
}

}  // namespace

Result<std::vector<Duplicate>> duplicateSockets(int pid, uint64_t ticks, const std::vector<uint32_t>& inodes) {
  Result<UniqueFd> process = openProcess(pid, ticks);
  if (!process.ok()) return process.failure;
  Result<std::vector<Holder>> held = socketsOf(pid);
  if (!held.ok()) return held.failure;
  std::unordered_map<uint32_t, int> descriptors;
  for (const Holder& holder : held.value) descriptors.emplace(holder.inode, holder.fd);

  growDescriptorTable(inodes.size());
  std::vector<UniqueFd> copies;
  std::vector<Duplicate> result;
  for (uint32_t inode : inodes) {
    auto found = descriptors.find(inode);
    if (found == descriptors.end()) continue;
    Result<UniqueFd> copy = duplicate(process.value.get(), found->second, inode);
    if (copy.failure.error == ESTALE) continue;
    if (!copy.ok()) return copy.failure;  // what was copied so far closes with `copies`
    copies.push_back(std::move(copy.value));
    result.push_back({inode, copies.back().get()});
  }
  for (UniqueFd& copy : copies) copy.release();
  return result;
}

Failure shareSocket(int pid, uint64_t ticks, int fd, uint32_t inode) {
  Result<UniqueFd> process = openProcess(pid, ticks);
  if (!process.ok()) return process.failure;
  Result<UniqueFd> copy = duplicate(process.value.get(), fd, inode);
  if (!copy.ok()) return copy.failure;
  // The owner's later TIME_WAIT inherits the option, so that the port stays bindable after the connection too.
  int one = 1;
  if (::setsockopt(copy.value.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0)
    return failed("setsockopt(SO_REUSEADDR)");
  return {};
}

}  // namespace berth
