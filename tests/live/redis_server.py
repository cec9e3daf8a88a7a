"""Debian's Redis with a password, which can be stopped and started again at one address."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

from tests.live.programs import find
from tests.live.servers import Port
from tests.waiting import until

PASSWORD = "hunter2/&"
_LIMIT = 30  # seconds until it must answer


class RedisServer:
    """It keeps only what `save` has written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = Port()
        self._process: subprocess.Popen[bytes] | None = None
        self.address = f"127.0.0.1:{self._port.number}"
        self.url = f"redis://:hunter2%2F%26@{self.address}/0"

    def start(self) -> None:
        program = find("redis-server")
        assert program is not None, "redis-server is not installed"
        options = {
            "port": str(self._port.number),
            "bind": "127.0.0.1",
            "requirepass": PASSWORD,
            "save": "",
            "appendonly": "no",
            "dir": str(self._folder),
        }
        command = [program, *(part for name, value in options.items() for part in (f"--{name}", value))]
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(lambda: self.command("PING") == b"+PONG\r\n", "Redis to answer", seconds=_LIMIT)

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """Let it accept connections and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def command(self, *words: str) -> bytes:
        """Its answer as bytes; b"" if it can't be reached."""
        lines = f'AUTH "{PASSWORD}"\r\n' + " ".join(words) + "\r\n"
        try:
            with socket.create_connection(("127.0.0.1", self._port.number), 5) as connection:
                connection.sendall(lines.encode())
                connection.shutdown(socket.SHUT_WR)
                answer = b""
                while piece := connection.recv(65536):
                    answer += piece
        except OSError:
            return b""
        return answer.removeprefix(b"+OK\r\n")

    def close(self) -> None:
        self.stop()
        self._port.close()
