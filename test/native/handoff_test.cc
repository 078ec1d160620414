// Descriptors that change hands: good peers, hostile ones, and too few descriptors.
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "../../native/threads.h"
#include "check.h"

using namespace berth;

namespace {

std::string path(const char* name) {
  static char directory[] = "/tmp/berth-native-XXXXXX";
  static const char* made = ::mkdtemp(directory);
  return std::string(made) + "/" + name;
}

uint64_t inodeOf(int fd) {
  struct stat status{};
  ::fstat(fd, &status);
  return status.st_ino;
}

std::vector<UniqueFd> someSockets(size_t count) {
  std::vector<UniqueFd> sockets;
  for (size_t i = 0; i < count; i++) sockets.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return sockets;
}

// One message with these bytes and `count` descriptors.
void sendRaw(int peer, const void* data, size_t length, int fd, size_t count) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 253)] = {};
  iovec part{const_cast<void*>(data), length};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (count) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * count);
    for (size_t i = 0; i < count; i++) std::memcpy(CMSG_DATA(header) + i * sizeof(int), &fd, sizeof(int));
  }
  (void)::sendmsg(peer, &message, MSG_NOSIGNAL);
}

// Serves one asker by `answer` and returns what the asker got.
Result<std::vector<int>> askOneThatAnswers(const std::function<void(int peer)>& answer, int timeoutMs = 5000) {
  std::string where = path("hostile");
  ::unlink(where.c_str());
  Result<UniqueFd> listener = bindUnix(where);
  CHECK(listener.ok() && ::listen(listener.value.get(), 1) == 0);
  std::thread server([&] {
    UniqueFd peer(::accept4(listener.value.get(), nullptr, nullptr, SOCK_CLOEXEC));
    answer(peer.get());
  });
  Result<std::vector<int>> result = askForSockets(where, timeoutMs, -1);
  server.join();
  return result;
}

TEST("served sockets arrive whole and in order, by 252 at most in one message", [] {
  for (size_t count : {0, 1, 252, 253, 600}) {
    std::vector<UniqueFd> sockets = someSockets(count);
    std::vector<HandedSocket> handed;
    for (const UniqueFd& fd : sockets) handed.push_back({fd.get(), count == 253 ? std::string(255, 'n') : "", "eth0"});
    HandoffServer server;
    CHECK(!server.start(path("served"), 0, handed));
    for (int asker = 1; asker <= 2; asker++) {
      Result<std::vector<int>> got = askForSockets(path("served"), 5000, -1);
      CHECK(got.ok());
      CHECK_EQUAL(got.value.size(), count);
      for (size_t i = 0; i < got.value.size(); i++) {
        UniqueFd copy(got.value[i]);
        CHECK(inodeOf(copy.get()) == inodeOf(sockets[i].get()));
      }
    }
    server.stop();
    CHECK_EQUAL(server.served(), 2);
    CHECK(::access(path("served").c_str(), F_OK) != 0);
  }
});

