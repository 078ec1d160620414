#!/usr/bin/env python3
"""A unix socket whose owner answers as it is told, descriptors included, which Node cannot send:
    hostile-peer.py PATH
A line of JSON on standard input is the plan for the next connection, a list of steps; {} is printed when it is done.
    {"read": true}                        what the asker has said, as far as it is there
    {"hex": H, "kinds": [K, …]}           these bytes in one message, with one descriptor for each kind
    {"hex": H, "every": MS}               byte by byte, so many milliseconds apart
    {"endless": H}                        these bytes again and again, until the asker closes
    {"silence": true}                     nothing, until the asker closes
    {"reset": true}                       closed with what the asker has said unread
Kinds: listen, listen6, bound, fresh, udp, connected, unix, netlink, file, directory, pipe, event."""
import array
import json
import os
import select
import socket
import sys
import time


def descriptor(kind):
    if kind in ('listen', 'bound', 'fresh', 'listen6'):
        fd = socket.socket(socket.AF_INET6 if kind == 'listen6' else socket.AF_INET)
        if kind != 'fresh':
            fd.bind(('::1' if kind == 'listen6' else '127.0.0.1', 0))
        if kind.startswith('listen'):
            fd.listen(1)
        return fd.detach()
    if kind == 'udp':
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach()
    if kind == 'connected':
        one, other = socket.socketpair()
        other.close()
        return one.detach()
    if kind == 'unix':
        return socket.socket(socket.AF_UNIX).detach()
    if kind == 'netlink':
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).detach()
    if kind == 'pipe':
        one, other = os.pipe()
        os.close(other)
        return one
    if kind == 'event':
        return os.eventfd(0)
    return os.open('/' if kind == 'directory' else '/dev/null', os.O_RDONLY)


def wait_for_end(peer):
    while peer.recv(65536):
        pass


def play(peer, step):
    if 'read' in step:
        select.select([peer], [], [], 5)
        peer.recv(65536, socket.MSG_DONTWAIT)
    elif 'kinds' in step:
        fds = [descriptor(kind) for kind in step['kinds']]
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
        try:
            peer.sendmsg([bytes.fromhex(step['hex'])], rights)
        finally:
            for fd in fds:
                os.close(fd)
    elif 'every' in step:
        for byte in bytes.fromhex(step['hex']):
            peer.send(bytes([byte]))
            time.sleep(step['every'] / 1000)
    elif 'endless' in step:
        block = bytes.fromhex(step['endless']) * 1000
        while True:
            peer.sendall(block)
    elif 'silence' in step:
        wait_for_end(peer)


listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(16)
print('{}', flush=True)
for line in sys.stdin:
    peer = listener.accept()[0]
    steps = json.loads(line)
    try:
        for step in steps:
            play(peer, step)
    except OSError:
        pass  # the asker has had enough
    peer.close()
    print('{}', flush=True)
