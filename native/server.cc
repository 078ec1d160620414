// The server's side of a handoff on its own thread: a new HAProxy asks while Node waits for that HAProxy to come up.
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "threads.h"

namespace berth {

namespace {

// HAProxy itself gives up after one second without an answer, so no asker may keep the next one waiting longer.
constexpr int kAnswerTimeoutMs = 900;

}  // namespace

Failure HandoffServer::start(const std::string& path, uint32_t uid, std::vector<HandedSocket> sockets) {
  Result<UniqueFd> listener = bindUnix(path);
  if (!listener.ok()) return listener.failure;
  path_ = path;
  uid_ = uid;
  sockets_ = std::move(sockets);
  listener_ = std::move(listener.value);
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return failed("stat");
  device_ = status.st_dev;
  inode_ = status.st_ino;
  if (Failure why = open()) {
    stop();
    return why;
  }
  thread_ = std::thread([this] { run(); });
  return {};
}

Failure HandoffServer::open() {
  // accept4 must not block where the asker that poll saw has gone again.
  if (::fcntl(listener_.get(), F_SETFL, O_NONBLOCK) != 0) return failed("fcntl");
  if (::listen(listener_.get(), 16) != 0) return failed("listen");
  cancel_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  return cancel_ ? Failure{} : failed("eventfd");
}

void HandoffServer::stop() {
  if (thread_.joinable()) {
    ::eventfd_write(cancel_.get(), 1);
    thread_.join();
  }
  struct stat status{};
  if (inode_ && ::stat(path_.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_) {
    ::unlink(path_.c_str());
  }
  inode_ = 0;
  listener_.reset();
}

void HandoffServer::run() {
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
  ::pthread_setname_np(::pthread_self(), "berth-handoff");
  for (;;) {
    pollfd watched[2] = {{listener_.get(), POLLIN, 0}, {cancel_.get(), POLLIN, 0}};
    if (::poll(watched, 2, -1) < 0 && errno != EINTR) return;
    if (watched[1].revents) return;
    if (watched[0].revents) answer();
  }
}

void HandoffServer::answer() {
  UniqueFd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!peer) {
    // No descriptor left: the asker stays in the backlog, so pause instead of spinning.
    pollfd cancel{cancel_.get(), POLLIN, 0};
    if (errno == EMFILE || errno == ENFILE) ::poll(&cancel, 1, 10);
    return;
  }
  Result<Credentials> credentials = peerCredentials(peer.get());
  if (!credentials.ok() || (credentials.value.uid != 0 && credentials.value.uid != uid_)) return;
  Failure why = answerAsker(peer.get(), sockets_, kAnswerTimeoutMs, cancel_.get());
  if (!why) served_++;
}

}  // namespace berth