TEST("askers who are silent keep nobody waiting, and end with the server", [] {
  int before = openFiles();
  std::vector<UniqueFd> sockets = someSockets(2);
  std::vector<UniqueFd> silent;
  {
    HandoffServer server;
    CHECK(!server.start(path("patient"), 0, {{sockets[0].get(), "", ""}, {sockets[1].get(), "", ""}}));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::string where = path("patient");
    std::memcpy(address.sun_path, where.data(), where.size());
    for (int i = 0; i < 40; i++) {
      silent.emplace_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
      CHECK(::connect(silent.back().get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
    }
    // One after the other they would take 36 s.
    Result<std::vector<int>> got = askForSockets(where, 10000, -1);
    CHECK(got.ok());
    CHECK_EQUAL(got.value.size(), 2);
    for (int fd : got.value) UniqueFd closing(fd);
    server.stop();
    CHECK_EQUAL(server.served(), 1);
  }
  silent.clear();
  sockets.clear();
  CHECK_EQUAL(openFiles(), before);
});

TEST("more descriptors than announced: refused, all closed", [] {
  int before = openFiles();
  Result<std::vector<int>> got = askOneThatAnswers([](int peer) {
    int one = 1;
    sendRaw(peer, &one, sizeof(one), -1, 0);
    sendRaw(peer, "xxxxxx", 6, peer, 3);
  });
  CHECK_EQUAL(got.failure.error, EPROTO);
  CHECK_EQUAL(openFiles(), before);
});

TEST("one message with more descriptors than the protocol has: refused, all closed", [] {
  int before = openFiles();
  Result<std::vector<int>> got = askOneThatAnswers([](int peer) {
    int many = 300;
    sendRaw(peer, &many, sizeof(many), -1, 0);
    sendRaw(peer, "x", 1, peer, 253);
  });
  CHECK_EQUAL(got.failure.error, EPROTO);
  CHECK_EQUAL(openFiles(), before);
});

TEST("descriptors with the number already: refused or counted, never lost", [] {
  int before = openFiles();
  Result<std::vector<int>> got = askOneThatAnswers(
      [](int peer) {
        int one = 1;
        sendRaw(peer, &one, sizeof(one), peer, 5);
      },
      200);
  CHECK(!got.ok());
  CHECK_EQUAL(openFiles(), before);
});

TEST("half an answer, then the end or silence: an error, all closed", [] {
  int before = openFiles();
  for (bool silent : {false, true}) {
    Result<std::vector<int>> got = askOneThatAnswers(
        [silent](int peer) {
          UniqueFd some(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
          int two = 2;
          sendRaw(peer, &two, sizeof(two), -1, 0);
          sendRaw(peer, "xxxxxx", 6, some.get(), 1);
          char rest[64];
          ssize_t asked = ::recv(peer, rest, 10, 0), acknowledged = ::recv(peer, rest, 4, 0);
          CHECK(asked == 10 && acknowledged == 4);
          if (silent) ::recv(peer, rest, sizeof(rest), 0);
        },
        300);
    CHECK_EQUAL(got.failure.error, silent ? ETIMEDOUT : ECONNRESET);
  }
  CHECK_EQUAL(openFiles(), before);
});

TEST("no descriptor left for what arrives: EMFILE, all closed", [] {
  int before = openFiles();
  std::vector<UniqueFd> sockets = someSockets(20);
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  rlimit low = limit;
  Result<std::vector<int>> got = askOneThatAnswers([&](int peer) {
    int twenty = 20;
    low.rlim_cur = static_cast<rlim_t>(openFiles() + 4);
    ::setrlimit(RLIMIT_NOFILE, &low);
    sendRaw(peer, &twenty, sizeof(twenty), -1, 0);
    sendRaw(peer, "x", 1, sockets[0].get(), 20);
    char rest[64];
    while (::recv(peer, rest, sizeof(rest), 0) > 0) {
    }
  });
  ::setrlimit(RLIMIT_NOFILE, &limit);
  CHECK_EQUAL(got.failure.error, EMFILE);
  sockets.clear();
  CHECK_EQUAL(openFiles(), before);
});

TEST("a wait that is cancelled ends", [] {
  Result<UniqueFd> listener = bindUnix(path("deaf"));
  CHECK(listener.ok() && ::listen(listener.value.get(), 1) == 0);
  UniqueFd cancel(::eventfd(1, EFD_CLOEXEC));
  CHECK_EQUAL(askForSockets(path("deaf"), 1000000, cancel.get()).failure.error, ECANCELED);
});

TEST("a namespace's thread runs jobs in order, and one that cannot enter runs none", [] {
  std::vector<int> order;
  {
    std::mutex done;
    done.lock();
    NamespaceThread own("", [](Result<uint64_t> inode) { CHECK(inode.ok() && inode.value > 0); });
    for (int i = 0; i < 3; i++) own.post([&order, i] { order.push_back(i); });
    own.post([&done] { done.unlock(); });
    done.lock();
    done.unlock();
  }
  CHECK(order == (std::vector<int>{0, 1, 2}));
  int error = 0;
  {
    NamespaceThread wrong("/proc/self/ns/mnt", [&](Result<uint64_t> inode) { error = inode.failure.error; });
    wrong.post([] { CHECK(false); });
  }
  CHECK_EQUAL(error, EINVAL);
});

TEST("sharing and duplicating reach another process, and only the one that is meant", [] {
  UniqueFd held(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  auto inode = static_cast<uint32_t>(inodeOf(held.get()));
  pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  uint64_t ticks = processStat(child).value.startTicks;
  int value = 0;
  socklen_t length = sizeof(value);
  CHECK_EQUAL(shareSocket(child, ticks, held.get(), inode + 1).error, ESTALE);
  CHECK_EQUAL(shareSocket(child, ticks + 1, held.get(), inode).error, ESRCH);
  CHECK(!shareSocket(child, ticks, held.get(), inode));
  CHECK(::getsockopt(held.get(), SOL_SOCKET, SO_REUSEADDR, &value, &length) == 0 && value == 1);
  Result<std::vector<Duplicate>> copies = duplicateSockets(child, ticks, {inode, inode + 12345});
  CHECK(copies.ok() && copies.value.size() == 1 && inodeOf(copies.value[0].fd) == inode);
  for (const Duplicate& copy : copies.value) UniqueFd closing(copy.fd);
  CHECK(signalProcess(child, ticks, SIGKILL).value);
  ::waitpid(child, nullptr, 0);
  CHECK(!signalProcess(child, ticks, SIGKILL).value);
});

TEST("the service manager is told", [] {
  UniqueFd manager(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string where = path("notify");
  std::memcpy(address.sun_path, where.data(), where.size());
  CHECK(::bind(manager.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  CHECK(!notifyService(where, "READY=1"));
  char text[16] = {};
  CHECK_EQUAL(::recv(manager.get(), text, sizeof(text) - 1, MSG_DONTWAIT), 7);
  CHECK(std::string(text) == "READY=1");
  CHECK_EQUAL(notifyService(std::string(200, 'x'), "READY=1").error, ENAMETOOLONG);
  CHECK_EQUAL(notifyService("", "READY=1").error, ENAMETOOLONG);
});

}  // namespace
