"""`%%sql` in notebooks."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from ._connection import Connection, connect, latest_connection
from ._errors import Error

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from ._rows import Rows

_USAGE = (
    "%atoll [--storage FOLDER] [--cluster df://HOST:PORT] [--threads N] [--memory-limit SIZE]"
)
_OPTIONS = {"--storage", "--cluster", "--threads", "--memory-limit"}


def load_ipython_extension(shell: InteractiveShell) -> None:
    """`%load_ext atoll`: adds %sql, %%sql and %atoll."""
    magics = _Magics(shell)
    # IPython decorates this method in a way that hides its arguments from checkers.
    register: Any = shell.register_magic_function
    register(magics.sql, "line_cell", "sql")
    register(magics.atoll, "line", "atoll")


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """`%unload_ext atoll`: the magics go."""
    for kind, name in (("line", "sql"), ("cell", "sql"), ("line", "atoll")):
        shell.magics_manager.magics[kind].pop(name, None)


class _Magics:
    """The magics of one notebook, and the connection that they made."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._own: Connection | None = None

    def sql(self, line: str, cell: str | None = None) -> Rows | None:
        """Runs a statement: `%sql SELECT ..`, or `%%sql [NAME]` with it below.

        With NAME the rows go into that variable and are not shown. The connection is the
        latest one of `atoll.connect`, or one that is made now.
        """
        if cell is None:
            return self._connection().sql(line)
        name = line.strip()
        if name and not name.isidentifier():
            raise Error(f"%%sql takes the name of a variable, got {name}")
        rows = self._connection().sql(cell)
        if not name:
            return rows
        self._shell.user_ns[name] = rows
        return None

    def atoll(self, line: str) -> Connection:
        """Connects anew: `%atoll --storage FOLDER`."""
        words = shlex.split(line)
        options: dict[str, Any] = {}
        while words:
            name = words.pop(0)
            if name not in _OPTIONS or not words:
                raise Error(f"{name} is unknown or lacks its value; {_USAGE}")
            value: str = words.pop(0)
            key = name.removeprefix("--").replace("-", "_")
            options[key] = int(value) if key == "threads" else value
        if self._own is not None:
            self._own.close()
        self._own = connect(**options)
        return self._own

    def _connection(self) -> Connection:
        latest = latest_connection()
        if latest is not None and not latest.closed:
            return latest
        self._own = connect()
        return self._own
