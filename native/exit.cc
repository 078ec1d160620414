// How processes end: one thread sleeps in epoll_wait(2) on the pidfds of all that are watched, and collects their status.
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "threads.h"

namespace berth {

namespace {

constexpr auto kByPidfd = static_cast<idtype_t>(3);  // P_PIDFD, linux/wait.h since 5.4
constexpr uint64_t kStop = 0;                        // no watch has this id
constexpr size_t kAtOnce = 16;

// struct pidfd_info as of its first version, linux/pidfd.h since 6.13.
struct PidfdInfo {
  uint64_t mask;
  uint64_t cgroup;
  uint32_t ids[11];
  int32_t waitStatus;
};
static_assert(sizeof(PidfdInfo) == 64, "PIDFD_INFO_SIZE_VER0");
constexpr unsigned long kGetInfo = _IOWR(0xFF, 11, PidfdInfo);
constexpr uint64_t kInfoExit = 1 << 3;

ProcessEnd endOf(int waitStatus) {
  if (WIFSIGNALED(waitStatus)) return {ProcessEnd::killed, WTERMSIG(waitStatus), bool(WCOREDUMP(waitStatus))};
  return {ProcessEnd::exited, WEXITSTATUS(waitStatus), false};
}

// What the pidfd itself remembers (Linux 6.15), from the moment on that the parent has reaped the process.
bool remembered(int process, ProcessEnd* end) {
  PidfdInfo info{};
  info.mask = kInfoExit;
  if (::ioctl(process, kGetInfo, &info) != 0 || !(info.mask & kInfoExit)) return false;
  *end = endOf(info.waitStatus);
  return true;
}

// What /proc shows of a zombie that its parent has not yet reaped, to those who may trace it: to others it shows 0, as
// of a process that exited well (fs/proc/array.c do_task_stat).
bool shown(int pid, uint64_t ticks, ProcessEnd* end) {
  Result<ProcessStat> stat = processStat(pid);
  if (!stat.ok() || stat.value.startTicks != ticks || stat.value.state != 'Z') return false;
  char target[64];
  // Asks for the same right. A zombie has no namespace any more: ENOENT is permission enough.
  std::string netns = "/proc/" + std::to_string(pid) + "/ns/net";
  if (::readlink(netns.c_str(), target, sizeof(target)) < 0 && (errno == EACCES || errno == EPERM)) return false;
  *end = endOf(stat.value.waitStatus);
  return true;
}

}  // namespace

Failure becomeSubreaper() {
  return ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0 ? Failure{} : failed("prctl(PR_SET_CHILD_SUBREAPER)");
}

Failure ExitWatcher::start() {
  if (thread_.joinable()) return {};
  epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) return failed("epoll_create1");
  stop_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop_) return failed("eventfd");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kStop;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, stop_.get(), &event) != 0) return failed("epoll_ctl");
  thread_ = std::thread([this] { run(); });
  return {};
}

ExitWatcher::~ExitWatcher() {
  if (!thread_.joinable()) return;
  ::eventfd_write(stop_.get(), 1);
  thread_.join();
}

Failure ExitWatcher::watch(uint32_t id, int pid, uint64_t ticks, bool reap, Report report) {
  Result<UniqueFd> process = openProcess(pid, ticks);
  if (!process.ok()) return process.failure;
  if (Failure why = start()) return why;
  std::lock_guard<std::mutex> lock(mutex_);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = id;
  // pid_poll: readable from the end of its last thread on (kernel/fork.c pidfd_poll), at once where it is a zombie.
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, process.value.get(), &event) != 0) return failed("epoll_ctl");
  watches_[id] = Watch{std::move(process.value), pid, ticks, reap, std::move(report)};
  return {};
}

void ExitWatcher::unwatch(uint32_t id) {
  if (Report report = take(id, nullptr)) report(nullptr);
}

// Takes a watch out; with its end, where that is asked for.
ExitWatcher::Report ExitWatcher::take(uint32_t id, ProcessEnd* end) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto found = watches_.find(id);
  if (found == watches_.end()) return {};
  // Under the lock: until its status is collected it counts as watched, and nobody else reaps it.
  if (end) *end = collect(found->second);
  Report report = std::move(found->second.report);
  // close(2) alone would leave it there as long as a child between fork and exec has a copy.
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second.process.get(), nullptr);
  watches_.erase(found);
  return report;
}

// waitid(2) by pidfd cannot reap another process with the same pid. Where it is not ours to wait for, others may know.
ProcessEnd ExitWatcher::collect(const Watch& watch) {
  siginfo_t info{};
  int options = WEXITED | WNOHANG | (watch.reap ? 0 : WNOWAIT);
  auto process = static_cast<id_t>(watch.process.get());
  if (retry([&] { return ::waitid(kByPidfd, process, &info, options); }) == 0 && info.si_pid != 0) {
    bool killed = info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED;
    return {killed ? ProcessEnd::killed : ProcessEnd::exited, info.si_status, info.si_code == CLD_DUMPED};
  }
  ProcessEnd end;
  // Its parent may reap it between the first question and the second: then the pidfd knows.
  if (remembered(watch.process.get(), &end) || shown(watch.pid, watch.ticks, &end)) return end;
  remembered(watch.process.get(), &end);
  return end;
}

uint32_t ExitWatcher::reapOthers(const std::vector<int>& spared) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto isSpared = [&](int pid) {
    return std::find(spared.begin(), spared.end(), pid) != spared.end() ||
           std::any_of(watches_.begin(), watches_.end(), [&](const auto& entry) { return entry.second.pid == pid; });
  };
  auto reap = [](int pid) {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG) == 0 && info.si_pid != 0;
  };
  uint32_t reaped = 0;
  for (;;) {
    siginfo_t first{};
    if (::waitid(P_ALL, 0, &first, WEXITED | WNOHANG | WNOWAIT) != 0 || first.si_pid == 0) return reaped;
    if (isSpared(first.si_pid)) break;
    if (reap(first.si_pid)) reaped++;
  }
  // A look shows always the same zombie; behind one that is spared there may be others. For what is no child of ours
  // waitid(2) fails in less than a microsecond.
  for (int pid : allProcesses()) {
    if (!isSpared(pid) && reap(pid)) reaped++;
  }
  return reaped;
}

void ExitWatcher::run() {
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
  ::pthread_setname_np(::pthread_self(), "berth-exit");
  for (;;) {
    epoll_event events[kAtOnce];
    int ready = ::epoll_wait(epoll_.get(), events, kAtOnce, -1);
    if (ready < 0 && errno != EINTR) return;
    for (int i = 0; i < ready; i++) {
      if (events[i].data.u64 == kStop) return;
      ProcessEnd end;
      // Nothing to report where it was stopped meanwhile.
      if (Report report = take(static_cast<uint32_t>(events[i].data.u64), &end)) report(&end);
    }
  }
}

}  // namespace berth
