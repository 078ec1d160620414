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

// HAProxy itself gives up after one second without an answer: who has not asked by then is not HAProxy.
constexpr int kAnswerTimeoutMs = 900;
constexpr size_t kAtOnce = 64;

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
    if ((::poll(watched, 2, -1) < 0 && errno != EINTR) || watched[1].revents) break;
    if (watched[0].revents) admit();
  }
  forget(true);
}

void HandoffServer::admit() {
  forget(false);
  // No descriptor left, or too many at once: the asker stays in the backlog, so pause instead of spinning.
  auto pause = [this] {
    pollfd cancel{cancel_.get(), POLLIN, 0};
    ::poll(&cancel, 1, 10);
  };
  if (talks_.size() >= kAtOnce) return pause();
  UniqueFd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!peer) return errno == EMFILE || errno == ENFILE ? pause() : void();
  Result<Credentials> credentials = peerCredentials(peer.get());
  if (!credentials.ok() || (credentials.value.uid != 0 && credentials.value.uid != uid_)) return;
  talks_.emplace_back();
  Talk* talk = &talks_.back();
  talk->server = this;
  talk->peer = std::move(peer);
  auto body = [](void* its) -> void* {
    auto* talk = static_cast<Talk*>(its);
    talk->server->answer(talk);
    return nullptr;
  };
  // pthread_create(3), because it returns its failure (TasksMax=, ulimit -u): then this thread answers.
  if (::pthread_create(&talk->thread, nullptr, body, talk) == 0) return;
  answer(talk);
  talks_.pop_back();
}

void HandoffServer::answer(Talk* talk) {
  Failure why = answerAsker(talk->peer.get(), sockets_, kAnswerTimeoutMs, cancel_.get());
  if (!why) served_++;
  talk->peer.reset();
  talk->over = true;
}

// Joins the talks that are over, or all: those at work are cancelled.
void HandoffServer::forget(bool all) {
  for (auto talk = talks_.begin(); talk != talks_.end();) {
    if (!all && !talk->over) {
      ++talk;
      continue;
    }
    ::pthread_join(talk->thread, nullptr);
    talk = talks_.erase(talk);
  }
}

}  // namespace berth
