#!/usr/bin/env python3
"""Makes corpus/ anew: what this kernel and the HAProxy in PATH really answer. As root: unshare -n ./capture.py"""
import array
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time

here = os.path.dirname(os.path.abspath(__file__))
TCPDIAG_GETSOCK, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, NLM_F_DUMP = 18, 20, 1, 0x300


def seed(target, name, data):
    directory = os.path.join(here, 'corpus', target)
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, name), 'wb') as file:
        file.write(data)


def netlink(name, kind, body):
    fd = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
    fd.send(struct.pack('=IHHII', 16 + len(body), kind, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + body)
    datagrams = []
    while not datagrams or struct.unpack_from('=H', datagrams[-1], 4)[0] not in (2, 3):
        datagrams.append(fd.recv(32768))
    for i, datagram in enumerate(datagrams):
        seed('netlink', f'{name}-{i}', datagram)


def inet(family, protocol):  # inet_diag_req_v2
    return struct.pack('=BBBBI48s', family, protocol, 0, 0, 0xFFFFFFFF, b'')


def getsocks(name, path):
    """The answer, message by message, in the form of the target getsocks."""
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(path)
    peer.send(b'_getsocks\n')
    total = struct.unpack('=i', peer.recv(4))[0]
    answer = struct.pack('=BBH', 0, 0, 4) + struct.pack('=i', total)
    got = 0
    while got < total:
        data, control, _, _ = peer.recvmsg(1 << 17, socket.CMSG_SPACE(4 * 253))
        fds = array.array('i', b''.join(item[2] for item in control))
        got += len(fds)
        answer += struct.pack('=BBH', len(fds), 0, len(data)) + data
        if got < total:  # HAProxy does not wait for the last one
            peer.send(struct.pack('=i', got))
        for fd in fds:
            os.close(fd)
    seed('getsocks', name, answer)


shutil.rmtree(os.path.join(here, 'corpus'), ignore_errors=True)
subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
work = tempfile.mkdtemp()
held = []
for family, address in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1')):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        for port in (20000, 40001):
            fd = socket.socket(family, kind)
            fd.bind((address, port))
            if kind == socket.SOCK_STREAM and port == 20000:
                fd.listen(1)
                client = socket.create_connection((address, port))
                server = fd.accept()[0]
                if family == socket.AF_INET:
                    server.close()  # TIME_WAIT, with its timer
                    client.close()
                held += [client, server]
            held.append(fd)
for name in (f'{work}/listener', '\0berth abstract\0name'):
    fd = socket.socket(socket.AF_UNIX)
    fd.bind(name)
    fd.listen(1)
    held.append(fd)

netlink('tcp', TCPDIAG_GETSOCK, struct.pack('=BBBB48sII', 0, 0, 0, 0, b'', 0xFFFFFFFF, 0))
netlink('udp', SOCK_DIAG_BY_FAMILY, inet(socket.AF_INET, socket.IPPROTO_UDP))
netlink('udp6', SOCK_DIAG_BY_FAMILY, inet(socket.AF_INET6, socket.IPPROTO_UDP))
netlink('unix', SOCK_DIAG_BY_FAMILY, struct.pack('=BBHIIIII', socket.AF_UNIX, 0, 0, 1 << 10, 0, 1, 0, 0))
netlink('no-family', SOCK_DIAG_BY_FAMILY, inet(44, socket.IPPROTO_TCP))
netlink('no-handler', SOCK_DIAG_BY_FAMILY, inet(socket.AF_INET, 255))

for name in ('tcp', 'tcp6', 'udp', 'udp6'):
    seed('procnet', name, b'\x10' + open(f'/proc/net/{name}', 'rb').read())
lines = open('/proc/net/unix', 'rb').read().splitlines(True)
seed('procnet', 'unix', b'\x40' + lines[0] + b''.join(line for line in lines if b'berth' in line or work.encode() in line))
seed('procstat', 'stat', open('/proc/self/stat', 'rb').read())
named = subprocess.Popen(['sleep', '9'])
seed('procstat', 'named', open(f'/proc/{named.pid}/stat', 'rb').read().replace(b'(sleep)', b'(a) R 1 (b c)'))
named.kill()
named.wait()
seed('procstat', 'link', os.readlink(f'/proc/self/fd/{held[-1].fileno()}').encode())

stats = f'{work}/stats'
with open(f'{work}/cfg', 'w') as file:
    file.write(f'global\n stats socket {stats} expose-fd listeners\ndefaults\n mode tcp\n timeout connect 1s\n'
               ' timeout client 1s\n timeout server 1s\nlisten a\n bind 127.0.0.1:21000\n bind 127.0.0.1:21001 interface lo\n')
haproxy = subprocess.Popen(['haproxy', '-db', '-f', f'{work}/cfg'], stderr=subprocess.DEVNULL)
while not os.path.exists(stats):
    time.sleep(0.01)
time.sleep(0.3)
getsocks('haproxy', stats)
haproxy.kill()
haproxy.wait()
seed('getsocks', 'none', struct.pack('=BBHi', 0, 0, 4, 0))
seed('getsocks', 'text', struct.pack('=BBH', 0, 0, 60) + b'Unknown command. Please enter one of the following commands')
seed('asker', 'haproxy', b'_getsocks\n' + struct.pack('=ii', 252, 253))
seed('asker', 'other', b'show info\n')
for name, ports in (('one', [443]), ('lbagent', [*range(30000, 30020), 58824, 60999]), ('even', range(2, 4000, 2))):
    seed('ports', name, struct.pack(f'={len(ports)}H', *ports))
shutil.rmtree(work)
