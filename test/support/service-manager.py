"""A service manager in small, for one service: notify socket, descriptor store, start with LISTEN_FDS (sd_notify(3)).

usage: service-manager.py NOTIFY_SOCKET COMMAND...
Commands on standard input, one a line: start, kill SIGNAL, stored, quit. Answers and events on standard output:
ready, stopping, started PID, ended STATUS, stored COUNT.
"""
import array, os, select, signal, socket, sys

path, command = sys.argv[1], sys.argv[2:]
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(path)
stored, pid, rest = [], None, b""


def say(text):
    print(text, flush=True)


def start():
    global pid
    names = ":".join(name for name, _ in stored)
    pid = os.fork()
    if pid == 0:
        # Out of the way first, so that none is overwritten by another.
        high = [os.dup(fd) for _, fd in stored]
        for fd in high:
            os.set_inheritable(fd, True)
        moved = [fcntl_dup_from(fd, 3000) for fd in high]
        for at, fd in enumerate(moved):
            os.dup2(fd, 3 + at, inheritable=True)
            os.close(fd)
        env = dict(os.environ, NOTIFY_SOCKET=path)
        if stored:
            env.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(stored)), LISTEN_FDNAMES=names)
        os.execvpe(command[0], command, env)
    say(f"started {pid}")


def fcntl_dup_from(fd, first):
    import fcntl

    new = fcntl.fcntl(fd, fcntl.F_DUPFD, first)
    os.close(fd)
    return new


def take():
    message, ancillary, _, _ = notify.recvmsg(65536, socket.CMSG_LEN(253 * 4))
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % 4])
    for fd in fds:
        os.set_inheritable(fd, False)
    words = dict(line.split("=", 1) for line in message.decode().splitlines() if "=" in line)
    name = words.get("FDNAME", "stored")
    if "FDSTORE" in words:
        stored.extend((name, fd) for fd in fds)
        fds = []
    if "FDSTOREREMOVE" in words:
        for entry in [entry for entry in stored if entry[0] == name]:
            stored.remove(entry)
            os.close(entry[1])
    for fd in fds:
        os.close(fd)
    if words.get("READY") == "1":
        say("ready")
    if words.get("STOPPING") == "1":
        say("stopping")


def ended(*_):
    global pid
    while pid is not None:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done == 0:
            return
        pid = None
        say(f"ended {os.waitstatus_to_exitcode(status)}")


signal.signal(signal.SIGCHLD, lambda *_: None)
wake_r, wake_w = os.pipe()
os.set_blocking(wake_w, False)
signal.set_wakeup_fd(wake_w)
while True:
    readable, _, _ = select.select([notify, sys.stdin, wake_r], [], [])
    if wake_r in readable:
        os.read(wake_r, 512)
        ended()
    if notify in readable:
        take()
    if sys.stdin in readable:
        chunk = os.read(0, 4096)
        if not chunk:
            break
        rest += chunk
        *lines, rest = rest.split(b"\n")
        for line in lines:
            word, _, argument = line.decode().partition(" ")
            if word == "start":
                start()
            elif word == "kill" and pid is not None:
                os.kill(pid, getattr(signal, argument))
            elif word == "stored":
                say(f"stored {len(stored)}")
            elif word == "quit":
                sys.exit(0)
if pid is not None:
    os.kill(pid, signal.SIGKILL)
os.unlink(path)
