// The ends of processes: ours, watched or not, and the watcher's own end at any moment.
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "../../native/threads.h"
#include "check.h"

using namespace berth;

namespace {

// A child that ends by `end` when it is told to. (Not when the gate closes: children that are forked later have it, too.)
struct Child {
  int pid;
  UniqueFd gate;
  void go() const { CHECK_EQUAL(::write(gate.get(), "", 1), 1); }
  uint64_t ticks() const { return processStat(pid).value.startTicks; }
};

Child child(void (*end)()) {
  int ends[2];
  if (::pipe(ends) != 0) std::abort();
  int pid = ::fork();
  if (pid == 0) {
    ::close(ends[1]);
    char byte;
    (void)!::read(ends[0], &byte, 1);
    end();
    ::_exit(99);
  }
  ::close(ends[0]);
  return {pid, UniqueFd(ends[1])};
}

// Collects one report.
struct Answer {
  UniqueFd done{::eventfd(0, EFD_CLOEXEC)};
  ProcessEnd end;
  bool told = false;
  ExitWatcher::Report report() {
    return [this](const ProcessEnd* how) {
      told = how != nullptr;
      if (how) end = *how;
      ::eventfd_write(done.get(), 1);
    };
  }
  void wait() {
    eventfd_t unused;
    ::eventfd_read(done.get(), &unused);
  }
};

bool isZombie(int pid) { return processStat(pid).value.state == 'Z'; }

void untilZombie(int pid) {
  while (!isZombie(pid)) ::usleep(1000);
}

}  // namespace

TEST("a child that exits, and one that is killed", [] {
  ExitWatcher watcher;
  Child exits = child([] { ::_exit(7); });
  Child dies = child([] { ::raise(SIGKILL); });
  Answer first, second;
  CHECK(!watcher.watch(1, exits.pid, exits.ticks(), true, first.report()));
  CHECK(!watcher.watch(2, dies.pid, dies.ticks(), true, second.report()));
  exits.go();
  first.wait();
  dies.go();
  second.wait();
  CHECK_EQUAL(first.end.how, ProcessEnd::exited);
  CHECK_EQUAL(first.end.status, 7);
  CHECK_EQUAL(second.end.how, ProcessEnd::killed);
  CHECK_EQUAL(second.end.status, SIGKILL);
  CHECK_EQUAL(::waitpid(exits.pid, nullptr, 0), -1);
  CHECK_EQUAL(::waitpid(dies.pid, nullptr, 0), -1);
});

TEST("a child that is only looked at is still there to be waited for", [] {
  ExitWatcher watcher;
  Child looked = child([] { ::_exit(3); });
  Answer answer;
  CHECK(!watcher.watch(1, looked.pid, looked.ticks(), false, answer.report()));
  looked.go();
  answer.wait();
  CHECK_EQUAL(answer.end.status, 3);
  int status = 0;
  CHECK_EQUAL(::waitpid(looked.pid, &status, 0), looked.pid);
  CHECK_EQUAL(WEXITSTATUS(status), 3);
});

TEST("a process that is another by now is not watched", [] {
  ExitWatcher watcher;
  int before = openFiles();
  CHECK_EQUAL(watcher.watch(1, ::getpid(), 1, true, {}).error, ESRCH);
  CHECK_EQUAL(watcher.watch(1, 4000000, 1, true, {}).error, ESRCH);
  CHECK_EQUAL(openFiles(), before);
});

TEST("a watch that is stopped is told so once, and its process is not reaped", [] {
  int before = openFiles();
  {
    ExitWatcher watcher;
    Child stays = child([] {});
    Answer answer;
    CHECK(!watcher.watch(1, stays.pid, stays.ticks(), true, answer.report()));
    watcher.unwatch(1);
    answer.wait();
    CHECK(!answer.told);
    watcher.unwatch(1);
    stays.go();
    CHECK_EQUAL(::waitpid(stays.pid, nullptr, 0), stays.pid);
  }
  CHECK_EQUAL(openFiles(), before);
});

TEST("a watcher ends with watches under way, and tells nobody", [] {
  int before = openFiles();
  Child stays = child([] {});
  Answer answer;
  {
    ExitWatcher watcher;
    for (uint32_t id = 1; id <= 100; id++) CHECK(!watcher.watch(id, stays.pid, stays.ticks(), true, answer.report()));
  }
  pollfd told{answer.done.get(), POLLIN, 0};
  CHECK_EQUAL(::poll(&told, 1, 0), 0);
  stays.go();
  CHECK_EQUAL(::waitpid(stays.pid, nullptr, 0), stays.pid);
  answer.done.reset();
  stays.gate.reset();
  CHECK_EQUAL(openFiles(), before);
});

TEST("zombies of nobody are reaped, behind those that are spared too", [] {
  ExitWatcher watcher;
  CHECK_EQUAL(watcher.reapOthers({}), 0);
  Child spared = child([] {}), watched = child([] { ::_exit(5); }), stranger = child([] {}), alive = child([] {});
  spared.go();
  untilZombie(spared.pid);
  stranger.go();
  untilZombie(stranger.pid);
  Answer answer;
  CHECK(!watcher.watch(1, watched.pid, watched.ticks(), true, answer.report()));
  CHECK_EQUAL(watcher.reapOthers({spared.pid}), 1);
  CHECK(isZombie(spared.pid));
  CHECK_EQUAL(processStat(stranger.pid).failure.error, ESRCH);
  watched.go();
  answer.wait();
  CHECK_EQUAL(answer.end.status, 5);
  CHECK_EQUAL(watcher.reapOthers({}), 1);
  alive.go();
  untilZombie(alive.pid);
  CHECK_EQUAL(watcher.reapOthers({}), 1);
});
