# Connections that bind(2) port 0 before connect(2), without SO_REUSEADDR: COUNT of them, to a listener of its own, until
# its input ends. Prints a line when they stand.
import socket, sys

address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((address, port))
server.listen(4096)
held = []
for _ in range(count):
    one = socket.socket()
    one.bind((address, 0))
    one.connect((address, port))
    held += [one, server.accept()[0]]
print("up", flush=True)
sys.stdin.read()
