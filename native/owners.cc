// From a socket's inode to the process that holds it: /proc/PID/fd. About 3.5 us a descriptor, so who is likely comes
// first.
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <unordered_set>

#include "parse.h"

namespace berth {

namespace {

// Calls `each(number)` for the numeric names of a directory until it returns false.
template <typename Each>
Failure eachNumber(const std::string& path, int* directoryFd, Each each) {
  int fd = retry([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
  if (fd < 0) return failed("open");
  DIR* directory = ::fdopendir(fd);
  if (!directory) {
    Failure why = failed("fdopendir");
    ::close(fd);
    return why;
  }
  *directoryFd = fd;
  for (;;) {
    errno = 0;
    dirent* entry = ::readdir(directory);
    if (!entry) break;
    char* end;
    long number = std::strtol(entry->d_name, &end, 10);
    if (end != entry->d_name && *end == '\0' && !each(static_cast<int>(number))) break;
  }
  Failure why = errno ? failed("readdir") : Failure{};
  ::closedir(directory);
  return why;
}

// Calls `each(fd, inode)` for the sockets of a process until it returns false. A process that ends meanwhile is no
// error.
template <typename Each>
Failure eachSocket(int pid, Each each) {
  int directory = -1;
  Failure why = eachNumber("/proc/" + std::to_string(pid) + "/fd", &directory, [&](int fd) {
    char name[16], target[64];
    std::snprintf(name, sizeof(name), "%d", fd);
    ssize_t length = ::readlinkat(directory, name, target, sizeof(target));
    errno = 0;
    uint32_t inode;
    if (length < 0 || !parseSocketLink(std::string_view(target, static_cast<size_t>(length)), &inode)) return true;
    return each(fd, inode);
  });
  return why;
}

std::string commOf(int pid) {
  std::string path = "/proc/" + std::to_string(pid) + "/comm";
  UniqueFd fd(retry([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
  char text[64];
  ssize_t got = fd ? retry([&] { return ::read(fd.get(), text, sizeof(text)); }) : -1;
  if (got > 0 && text[got - 1] == '\n') got--;
  return got > 0 ? std::string(text, static_cast<size_t>(got)) : std::string();
}

}  // namespace

std::vector<int> allProcesses() {
  std::vector<int> pids;
  int unused;
  eachNumber("/proc", &unused, [&](int pid) {
    pids.push_back(pid);
    return true;
  });
  return pids;
}

std::vector<Holder> holdersOf(const std::vector<uint32_t>& inodes, const std::vector<int>& hints) {
  std::vector<Holder> holders;
  std::unordered_set<uint32_t> wanted(inodes.begin(), inodes.end());
  std::unordered_set<uint32_t> missing = wanted;
  missing.erase(0);  // TIME_WAIT and orphans: nobody's
  std::unordered_set<int> seen;
  auto look = [&](int pid, bool untilFound) {
    if (!seen.insert(pid).second) return;
    eachSocket(pid, [&](int fd, uint32_t inode) {
      if (inode && wanted.count(inode)) {
        holders.push_back({inode, pid, fd});
        missing.erase(inode);
      }
      return !(untilFound && missing.empty());
    });
  };
  for (int pid : hints) look(pid, false);
  if (missing.empty()) return holders;
  std::vector<int> others;
  for (int pid : allProcesses()) {
    if (commOf(pid) == "haproxy") {
      look(pid, false);
    } else {
      others.push_back(pid);
    }
  }
  for (size_t i = 0; i < others.size() && !missing.empty(); i++) look(others[i], true);
  return holders;
}

Result<std::vector<Holder>> socketsOf(int pid) {
  std::vector<Holder> sockets;
  Failure why = eachSocket(pid, [&](int fd, uint32_t inode) {
    sockets.push_back({inode, pid, fd});
    return true;
  });
  if (why) return why;
  return sockets;
}

std::vector<int> processesNamed(const std::string& comm) {
  std::vector<int> pids;
  for (int pid : allProcesses()) {
    if (commOf(pid) == comm) pids.push_back(pid);
  }
  return pids;
}

Result<ProcessStat> processStat(int pid) {
  std::string path = "/proc/" + std::to_string(pid) + "/stat";
  UniqueFd fd(retry([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
  if (!fd) return errno == ENOENT ? Failure{ESRCH, "open"} : failed("open");
  char text[4096];
  ssize_t got = retry([&] { return ::read(fd.get(), text, sizeof(text)); });
  if (got < 0) return failed("read");
  ProcessStat stat;
  bool read = parseProcStat(std::string_view(text, static_cast<size_t>(got)), &stat);
  return read ? Result<ProcessStat>(stat) : Failure{EPROTO, "read"};
}

}  // namespace berth
