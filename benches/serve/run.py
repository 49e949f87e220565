#!/usr/bin/env python3
"""Drives `atoll serve` as users of Python do, with ADBC, and prints what held.

    python3 -m venv /tmp/venv
    /tmp/venv/bin/pip install --requirement benches/serve/requirements.txt
    /tmp/venv/bin/python benches/serve/run.py --atoll target/release/atoll

The memory is the server's peak, VmHWM of /proc, over all that ran before it.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import adbc_driver_flightsql.dbapi as flight_sql
import adbc_driver_manager
import pandas
import pyarrow
import pyarrow.compute
from adbc_driver_flightsql import DatabaseOptions

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "0123456789abcdef0123456789abcdef"
STREAMED = 10_000_000
MEMORY_MIB = 300
CLIENTS = 32
FOREVER = (
    "SELECT train('sql/data/digits.parquet', {architecture: 'lenet', "
    "learning_rate: 0.01, epochs: 100000, patience: 0}) AS t"
)


class Server:
    """A server process with a storage of its own."""

    def __init__(self, atoll, folder, *arguments, token=None):
        command = [atoll, "serve", "--port", "0", "--stop-with-input"]
        command += ["--storage", folder, *arguments]
        environment = dict(os.environ)
        environment.pop("ATOLL_TOKEN", None)
        if token is not None:
            environment["ATOLL_TOKEN"] = token
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        said = self.process.stderr.readline()
        found = re.search(r"grpc(\+tls)?://[^\s,]+", said)
        assert found, said
        self.address = found.group()
        drain = threading.Thread(target=self.process.stderr.read, daemon=True)
        drain.start()

    def connect(self, **options):
        return flight_sql.connect(self.address, db_kwargs=options, autocommit=True)

    def peak_mib(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 1024

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")")[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def computes(self):
        before = self.cpu_seconds()
        time.sleep(0.3)
        return self.cpu_seconds() - before > 0.06

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(timeout=30)


def rows(connection, sql, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


def failure(action):
    try:
        action()
    except adbc_driver_manager.Error as error:
        return error
    raise AssertionError("it did not fail")


def queries(server):
    with server.connect() as connection:
        assert rows(connection, "SELECT 1 AS n, 'a' AS s, NULL AS x") == [(1, "a", None)]
        with connection.cursor() as cursor:
            cursor.execute("SELECT image, label FROM 'sql/data/digits.parquet'")
            digits = cursor.fetch_df()
        assert list(digits.columns) == ["image", "label"] and len(digits) > 1000
        photos = "SELECT filename, content, size FROM read_blob('sql/data/photos/*')"
        for name, content, size in rows(connection, photos):
            assert len(content) == size == Path(ROOT, name).stat().st_size
        with connection.cursor() as cursor:
            schema = cursor.adbc_execute_schema("SELECT 1 AS n, 'a' AS s")
        assert schema.names == ["n", "s"]
    return f"{len(digits)} digits, photos byte for byte, schema without running"


def changes(server, folder):
    with server.connect() as connection:
        assert rows(connection, "CREATE TABLE t AS SELECT unnest([1, 2, 3]) AS n") == []
        assert rows(connection, f"COPY t TO '{folder}/copied.parquet'") == [(3,)]
        with connection.cursor() as cursor:
            cursor.execute("SET datafusion.execution.batch_size = 100")
            cursor.executemany(
                f"COPY (SELECT ? AS n) TO '{folder}/many.csv'", [(1,), (2,), (3,)]
            )
            assert cursor.rowcount == 3, cursor.rowcount
    return "CREATE TABLE, COPY with its count, SET, executemany"


def prepared(server):
    with server.connect() as connection:
        assert rows(connection, "SELECT ? + 1, ?", (41, "it's")) == [(42, "it's")]
        sql = "SELECT count(*) FROM 'sql/data/digits.parquet' WHERE label < $1"
        assert rows(connection, sql, (5,))[0][0] > rows(connection, sql, (1,))[0][0] > 0
        sql = (
            "SELECT t.status FROM (SELECT train('sql/data/digits.parquet', "
            "{architecture: 'dense(10)', learning_rate: ?, epochs: ?}) AS t)"
        )
        assert rows(connection, sql, (0.1, 1)) == [("SUCCEEDED",)]
        none = failure(lambda: rows(connection, "SELECT ?, ?", (1,)))
        assert "has 2 parameters, got 1" in str(none), none
    return "?, $1, hyperparameters, too few refused"


def catalog(server):
    with server.connect() as connection:
        rows(connection, "CREATE TABLE things AS SELECT 1 AS n, 'a' AS s")
        rows(connection, "CREATE VIEW seen AS SELECT n FROM things")
        found = connection.adbc_get_objects(depth="all").read_all().to_pylist()
        schemas = {
            schema["db_schema_name"]: schema["db_schema_tables"]
            for catalog in found
            for schema in catalog["catalog_db_schemas"]
        }
        tables = {table["table_name"]: table for table in schemas["public"]}
        assert tables["things"]["table_type"] == "TABLE"
        assert tables["seen"]["table_type"] == "VIEW"
        columns = [column["column_name"] for column in tables["things"]["table_columns"]]
        assert columns == ["n", "s"]
        assert connection.adbc_get_table_schema("things").names == ["n", "s"]
        assert set(connection.adbc_get_table_types()) >= {"TABLE", "VIEW"}
        assert connection.adbc_get_info()["vendor_name"] == "Atoll"
    return "catalogs, schemas, tables, views, columns, types, vendor"


def ingest(server):
    frame = pandas.DataFrame({"n": range(100_000), "s": "text"})
    with server.connect() as connection, connection.cursor() as cursor:
        table = pyarrow.Table.from_pandas(frame)
        count = cursor.adbc_ingest("frame", table, mode="create")
        assert count in (len(frame), -1), count
        cursor.execute("SELECT count(*), sum(n) FROM frame")
        assert cursor.fetchone() == (len(frame), sum(range(100_000)))
        again = failure(lambda: cursor.adbc_ingest("frame", table, mode="create"))
        assert "exists already" in str(again), again
        cursor.adbc_ingest("frame", table.slice(0, 5), mode="replace")
        append = failure(lambda: cursor.adbc_ingest("frame", table, mode="append"))
        assert "not appended" in str(append), append
    return "create and replace; append is refused"


def errors(server):
    with server.connect() as connection:
        for sql, kind, part in [
            ("SELEC 1", adbc_driver_manager.ProgrammingError, "syntax error"),
            ("SELECT nope", adbc_driver_manager.ProgrammingError, "no column named nope"),
            ("SELECT trian('a', {})", adbc_driver_manager.ProgrammingError, "named trian"),
        ]:
            error = failure(lambda: rows(connection, sql))
            assert isinstance(error, kind) and part in str(error), repr(error)
        assert rows(connection, "SELECT 1") == [(1,)]
    return "syntax, column, function; the connection lives on"


def sessions(server):
    with server.connect() as one, server.connect() as two:
        rows(one, "CREATE VIEW mine AS SELECT 1 AS n")
        rows(one, "SET datafusion.execution.batch_size = 77")
        assert rows(one, "SELECT * FROM mine") == [(1,)]
        assert "named mine" in str(failure(lambda: rows(two, "SELECT * FROM mine")))
        setting = "SHOW datafusion.execution.batch_size"
        assert rows(one, setting)[0][1] == "77" != rows(two, setting)[0][1]
    return "views and settings stay with their connection"


def cancel(server):
    with server.connect() as connection, connection.cursor() as cursor:
        threading.Timer(3, cursor.adbc_cancel).start()
        began = time.monotonic()
        error = failure(lambda: (cursor.execute(FOREVER), cursor.fetchall()))
        took = time.monotonic() - began
        assert "ancel" in str(error), repr(error)
        assert took < 5, took
    began = time.monotonic()
    while server.computes():
        assert time.monotonic() - began < 5, "the training goes on"
    return f"training stopped {took - 3:.2f} s after adbc_cancel"


def many(server):
    def client(n):
        with server.connect() as connection:
            rows(connection, f"CREATE VIEW v AS SELECT {n} AS n")
            sql = (
                "SELECT n, sum(x) FROM v, generate_series(1, 100000) AS g(x) GROUP BY n"
            )
            return all(rows(connection, sql) == [(n, 5000050000)] for _ in range(5))

    began = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        assert all(pool.map(client, range(CLIENTS)))
    return f"{CLIENTS} clients, 6 statements each, {time.monotonic() - began:.1f} s"


def stream(server):
    sql = (
        "SELECT x AS id, x * 0.5 AS half, 'row ' || CAST(x AS VARCHAR) AS text "
        f"FROM generate_series(1, {STREAMED}) AS g(x)"
    )
    began, count, total, size = time.monotonic(), 0, 0, 0
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        for batch in cursor.fetch_record_batch():
            count += batch.num_rows
            size += batch.nbytes
            total += pyarrow.compute.sum(batch.column("id")).as_py()
    took = time.monotonic() - began
    assert count == STREAMED and total == STREAMED * (STREAMED + 1) // 2
    return f"{count:,} rows, {size / 2**20:.0f} MiB, {took:.1f} s"


def slow_reader(server):
    """A client that does not read on must not make the server gather rows."""
    before = server.peak_mib()
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT x, repeat('x', 100) FROM generate_series(1, {STREAMED}) AS g(x)")
        reader = cursor.fetch_record_batch()
        reader.read_next_batch()
        time.sleep(3)
        assert not server.computes(), "it goes on without being read"
    grown = server.peak_mib() - before
    assert grown < 100, f"{grown:.0f} MiB more"
    return f"waits for its client, {grown:.0f} MiB more"


def access(atoll, folder):
    with Server(atoll, folder, token=TOKEN) as server:
        none = failure(lambda: rows(server.connect(), "SELECT 1"))
        assert "needs its token" in str(none), none
        wrong = failure(lambda: server.connect(username="ann", password="wrong"))
        assert "needs its token" in str(wrong), wrong
        with server.connect(username="ann", password=TOKEN) as connection:
            assert rows(connection, "SELECT 1") == [(1,)]
        header = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {TOKEN}"}
        with server.connect(**header) as connection:
            rows(connection, "CREATE VIEW v AS SELECT 1 AS n")
            assert rows(connection, "SELECT * FROM v") == [(1,)]
    return "none, wrong, as the password, as the bearer"


def encryption(atoll, folder):
    key, certificate = f"{folder}/key.pem", f"{folder}/certificate.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    make += " -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    command = make.split() + ["-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    with Server(atoll, folder, "--tls-cert", certificate, "--tls-key", key) as server:
        trusted = {DatabaseOptions.TLS_ROOT_CERTS.value: Path(certificate).read_text()}
        with server.connect(**trusted) as connection:
            assert rows(connection, "SELECT 1") == [(1,)]
        failure(lambda: rows(server.connect(), "SELECT 1"))
    return "trusted with the certificate, refused without"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--atoll", default=str(ROOT / "target/release/atoll"))
    atoll = str(Path(arguments.parse_args().atoll).resolve())
    warnings.simplefilter("ignore")
    failed = 0

    def check(name, action):
        nonlocal failed
        try:
            found, verdict = action(), "pass"
        except Exception as error:  # The table shows what happened.
            found, verdict = f"{type(error).__name__}: {error}", "FAIL"
            failed += 1
        print(f"{verdict}  {name:<12} {found}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        with Server(atoll, folder) as server:
            check("stream", lambda: stream(server))
            check("slow reader", lambda: slow_reader(server))
            peak = server.peak_mib()
            below = peak < MEMORY_MIB
            failed += not below
            verdict = "pass" if below else "FAIL"
            print(f"{verdict}  {'memory':<12} peak {peak:.0f} MiB, allowed {MEMORY_MIB}")
            check("queries", lambda: queries(server))
            check("changes", lambda: changes(server, folder))
            check("prepared", lambda: prepared(server))
            check("catalog", lambda: catalog(server))
            check("ingest", lambda: ingest(server))
            check("errors", lambda: errors(server))
            check("sessions", lambda: sessions(server))
            check("cancel", lambda: cancel(server))
            check("clients", lambda: many(server))
            print(f"      {'memory':<12} peak {server.peak_mib():.0f} MiB after all of these")
        check("access", lambda: access(atoll, folder))
        check("TLS", lambda: encryption(atoll, folder))
    return failed


if __name__ == "__main__":
    sys.exit(main())
