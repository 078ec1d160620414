"""A service manager's notify socket: for each message, its text and the inodes of the descriptors that came with it.

Usage: notify-socket.py PATH     PATH may begin with @ (abstract). Prints "ready", reads a line, then prints messages
as lines of JSON until its standard input ends.
"""

import array
import json
import os
import select
import socket
import sys

path = sys.argv[1]
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind("\0" + path[1:] if path.startswith("@") else path)
print("ready", flush=True)
sys.stdin.readline()
while True:
    readable, _, _ = select.select([receiver, sys.stdin], [], [])
    if receiver not in readable:
        break
    text, control, _, _ = receiver.recvmsg(4096, socket.CMSG_SPACE(4 * 253))
    fds = array.array("i")
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data)
    inodes = [os.fstat(fd).st_ino for fd in fds]
    for fd in fds:
        os.close(fd)
    print(json.dumps({"text": text.decode(), "inodes": inodes}), flush=True)
