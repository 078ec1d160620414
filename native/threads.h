// The kinds of thread: one long-lived per network namespace, one per handoff server, and one for the ends of processes.
// No Node header.
#pragma once

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <thread>

#include "kernel.h"

namespace berth {

// All work in one network namespace, one job after the other, off the event loop. setns(2) changes the calling thread
// only; it is never done on a thread of libuv's pool, where a failed way back would poison it for others.
class NamespaceThread {
 public:
  // Empty path: the namespace of the thread that constructs this. `opened` runs on the thread: with the inode of the
  // namespace, or with the failure, after which no job is run.
  NamespaceThread(std::string path, std::function<void(Result<uint64_t>)> opened);
  ~NamespaceThread();  // cancels the job at work, drops those that wait, and joins
  NamespaceThread(const NamespaceThread&) = delete;
  NamespaceThread& operator=(const NamespaceThread&) = delete;

  void post(std::function<void()> job);
  // Becomes readable when jobs that wait for somebody should end.
  int cancel() const { return cancel_.get(); }

 private:
  void run(const std::string& path, const std::function<void(Result<uint64_t>)>& opened);

  UniqueFd cancel_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> jobs_;
  bool stopping_ = false;
  std::thread thread_;
};

// Serves `_getsocks` on a unix socket to root and one other user, each asker on a thread of its own: one that is silent
// keeps nobody waiting. The descriptors stay the caller's and must stay open until stop.
class HandoffServer {
 public:
  ~HandoffServer() { stop(); }
  Failure start(const std::string& path, uint32_t uid, std::vector<HandedSocket> sockets);
  // Joins, and removes the socket where the path is still ours.
  void stop();
  uint32_t served() const { return served_; }

 private:
  struct Talk {
    HandoffServer* server;
    UniqueFd peer;
    pthread_t thread{};
    std::atomic<bool> over{false};
  };
  Failure open();
  void run();
  void admit();
  void answer(Talk* talk);
  void forget(bool all);

  std::string path_;
  uint32_t uid_ = 0;
  std::vector<HandedSocket> sockets_;
  UniqueFd listener_;
  UniqueFd cancel_;
  uint64_t device_ = 0;
  uint64_t inode_ = 0;
  std::atomic<uint32_t> served_{0};
  std::list<Talk> talks_;  // of the server's thread
  std::thread thread_;
};

// Waits for the ends of processes. Its thread starts with the first watch and sleeps until one of them ends.
class ExitWatcher {
 public:
  // Called once: on the thread with the end, or by `unwatch` with null. Not called when the watcher itself ends.
  using Report = std::function<void(const ProcessEnd*)>;

  ExitWatcher() = default;
  ~ExitWatcher();
  ExitWatcher(const ExitWatcher&) = delete;
  ExitWatcher& operator=(const ExitWatcher&) = delete;

  // `id` is the caller's, not 0 and not in use. `reap`: where the process is our child, collect it, too; else its
  // status is only looked at. ESRCH: the process that started at `ticks` is gone.
  Failure watch(uint32_t id, int pid, uint64_t ticks, bool reap, Report report);
  void unwatch(uint32_t id);
  // Reaps zombies whose parent we are, but those that are watched and those `spared`. How many it were.
  uint32_t reapOthers(const std::vector<int>& spared);

 private:
  struct Watch {
    UniqueFd process;
    int pid = 0;
    uint64_t ticks = 0;
    bool reap = false;
    Report report;
  };
  Failure start();
  void run();
  Report take(uint32_t id, ProcessEnd* end);
  static ProcessEnd collect(const Watch& watch);

  UniqueFd epoll_;
  UniqueFd stop_;
  std::mutex mutex_;
  std::map<uint32_t, Watch> watches_;
  std::thread thread_;
};

}  // namespace berth
