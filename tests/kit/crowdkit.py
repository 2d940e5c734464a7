"""More clients of a server at once than it has files to begin with."""

import os
import socket
import time
from contextlib import ExitStack

#: Before a server's command: the soft bound is low, the hard one is not, as container engines may have it.
FEW_FILES = ("prlimit", "--nofile=256:4096")
CLIENTS = 400
SECONDS = 60.0


def ask_at_once(pid: int, host: str, port: int, path: str) -> set[bytes]:
    """The status lines that clients get, once the server has a connection to all of them."""
    question = f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    with ExitStack() as held:
        clients = [
            held.enter_context(socket.create_connection((host, port), SECONDS))
            for _ in range(CLIENTS)
        ]
        until = time.monotonic() + SECONDS
        while len(os.listdir(f"/proc/{pid}/fd")) <= CLIENTS:
            assert time.monotonic() < until, "not all are connected"
            time.sleep(0.05)
        for client in clients:
            client.sendall(question)
        return {client.recv(4096).partition(b"\r\n")[0] for client in clients}
