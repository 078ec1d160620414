// The two kinds of thread: one long-lived per network namespace, and one per handoff server. No Node header.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
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

// Serves `_getsocks` on a unix socket, one asker after the other, to root and one other user. The descriptors stay the
// caller's and must stay open until stop.
class HandoffServer {
 public:
  ~HandoffServer() { stop(); }
  Failure start(const std::string& path, uint32_t uid, std::vector<HandedSocket> sockets);
  // Joins, and removes the socket where the path is still ours.
  void stop();
  uint32_t served() const { return served_; }

 private:
  Failure open();
  void run();
  void answer();

  std::string path_;
  uint32_t uid_ = 0;
  std::vector<HandedSocket> sockets_;
  UniqueFd listener_;
  UniqueFd cancel_;
  uint64_t device_ = 0;
  uint64_t inode_ = 0;
  std::atomic<uint32_t> served_{0};
  std::thread thread_;
};

}  // namespace berth
