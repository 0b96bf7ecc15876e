"""A network between a client and a server that is slow, loses answers, or changes what is asked."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Set
from types import TracebackType


class Proxy:
    """Passes on, on a port of its own, what is sent to the port *to* of this machine.

    Attributes:
        port: Where it listens.
        answers: How many answers have come from the server.
        lose: Which of them are lost, counted from 0: the server has done what it was asked, and nobody says so.
        delay: Seconds by which each answer is late.
        may_answer: Until this is set, all answers are held up. It is set at first.
        rewrite: What is sent instead of a request's bytes.
    """

    def __init__(self, to: int) -> None:
        self.answers = 0
        self.lose: Set[int] = frozenset()
        self.delay = 0.0
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.rewrite: Callable[[bytes], bytes] = bytes
        self._to = to
        self._counting = threading.Lock()
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, url: str) -> str:
        """*url* through this proxy."""
        return url.replace(f":{self._to}", f":{self.port}")

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._to))
                except OSError:
                    client.close()
                    continue
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections += [client, server]
                asked = threading.Event()
                threading.Thread(target=self._up, args=(client, server, asked), daemon=True).start()
                threading.Thread(target=self._down, args=(client, server, asked), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, asked: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                asked.set()
                server.sendall(self.rewrite(data))
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _down(self, client: socket.socket, server: socket.socket, asked: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                if asked.is_set():
                    asked.clear()
                    with self._counting:
                        number, self.answers = self.answers, self.answers + 1
                    if number in self.lose:
                        break
                    time.sleep(self.delay)
                    self.may_answer.wait()
                client.sendall(data)
        for one in (client, server):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.may_answer.set()
        self._listener.close()
        for one in self._connections:
            one.close()
