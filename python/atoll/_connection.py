"""A connection to a server of the program."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ._binary import find_binary
from ._errors import Error, plain
from ._rows import Rows
from ._server import Server

if TYPE_CHECKING:
    import pyarrow
    from adbc_driver_manager import dbapi

# A row with an image may be larger than the 16 MiB that the driver takes by itself.
_MESSAGE_BYTES = 1 << 30
_NEEDED = "atoll.connect needs adbc-driver-flightsql and pyarrow: pip install 'atoll[python]'"


def connect(
    storage: str | os.PathLike[str] | None = None,
    cluster: str | None = None,
    *,
    threads: int | None = None,
    memory_limit: str | None = None,
    token: str | None = None,
    binary: str | os.PathLike[str] | None = None,
    timeout: float = 60.0,
) -> Connection:
    """Starts a server on this machine and connects to it.

    `storage` is the folder or URL of trials, models and tables; without it, that of the
    program, which the prompt uses too. `cluster` is the address of a scheduler, such as
    `df://host:50050`, whose executors then do the work; `token`, or else the variable
    ATOLL_TOKEN, is the cluster's. Without a cluster the token is made up, so that nobody
    else on this machine can use the server. `memory_limit` is a size such as `"2g"`, and
    `timeout` the seconds that the server may take to begin.

    Paths in statements are relative to the folder that this process is in now.
    """
    try:
        import adbc_driver_flightsql  # noqa: F401
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise Error(f"{_NEEDED} ({error})") from error
    options: list[str] = []
    for name, value in (
        ("--storage", None if storage is None else os.fspath(storage)),
        ("--cluster", cluster),
        ("--threads", None if threads is None else str(threads)),
        ("--memory-limit", memory_limit),
    ):
        if value is not None:
            options += [name, value]
    if cluster is not None and token is None:
        token = os.environ.get("ATOLL_TOKEN")
    program = find_binary() if binary is None else os.fspath(binary)
    server = Server(str(Path(program)), options, token, timeout)
    try:
        return Connection(server)
    except BaseException:
        server.close()
        raise


_latest: weakref.ref[Connection] | None = None


def latest_connection() -> Connection | None:
    """The connection that was made last, while somebody holds it."""
    return None if _latest is None else _latest()


class Connection:
    """Statements go in, rows come out; a context manager that ends the server."""

    def __init__(self, server: Server) -> None:
        global _latest
        from adbc_driver_flightsql import dbapi

        login = {
            "username": "python",
            "password": server.token,
            "adbc.flight.sql.client_option.with_max_msg_size": str(_MESSAGE_BYTES),
        }
        self._server = server
        try:
            # Every statement commits by itself.
            self._adbc: dbapi.Connection = dbapi.connect(
                server.address, db_kwargs=login, autocommit=True
            )
        except dbapi.Error as error:
            raise plain(error) from error
        self._registered: set[str] = set()
        # The end of the process closes it as well; the server itself ends in any case.
        self._finish = weakref.finalize(
            self, _close, server, self._adbc, self._registered
        )
        _latest = weakref.ref(self)

    @property
    def adbc(self) -> dbapi.Connection:
        """The connection of the driver, for what is not here, such as its cursors."""
        return self._adbc

    @property
    def address(self) -> str:
        """Where the server listens, such as `grpc://127.0.0.1:35791`."""
        return self._server.address

    @property
    def token(self) -> str:
        """What other clients of this server show as their password."""
        return self._server.token

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return not self._finish.alive

    def sql(
        self,
        statement: str,
        parameters: Sequence[object] | Mapping[str, object] | None = None,
    ) -> Rows:
        """Runs a statement and returns its rows.

        `?` or `$1` in it stand for `parameters`. Ctrl-C cancels it. Of what does not fit
        into memory `batches` returns a part at a time.
        """
        with self._statement(statement, parameters) as cursor:
            try:
                return Rows(cursor.fetch_arrow_table())
            except self._errors() as error:
                raise plain(error) from None

    def batches(
        self,
        statement: str,
        parameters: Sequence[object] | Mapping[str, object] | None = None,
    ) -> pyarrow.RecordBatchReader:
        """As `sql`, for more rows than fit into memory: they are computed as they are read."""
        cursor = self._statement(statement, parameters)
        reader = cursor.fetch_record_batch()
        # The cursor must live as long as the rows are read.
        weakref.finalize(reader, cursor.close)
        return reader

    def register(self, name: str, frame: object, *, replace: bool = False) -> None:
        """Makes a table of a frame of pandas, polars or pyarrow, or what reads as Arrow.

        The table is stored, so that executors of a cluster reach it, and is dropped when
        the connection is closed. Registering a name again replaces the table. A table
        that was there before is replaced only with `replace`.
        """
        table = _arrow(name, frame)
        known = name in self._registered or replace
        data: Any = table
        if table.num_rows == 0:
            import pyarrow

            # The driver sends nothing of a table without rows.
            data = pyarrow.RecordBatch.from_pylist([], schema=table.schema)
        try:
            with self._adbc.cursor() as cursor:
                cursor.adbc_ingest(name, data, mode="replace" if known else "create")
        except self._errors() as error:
            failure = plain(error)
            if not known and "exists already" in str(failure):
                text = f"there is a table {name} that this connection did not register"
                failure = Error(f"{text}; pass replace=True to replace it")
            raise failure from None
        self._registered.add(name)

    def unregister(self, name: str) -> None:
        """Drops a table that this connection registered."""
        if name not in self._registered:
            raise Error(f"{name} was not registered by this connection")
        self.sql(f"DROP TABLE IF EXISTS {_quoted(name)}")
        self._registered.discard(name)

    def keep(self, name: str) -> None:
        """Lets a registered table stay after the connection is closed."""
        self._registered.discard(name)

    def close(self) -> None:
        """Drops what was registered and ends the server."""
        self._finish()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else self.address
        return f"<atoll.Connection {state}>"

    def _statement(
        self,
        statement: str,
        parameters: Sequence[object] | Mapping[str, object] | None,
    ) -> dbapi.Cursor:
        if self.closed:
            raise Error("the connection is closed; connect again")
        cursor = self._adbc.cursor()
        try:
            cursor.execute(statement, parameters)
        except self._errors() as error:
            cursor.close()
            raise plain(error) from None
        except BaseException:
            cursor.close()
            raise
        return cursor

    @staticmethod
    def _errors() -> tuple[type[BaseException], ...]:
        import pyarrow
        from adbc_driver_manager import dbapi

        # What fails while rows are fetched comes through Arrow's stream.
        return (dbapi.Error, pyarrow.ArrowException, OSError)


def _close(server: Server, adbc: dbapi.Connection, registered: set[str]) -> None:
    from adbc_driver_manager import dbapi

    try:
        for name in sorted(registered):
            with adbc.cursor() as cursor:
                cursor.execute(f"DROP TABLE IF EXISTS {_quoted(name)}")
        adbc.close()
    except dbapi.Error:
        # The server is gone, and with it whoever could drop them.
        pass
    finally:
        registered.clear()
        server.close()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _arrow(name: str, frame: object) -> pyarrow.Table:
    import pyarrow

    if isinstance(frame, pyarrow.Table):
        return frame
    if isinstance(frame, pyarrow.RecordBatch):
        return pyarrow.Table.from_batches([frame])
    if type(frame).__module__.partition(".")[0] == "pandas":
        # Its numbers of rows are no column; an index with a name is one.
        has_name = any(label is not None for label in frame.index.names)  # type: ignore[attr-defined]
        table = pyarrow.Table.from_pandas(frame, preserve_index=has_name)
        return table.replace_schema_metadata(None)
    if hasattr(frame, "__arrow_c_stream__"):
        return pyarrow.table(frame)
    kind = type(frame).__name__
    raise Error(
        f"{name}: a {kind} is no frame; register one of pandas, polars or pyarrow"
    )
