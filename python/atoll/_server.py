"""A server of the program for one process."""

import collections
import contextlib
import os
import queue
import re
import secrets
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import IO

from ._errors import Error

# What the program says once it listens.
_LISTENS = re.compile(r"serve: (?P<address>grpc(?:\+tls)?://[^\s,]+)")
# How long a stopped server may take: a training stops within a mini-batch.
_PATIENCE = 20.0


class Server:
    """`atoll serve` on a free port of the loopback, which ends with this process.

    The program holds the other end of a pipe and stops when it closes, so it ends however
    this process does.
    """

    def __init__(
        self,
        binary: str,
        options: Sequence[str],
        token: str | None,
        timeout: float,
    ) -> None:
        self.token = token or secrets.token_urlsafe(32)
        command = [binary, "serve", "--port", "0", "--stop-with-input", *options]
        # In the environment other users do not see it, as they would see an argument.
        environment: Mapping[str, str] = {**os.environ, "ATOLL_TOKEN": self.token}
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env=environment,
                # Ctrl-C in a terminal cancels a statement and must not end the server.
                start_new_session=True,
            )
        except OSError as error:
            raise Error(f"cannot start {binary}: {error}") from error
        self._said: collections.deque[str] = collections.deque(maxlen=200)
        self._addresses: queue.Queue[str | None] = queue.Queue()
        assert self._process.stderr is not None
        self._reader = threading.Thread(
            target=self._read, args=(self._process.stderr,), daemon=True
        )
        self._reader.start()
        self.address = self._wait(timeout)

    def _read(self, stderr: IO[str]) -> None:
        for line in stderr:
            self._said.append(line)
            found = _LISTENS.search(line)
            if found:
                self._addresses.put(found["address"])
            if line.startswith("warning: "):
                # What the prompt would say about a statement's rows.
                print(line, end="", file=sys.stderr)
        self._addresses.put(None)

    def _wait(self, timeout: float) -> str:
        try:
            address = self._addresses.get(timeout=timeout)
        except queue.Empty:
            self.close()
            said = "".join(self._said).strip()
            text = f"atoll serve did not listen within {timeout:g} s"
            raise Error(f"{text}: {said}" if said else text) from None
        if address is None:
            self.close()
            said = "".join(self._said).strip()
            raise Error(said.removeprefix("error: ") or "atoll serve ended at once")
        return address

    @property
    def process_id(self) -> int:
        """The id of the server's process."""
        return self._process.pid

    def close(self) -> None:
        """Ends the server: statements that still run are cancelled."""
        process = self._process
        assert process.stdin is not None and process.stderr is not None
        if process.poll() is None:
            # Once lets statements finish, the second time stops them.
            process.terminate()
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._reader.join(_PATIENCE)
        process.stderr.close()
