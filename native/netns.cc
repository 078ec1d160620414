// One long-lived thread per network namespace: a job costs 9 us there, a process made for it would cost 2500.
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "threads.h"

namespace berth {

namespace {

constexpr size_t kUsualDescriptors = 4096;

Result<uint64_t> enter(const std::string& path) {
  if (!path.empty()) {
    UniqueFd fd(retry([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
    if (!fd) return failed("open");
    if (::setns(fd.get(), CLONE_NEWNET) != 0) return failed("setns");
  }
  struct stat status{};
  if (::stat("/proc/thread-self/ns/net", &status) != 0) return failed("stat");
  return static_cast<uint64_t>(status.st_ino);
}

}  // namespace

NamespaceThread::NamespaceThread(std::string path, std::function<void(Result<uint64_t>)> opened)
    : cancel_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  thread_ = std::thread([this, path = std::move(path), opened = std::move(opened)] { run(path, opened); });
}

NamespaceThread::~NamespaceThread() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  if (cancel_) ::eventfd_write(cancel_.get(), 1);
  wake_.notify_one();
  thread_.join();
}

void NamespaceThread::post(std::function<void()> job) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  wake_.notify_one();
}

void NamespaceThread::run(const std::string& path, const std::function<void(Result<uint64_t>)>& opened) {
  // Signals are for Node's own threads.
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
  ::pthread_setname_np(::pthread_self(), "berth-netns");
  Result<uint64_t> inode = cancel_ ? enter(path) : Result<uint64_t>(Failure{EMFILE, "eventfd"});
  bool ready = inode.ok();
  opened(std::move(inode));
  if (!ready) return;
  // Now, while Node still reads the configuration: later the first reload would wait for it.
  growDescriptorTable(kUsualDescriptors);
  for (;;) {
    std::unique_lock<std::mutex> lock(mutex_);
    wake_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
    if (stopping_) return;
    std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
  }
}

}  // namespace berth
