"""Stored tables and other programs: who reads what, and filters over extreme values.

    python3 -m venv /tmp/readers
    /tmp/readers/bin/pip install deltalake polars duckdb pyarrow
    /tmp/readers/bin/python benches/tables/readers.py ATOLL [--part atoll ..]
        [--save benches/runs/DATE-MACHINE]

ATOLL is the binary. The parts:

    atoll    Atoll writes, with every type and after every statement that changes a
             table; deltalake, Polars, pyarrow and DuckDB over pyarrow read
    python   deltalake writes, with deletes and new columns, and by hand with what only
             other engines write (deletion vectors, renamed columns); Atoll reads
    copy     COPY .. STORED AS DELTA in each mode; deltalake and Polars read
    filters  each filter over a table in several files against the same over VALUES, and
             over a table that deltalake wrote

Every line is a JSON object; the first of a part says machine, versions and command, and
one with `good` false is a difference. --save writes the lines to tables_readers_PART.jsonl
in that folder, too. Exit code 1 if anything differs.
"""

import argparse
import datetime
import decimal
import json
import math
import platform
import shutil
import struct
import sys
import tempfile
import time
from pathlib import Path

import deltalake
import duckdb
import polars
import pyarrow
import pyarrow.compute
import pyarrow.dataset
import pyarrow.parquet
from deltalake import DeltaTable, write_deltalake

from run import Atoll, processor


class Report:
    """The lines of a part."""

    def __init__(self, part, options):
        name = f"{options.save}/tables_readers_{part}.jsonl"
        self.file = open(name, "w") if options.save else None
        self.wrong = self.right = 0
        self.line(
            machine=f"{processor()}, Linux {platform.release()}", date=time.strftime("%Y-%m-%d"),
            deltalake=deltalake.__version__, polars=polars.__version__, duckdb=duckdb.__version__,
            pyarrow=pyarrow.__version__, command=f"readers.py ATOLL --part {part}",
        )

    def line(self, **fields):
        self.wrong += fields.get("good") is False
        self.right += fields.get("good") is True
        text = json.dumps(fields, default=str, ensure_ascii=False)
        print(text, flush=True)
        if self.file:
            print(text, file=self.file, flush=True)

    def compare(self, what, reader, read, expected, **fields):
        """Whether a reader finds the expected rows, whatever it does instead."""
        try:
            found = normal(read())
        except Exception as error:  # A reader may fail in any way, which is a result.
            said = f"{type(error).__name__}: {error}"[:400]
            self.line(what=what, reader=reader, error=said, good=False, **fields)
            return
        good = found == expected
        shown = {} if good else difference(found, expected)
        self.line(what=what, reader=reader, rows=len(found), good=good, **shown, **fields)


def difference(found, expected):
    if len(found) != len(expected):
        return {"found": str(found)[:400], "expected": str(expected)[:400]}
    pairs = [(f, e) for f, e in zip(found, expected) if f != e]
    names = [name for name in pairs[0][1] if pairs[0][0].get(name) != pairs[0][1][name]]
    of = lambda row: str({name: row.get(name) for name in names or row})[:400]
    return {"different": len(pairs), "found": of(pairs[0][0]), "expected": of(pairs[0][1])}


def plain(value):
    """A value in a form that two readers can agree on."""
    if isinstance(value, bool) or value is None or isinstance(value, (str, bytes)):
        return value
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else decimal.Decimal(value)
    if isinstance(value, (int, decimal.Decimal)):
        return decimal.Decimal(value)
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.timezone.utc).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def normal(table):
    """The rows in the order of their ids, columns by name."""
    if isinstance(table, polars.DataFrame):
        table = table.to_arrow()
    columns = {name: kept(table[name]) for name in sorted(table.column_names)}
    rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
    return sorted(rows, key=lambda row: (row["id"] is None, row["id"]))


def kept(column):
    """The values in the types that Delta Lake keeps them in."""
    column = pyarrow.chunked_array(column) if not isinstance(column, pyarrow.ChunkedArray) else column
    kind = column.type
    if pyarrow.types.is_time32(kind):
        column = column.cast(pyarrow.int32())
    elif pyarrow.types.is_time64(kind) or pyarrow.types.is_duration(kind):
        column = column.cast(pyarrow.int64())
    elif pyarrow.types.is_timestamp(kind):
        column = column.cast(pyarrow.timestamp("us", kind.tz))
    return [plain(value) for value in column.to_pylist(maps_as_pydicts="strict")]


class Home:
    """A storage, and places for files."""

    def __init__(self, binary, folder):
        self.folder = Path(folder)
        self.atoll = Atoll(binary, self.folder / "storage")
        self.numbers = iter(range(10**6))

    def path(self, name):
        return str(self.folder / "storage" / "tables" / name)

    def run(self, *statements):
        return self.atoll.rows("; ".join(statements))

    def read(self, source, where="", columns="*"):
        """What Atoll reads, by way of a Parquet file."""
        file = self.folder / f"answer_{next(self.numbers)}.parquet"
        self.run(f"COPY (SELECT {columns} FROM {source} {where}) TO '{file}'")
        return pyarrow.parquet.read_table(file)


TYPES = """
    {id} AS id,
    arrow_cast({small}, 'UInt8') AS u8, arrow_cast({small} * 200, 'UInt16') AS u16,
    arrow_cast({small} * 10000000, 'UInt32') AS u32,
    arrow_cast('18446744073709551615', 'UInt64') AS u64,
    arrow_cast({small} - 100, 'Int8') AS i8, arrow_cast({small}, 'Int16') AS i16,
    arrow_cast(-{small}, 'Int32') AS i32, -9223372036854775807 AS i64,
    [arrow_cast({small}, 'UInt8'), NULL] AS u8s,
    arrow_cast([1.5, {small}], 'FixedSizeList(2, Float32)') AS embedding,
    arrow_cast('a{small}', 'Dictionary(Int32, Utf8)') AS dictionary,
    arrow_cast('2026-11-30T01:02:03', 'Timestamp(Second, None)') AS seconds,
    arrow_cast('2026-11-30T01:02:03.123456', 'Timestamp(Nanosecond, None)') AS nanoseconds,
    arrow_cast('2026-11-30T01:02:03.123456Z', 'Timestamp(Microsecond, Some("+00:00"))') AS instant,
    arrow_cast('2026-11-30T01:02:03Z', 'Timestamp(Second, Some("Europe/Paris"))') AS in_paris,
    arrow_cast(1.5, 'Float16') AS half, arrow_cast('NaN', 'Float32') AS f32,
    arrow_cast('-Infinity', 'Float64') AS f64,
    TIME '12:34:56.789' AS time_of_day, DATE '0001-01-01' AS first_day,
    DATE '9999-12-31' AS last_day, arrow_cast(DATE '2026-11-30', 'Date64') AS date64,
    CAST('12345678901234.5678' AS DECIMAL(38, 4)) AS wide,
    arrow_cast(1.25, 'Decimal32(7, 2)') AS narrow,
    {{name: 'x', score: 0.5, more: {{deep: [1, {small}]}}}} AS pair,
    [{{label: 'cat', score: arrow_cast(0.5, 'Float32')}}, NULL] AS labels,
    [[1, 2], [], NULL] AS lists, MAP {{'a': {small}, 'b': NULL}} AS map,
    arrow_cast('ab', 'Binary') AS bytes, arrow_cast(arrow_cast('abcd', 'Binary'), 'FixedSizeBinary(4)') AS fixed,
    arrow_cast('large', 'LargeUtf8') AS large, true AS flag, 'ä☃' AS text,
    arrow_cast(5, 'Duration(Second)') AS duration, NULL::BIGINT AS nothing
"""

ODD = ["''", "'/'", "'='", "'%'", "'%2F'", "'..'", "'a b'", "'é☃'", "'null'", "'NULL'", "'a:b?c#d'",
       "concat('a', chr(10), 'b')", "'\"'", "NULL"]

DECIMALS = {"u64": pyarrow.decimal128(20, 0), "wide": pyarrow.decimal128(38, 4)}

STEPS = [
    "CREATE TABLE changed PARTITIONED BY (day) AS SELECT value AS id, CASE WHEN value % 10 = 0 "
    "THEN 'NaN'::DOUBLE ELSE value / 3.0 END AS x, CASE WHEN value % 4 = 0 THEN NULL ELSE "
    "DATE '2026-11-30' + CAST(value % 4 AS INT) END AS day, {a: value, b: [value, NULL]} AS pair "
    "FROM generate_series(1, 1000)",
    "INSERT INTO changed (id, day) VALUES (2000, DATE '2026-12-24'), (2001, NULL)",
    "DELETE FROM changed WHERE id % 7 = 0",
    "UPDATE changed SET x = -1, pair = NULL WHERE id % 5 = 0",
    "MERGE INTO changed USING (SELECT value AS id, 7.5 AS x, DATE '2026-01-01' AS day "
    "FROM generate_series(900, 1100)) AS new ON changed.id = new.id "
    "WHEN MATCHED AND new.id % 2 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET x = new.x "
    "WHEN NOT MATCHED THEN INSERT *",
    "ALTER TABLE changed ADD COLUMN note TEXT, ADD COLUMN small TINYINT UNSIGNED",
    "INSERT INTO changed (id, x, note, small) VALUES (3000, 'NaN'::DOUBLE, 'new', 255)",
    "INSERT OVERWRITE changed (id, x, day) VALUES (4000, 0.0, DATE '2026-12-24')",
    "OPTIMIZE changed",
    "RESTORE changed TO VERSION AS OF 4",
    "TRUNCATE TABLE changed",
    "RESTORE changed TO VERSION AS OF 8",
    "CREATE OR REPLACE TABLE changed AS SELECT 1 AS id, 'other columns' AS text",
]


def readers_of(path, version=None):
    """The readers of a table, each by its name."""
    delta = lambda: DeltaTable(path, version=version)
    dataset = lambda: delta().to_pyarrow_dataset()
    return {
        "deltalake": lambda: delta().to_pyarrow_table(),
        "polars": lambda: polars.scan_delta(path, version=version).collect(),
        "pyarrow": lambda: dataset().to_table(),
        "duckdb": lambda: arrow_of(duckdb.from_arrow(dataset())),
    }


def arrow_of(relation):
    table = relation.arrow()
    return table.read_all() if hasattr(table, "read_all") else table


def check_readers(report, what, path, expected, version=None, but=()):
    for name, read in readers_of(path, version).items():
        rows = expected
        if name in but:
            rows = but[name](expected)
        report.compare(what, name, read, rows)


def part_atoll(home, report):
    row = lambda id, small: "SELECT " + TYPES.format(id=id, small=small)
    nulls = "INSERT INTO types (id) VALUES (4)"
    home.run(f"CREATE TABLE types AS {row(1, 200)}", f"INSERT INTO types {row(2, 1)}",
             f"INSERT INTO types {row(3, 127)} UNION ALL {row(5, 0)}", nulls)
    # Types that a Parquet file has not, as those that a table has.
    columns = "* EXCEPT (date64, seconds, in_paris), CAST(date64 AS DATE) AS date64, " \
        "arrow_cast(seconds, 'Timestamp(Microsecond, None)') AS seconds, " \
        "arrow_cast(in_paris, 'Timestamp(Microsecond, Some(\"UTC\"))') AS in_paris"
    expected = normal(home.read("types", columns=columns))
    written = normal(home.read(f"({row(1, 200)} UNION ALL {row(2, 1)} UNION ALL {row(3, 127)} "
                               f"UNION ALL {row(5, 0)}) AS rows", columns=columns))
    same = [found for found in expected if found["id"] != 4]
    report.line(what="every type", reader="atoll", good=same == written,
                **({} if same == written else difference(same, written)))
    check_readers(report, "every type", home.path("types"), expected)
    filters(home, report)
    odd = ", ".join(f"({n}, {text})" for n, text in enumerate(ODD))
    home.run(f"CREATE TABLE odd PARTITIONED BY (p) AS SELECT * FROM (VALUES {odd}) AS v(id, p)",
             "INSERT INTO odd VALUES (100, 'ö/=%'), (101, NULL)", "DELETE FROM odd WHERE id = 3")
    expected = normal(home.read("odd"))
    truth = {n: text[1:-1] for n, text in enumerate(ODD) if text.startswith("'")}
    wrong = [found for found in expected if found["id"] in truth and found["p"] != truth[found["id"]]]
    report.line(what="odd partitions", reader="atoll", rows=len(expected), good=not wrong, wrong=wrong)
    # Delta Lake says that an empty text in the log is NULL, and readers differ.
    as_null = lambda rows: [{**row, "p": row["p"] or None} for row in rows]
    check_readers(report, "odd partitions, '' as it comes", home.path("odd"), expected,
                  but={"duckdb": as_null, "pyarrow": as_null, "deltalake": as_null})
    for step, sql in enumerate(STEPS):
        home.run(sql)
        # Each version stays what it was, so the older ones are looked at again later.
        expected = normal(home.read("changed"))
        what = f"after {' '.join(sql.split()[:2])}"
        check_readers(report, what, home.path("changed"), expected)
    versions = home.run("DESCRIBE HISTORY changed")[0]["version"]
    for version in range(versions + 1):
        expected = normal(home.read(f"changed VERSION AS OF {version}"))
        check_readers(report, f"version {version}", home.path("changed"), expected, version)


def filters(home, report):
    """Filters of the readers, which use the bounds in the log and in the files."""
    path = home.path("types")
    for name, column, value in [
        ("u8 > 100", "u8", 100), ("u64 > 10", "u64", 10), ("wide > 5", "wide", 5),
        ("i64 < 0", "i64", 0), ("f64 < 0", "f64", 0),
    ]:
        less = "<" in name
        expected = normal(home.read("types", f"WHERE {name}", "id"))
        field = pyarrow.compute.field(column)
        scalar = pyarrow.scalar(value)
        if column in DECIMALS:
            scalar = pyarrow.scalar(decimal.Decimal(value), DECIMALS[column])
        arrow = field < scalar if less else field > scalar
        polar = polars.col(column) < value if less else polars.col(column) > value
        reads = {
            "polars": lambda: polars.scan_delta(path).filter(polar).select("id").collect(),
            "pyarrow": lambda: DeltaTable(path).to_pyarrow_dataset().to_table(
                filter=arrow, columns=["id"]),
            "duckdb": lambda: arrow_of(duckdb.from_arrow(
                DeltaTable(path).to_pyarrow_dataset()).filter(name).project("id")),
        }
        for reader, read in reads.items():
            report.compare(f"filter {name}", reader, read, expected)


def python_table(rows):
    at = [datetime.datetime(2026, 11, 30, 1, 2, 3, 123456)] * len(rows)
    zone = [moment.replace(tzinfo=datetime.timezone.utc) for moment in at]
    array = pyarrow.array
    return pyarrow.table({
        "id": array(rows, pyarrow.int64()),
        "tiny": array([n % 100 for n in rows], pyarrow.int8()),
        "short": array([n % 100 for n in rows], pyarrow.int16()),
        "int": array(rows, pyarrow.int32()),
        "x": array([float("nan") if n % 3 == 0 else n / 7 for n in rows]),
        "f": array([n / 2 for n in rows], pyarrow.float32()),
        "d": array([decimal.Decimal(n) / 4 for n in rows], pyarrow.decimal128(38, 10)),
        "day": array([datetime.date(1, 1, 1 + n % 28) for n in rows]),
        "at": array(at, pyarrow.timestamp("us")),
        "instant": array(zone, pyarrow.timestamp("us", "UTC")),
        "bytes": array([b"\x00\xff" * (n % 3) for n in rows], pyarrow.binary()),
        "flag": array([None if n % 2 else True for n in rows], pyarrow.bool_()),
        "Text": array([f"ä{n}" if n % 4 else None for n in rows]),
        "a.b": array([f"{n % 5}" for n in rows]),
        "pair": array([{"a": n, "b": [n, None]} if n % 5 else None for n in rows]),
        "labels": array([[{"name": "x", "score": n / 2}] * (n % 3) for n in rows]),
        "map": array([[("k", n)] for n in rows], pyarrow.map_(pyarrow.string(), pyarrow.int64())),
        "p": array([["a", "b/=%", None, "ö"][n % 4] for n in rows]),
        "q": array([n % 2 for n in rows], pyarrow.int32()),
    })


def part_python(home, report):
    tables = {
        "plain": dict(partition_by=None),
        "partitioned": dict(partition_by=["p", "q"]),
    }
    for name, options in tables.items():
        # Once as a folder anywhere, once where the storage keeps its tables.
        for place, path in [("folder", str(home.folder / name)), ("stored", home.path(name))]:
            python_writes(home, report, f"{name}, {place}", name, path, place, options)
    python_appends(home, report)
    foreign(home, report)
    promises(home, report)


def atoll_reads(home, report, what, path, stored=None):
    """Atoll reads what deltalake reads, in each way that names the table."""
    expected = normal(DeltaTable(path).to_pyarrow_table())
    compare_atoll(home, report, what, path, expected, stored)


def compare_atoll(home, report, what, path, expected, stored=None):
    report.compare(what, "atoll FROM 'folder/'", lambda: home.read(f"'{path}/'"), expected)
    file = home.folder / f"external_{next(home.numbers)}.parquet"

    def external():
        home.run(f"CREATE EXTERNAL TABLE e STORED AS DELTA LOCATION '{path}/'",
                 f"COPY (SELECT * FROM e) TO '{file}'")
        return pyarrow.parquet.read_table(file)

    report.compare(what, "atoll EXTERNAL TABLE", external, expected)
    if stored:
        report.compare(what, "atoll stored", lambda: home.read(stored), expected)


def python_writes(home, report, what, name, path, place, options):
    stored = name if place == "stored" else None
    check = lambda step: atoll_reads(home, report, f"{what}: {step}", path, stored)
    write_deltalake(path, python_table(range(100)), **options)
    check("write")
    write_deltalake(path, python_table(range(100, 150)), mode="append", **options)
    check("append")
    more = python_table(range(150, 160)).append_column("new", pyarrow.array(range(10)))
    write_deltalake(path, more, mode="append", schema_mode="merge", **options)
    check("append with a new column")
    DeltaTable(path).delete("id % 10 = 3")
    check("delete")
    DeltaTable(path).update({"x": "0.5", '"Text"': "'updated'"}, predicate="id < 20")
    check("update")
    DeltaTable(path).merge(
        python_table(range(90, 200)), "t.id = s.id", source_alias="s", target_alias="t"
    ).when_matched_update({"x": "s.x"}).when_not_matched_insert_all().execute()
    check("merge")
    DeltaTable(path).optimize.compact()
    check("optimize")
    DeltaTable(path).create_checkpoint()
    check("checkpoint")
    for where in ["id = 42", "x > 20", "d = 24.75", "day = DATE '0001-01-05'", "p IS NULL",
                  "p = 'b/=%' AND q = 1", "\"a.b\" = '3'", "x = 'NaN'::DOUBLE"]:
        expected = [row["id"] for row in normal(home.read(f"(SELECT * FROM '{path}/' OFFSET 0) AS t", f"WHERE {where}", "id"))]
        report.compare(f"{what}: {where}", "atoll",
                       lambda: home.read(f"'{path}/'", f"WHERE {where}", "id"),
                       [{"id": id} for id in expected], expected_rows=len(expected))
    # And Atoll writes into it.
    try:
        target = stored or f"'{path}/'"
        if stored:
            home.run(f"INSERT INTO {target} (id, p, q) VALUES (1000, 'new', 9)",
                     f"DELETE FROM {target} WHERE id = 5", f"UPDATE {target} SET x = 1 WHERE id = 6",
                     f"OPTIMIZE {target}")
        else:
            home.run(f"OPTIMIZE {target}", f"CREATE EXTERNAL TABLE e STORED AS DELTA LOCATION {target}",
                     "INSERT INTO e (id, p, q) VALUES (1000, 'new', 9)")
        check("Atoll inserts and optimizes")
    except RuntimeError as error:
        report.line(what=f"{what}: Atoll writes", error=str(error), good=False)


def python_appends(home, report):
    """Turns: each program appends to what the other one wrote."""
    home.run("CREATE TABLE turns AS SELECT 1 AS id, arrow_cast(7, 'UInt8') AS u, 'a' AS text, "
             "arrow_cast([1, 2], 'FixedSizeList(2, Float32)') AS e")
    path = home.path("turns")
    for turn in range(12):
        rows = pyarrow.table({
            "id": pyarrow.array([10 * turn + 2], pyarrow.int64()),
            "u": pyarrow.array([200], pyarrow.int16()),
            "text": pyarrow.array([None], pyarrow.string()),
            "e": pyarrow.array([[0.5, turn]], pyarrow.list_(pyarrow.float32())),
        })
        try:
            write_deltalake(path, rows, mode="append")
            home.run(f"INSERT INTO turns VALUES ({10 * turn + 3}, 255, 'b', [1.5, {turn}])")
        except Exception as error:
            report.line(what=f"turn {turn}", error=str(error)[:400], good=False)
            return
    atoll_reads(home, report, "turns", path, "turns")
    check_readers(report, "turns", path, normal(home.read("turns")))
    # A list of another length does not fit a list of a fixed size.
    wrong = rows.set_column(3, "e", pyarrow.array([[0.5]], pyarrow.list_(pyarrow.float32())))
    write_deltalake(path, wrong, mode="append")
    try:
        found = home.read("turns", "WHERE id = 112").to_pylist()
        report.line(what="a list of another length", found=found, good=False)
    except RuntimeError as error:
        report.line(what="a list of another length", said=str(error)[-300:], good=True)


def commit(path, version, *actions):
    log = Path(path, "_delta_log")
    log.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(json.dumps(action) for action in actions)
    (log / f"{version:020}.json").write_text(lines + "\n")


def metadata(fields, configuration):
    schema = json.dumps({"type": "struct", "fields": fields})
    return {"metaData": {
        "id": "0" * 8, "format": {"provider": "parquet", "options": {}}, "schemaString": schema,
        "partitionColumns": [], "configuration": configuration, "createdTime": 0}}


def added(path, name, table, **fields):
    Path(path).mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(table, f"{path}/{name}")
    return {"add": {
        "path": name, "partitionValues": {}, "size": Path(path, name).stat().st_size,
        "modificationTime": 1, "dataChange": True,
        "stats": json.dumps({"numRecords": table.num_rows}), **fields}}


def protocol(reader, writer, *features):
    said = {"minReaderVersion": reader, "minWriterVersion": writer}
    if reader >= 3:
        said["readerFeatures"] = list(features)
    if writer >= 7:
        said["writerFeatures"] = list(features)
    return {"protocol": said}


Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


def deletion_vector(rows):
    """The rows as a bitmap within the log."""
    bitmap = struct.pack("<IIHHI", 12346, 1, 0, len(rows) - 1, 16)
    bitmap += struct.pack(f"<{len(rows)}H", *rows)
    data = struct.pack("<IQI", 1681511377, 1, 0) + bitmap
    padded = data + b"\0" * (-len(data) % 4)
    text = ""
    for (word,) in struct.iter_unpack(">I", padded):
        text += "".join(Z85[word // 85**power % 85] for power in (4, 3, 2, 1, 0))
    return {"storageType": "i", "pathOrInlineDv": text, "sizeInBytes": len(data),
            "cardinality": len(rows)}


def foreign(home, report):
    """What deltalake does not write."""
    field = lambda name, kind, **notes: {
        "name": name, "type": kind, "nullable": True, "metadata": notes}
    rows = pyarrow.table({"id": list(range(10)), "text": [f"t{n}" for n in range(10)]})
    path = str(home.folder / "vectors")
    vector = deletion_vector([0, 3, 4])
    commit(path, 0, protocol(3, 7, "deletionVectors"),
           metadata([field("id", "long"), field("text", "string")], {"delta.enableDeletionVectors": "true"}),
           added(path, "a.parquet", rows, deletionVector=vector),
           added(path, "b.parquet", pyarrow.table({"id": [20], "text": ["u"]})))
    expected = [row for row in normal(rows) if row["id"] not in (0, 3, 4)]
    expected += normal(pyarrow.table({"id": [20], "text": ["u"]}))
    compare_atoll(home, report, "deletion vectors", path, expected)
    for where in ["id = 3", "id >= 5", "text = 't9' OR id = 20"]:
        ids = [row for row in expected if eval_where(where, row)]
        report.compare(f"deletion vectors: {where}", "atoll",
                       lambda: home.read(f"'{path}/'", f"WHERE {where}"), ids)
    counted(home, report, "deletion vectors", path, 8)
    refused_change(home, report, "deletion vectors", path)
    path = str(home.folder / "renamed")
    physical = pyarrow.table({"col-1": list(range(10)), "col-2": [f"t{n}" for n in range(10)]})
    notes = lambda number: {"delta.columnMapping.id": number, "delta.columnMapping.physicalName": f"col-{number}"}
    commit(path, 0, protocol(2, 5),
           metadata([field("id", "long", **notes(1)), field("the text", "string", **notes(2))],
                    {"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "2"}),
           added(path, "a.parquet", physical))
    compare_atoll(home, report, "renamed columns", path, normal(physical.rename_columns(["id", "the text"])))
    counted(home, report, "renamed columns", path, 10)
    refused_change(home, report, "renamed columns", path)
    # A path that is escaped in the log, a folder below, and a file with a column too many,
    # another one in another order and one without a column.
    path = str(home.folder / "loose")
    Path(path, "a b", "p=%2F").mkdir(parents=True)
    commit(path, 0, protocol(1, 2), metadata([field("id", "long"), field("text", "string")], {}),
           added(path, "a b/one.parquet", pyarrow.table({"id": [1], "text": ["a"], "more": [1]})),
           added(path, "two.parquet", pyarrow.table({"text": ["b"], "id": [2]})),
           added(path, "three.parquet", pyarrow.table({"id": pyarrow.array([3], pyarrow.int32())})))
    log = Path(path, "_delta_log", f"{0:020}.json")
    log.write_text(log.read_text().replace("a b/one", "a%20b/one"))
    expected = normal(pyarrow.table({"id": [1, 2, 3], "text": ["a", "b", None]}))
    compare_atoll(home, report, "files with other columns", path, expected)


def eval_where(where, row):
    return {"id = 3": row["id"] == 3, "id >= 5": row["id"] >= 5,
            "text = 't9' OR id = 20": row["text"] == "t9" or row["id"] == 20}[where]


def counted(home, report, what, path, rows):
    [found] = home.run(f"SELECT count(*) AS n FROM '{path}/'")
    report.line(what=f"{what}: count(*)", reader="atoll", **found, good=found["n"] == rows)
    [found] = home.run(f"SELECT min(id) AS a, max(id) AS b FROM '{path}/'")
    report.line(what=f"{what}: min and max", reader="atoll", **found, good=found["b"] in (9, 20))


def refused_change(home, report, what, path):
    for sql in ["DELETE FROM e WHERE id = 1", "UPDATE e SET id = 0", "OPTIMIZE '{path}/'",
                "INSERT INTO e VALUES (50, 'new')"]:
        try:
            home.run(f"CREATE EXTERNAL TABLE e STORED AS DELTA LOCATION '{path}/'", sql.format(path=path))
            said = "done"
        except RuntimeError as error:
            said = str(error).split("error: ")[-1].strip()
        good = "another engine" in said
        if said == "done":
            # What is not refused has to be right.
            added = f"SELECT count(*) AS n FROM '{path}/' WHERE id = 50"
            good = sql.startswith("INSERT") and home.run(added) == [{"n": 1}]
        report.line(what=f"{what}: {sql[:6]}", said=said[:300], good=good)


def promises(home, report):
    """What a table may ask of whoever writes it: to be obeyed or left alone."""
    field = deltalake.Field
    schema = deltalake.Schema([
        field("id", deltalake.schema.PrimitiveType("long"), nullable=False),
        field("x", deltalake.schema.PrimitiveType("long")),
    ])
    row = pyarrow.table(
        {"id": [1], "x": [1]},
        pyarrow.schema([pyarrow.field("id", pyarrow.int64(), False), pyarrow.field("x", pyarrow.int64())]))
    for what, properties, statements in [
        ("NOT NULL", {}, ["INSERT INTO e VALUES (NULL, 2)", "UPDATE e SET id = NULL"]),
        ("CHECK", {}, ["INSERT INTO e VALUES (2, -2)", "UPDATE e SET x = -1",
                       "MERGE INTO e USING (VALUES (5, -5)) AS s(id, x) ON e.id = s.id "
                       "WHEN NOT MATCHED THEN INSERT *"]),
        ("appendOnly", {"delta.appendOnly": "true"}, ["DELETE FROM e WHERE id = 1", "UPDATE e SET x = 5",
                                                      "TRUNCATE TABLE e"]),
    ]:
        path = str(home.folder / f"promise_{next(home.numbers)}")
        table = DeltaTable.create(path, schema, configuration=properties)
        write_deltalake(path, row, mode="append")
        if what == "CHECK":
            DeltaTable(path).alter.add_constraint({"positive": "x > 0"})
        for sql in statements:
            before = DeltaTable(path).version()
            try:
                home.run(f"CREATE EXTERNAL TABLE e STORED AS DELTA LOCATION '{path}/'", sql)
                said = "done"
            except RuntimeError as error:
                said = str(error).split("error: ")[-1].strip()
            good = DeltaTable(path).version() == before and said != "done"
            report.line(what=f"{what}: {sql}", said=said[:300], good=good)


def part_copy(home, report):
    for by in ["", "PARTITIONED BY (p)"]:
        path = str(home.folder / f"copied{len(by)}")
        copy = lambda rows, mode: home.run(
            f"COPY (SELECT * FROM (VALUES {rows}) AS v(id, p, x)) TO '{path}/' STORED AS DELTA "
            f"{by} OPTIONS (mode {mode})")
        expected = {}
        for mode, rows in [
            ("append", [(1, "a", 0.5), (2, "b", 1.5)]),
            ("append", [(3, None, 2.5), (4, "a", float("nan"))]),
            ("overwrite_partitions", [(5, "a", 5.5), (6, None, 6.5)]),
            ("overwrite", [(7, "c", 7.5)]),
            ("append", [(8, "", 8.5)]),
        ]:
            sql = ", ".join(
                f"({id}, {'NULL' if p is None else repr(p)}, '{x}'::DOUBLE)" for id, p, x in rows)
            if mode == "overwrite" or (mode == "overwrite_partitions" and not by):
                expected = {}
            elif mode == "overwrite_partitions":
                new = {p for _, p, _ in rows}
                expected = {id: row for id, row in expected.items() if row["p"] not in new}
            expected |= {id: {"id": id, "p": p, "x": x} for id, p, x in rows}
            what = f"COPY {by} mode {mode}"
            try:
                copy(sql, mode)
            except RuntimeError as error:
                report.line(what=what, error=str(error)[-400:], good=False)
                continue
            truth = normal(pyarrow.Table.from_pylist(list(expected.values())))
            report.compare(what, "atoll", lambda: home.read(f"'{path}/'"), truth)
            as_null = lambda rows: [{**row, "p": row["p"] or None} for row in rows]
            but = {name: as_null for name in ("duckdb", "pyarrow", "deltalake")} if by else {}
            check_readers(report, what, path, truth, but=but)


CASTS = {
    "Int64": ["-9223372036854775808", "-9007199254740993", "-1", "0", "9007199254740992",
              "9007199254740993", "9223372036854775806", "9223372036854775807"],
    "UInt64": ["0", "1", "9007199254740993", "9223372036854775808", "18446744073709551614",
               "18446744073709551615"],
    "UInt8": ["0", "127", "128", "255"],
    "Int8": ["-128", "-1", "0", "127"],
    "Float64": ["NaN", "Infinity", "-Infinity", "0.0", "-0.0", "1.7976931348623157e308", "5e-324", "-1.5"],
    "Float32": ["NaN", "Infinity", "-Infinity", "0.0", "-0.0", "3.4028235e38", "16777217", "-1.5"],
    "Decimal128(15, 2)": ["9999999999999.99", "-9999999999999.99", "0.01", "0"],
    "Decimal128(18, 4)": ["12345678901234.5678", "12345678901234.5679", "-12345678901234.5678", "0.0001"],
    "Decimal128(20, 0)": ["18446744073709551615", "18446744073709551614", "-1", "9007199254740993"],
    "Decimal128(38, 10)": ["1234567890123456789012345678.0123456789", "1234567890123456789012345678.0123456788",
                           "-1234567890123456789012345678.0123456789", "0.0000000001"],
    "Decimal128(38, 0)": ["99999999999999999999999999999999999999", "99999999999999999999999999999999999998",
                          "-99999999999999999999999999999999999999", "1"],
    "Utf8": ["", "a", "A", "ä", "x" * 200, "x" * 199 + "y", "\U0010ffff", "\U0010ffff" * 40, "a\U0010ffff",
             "\uffff", " ", "%", "NULL"],
    "Binary": ["", "a", "\U0010ffff", "z" * 100],
    "Date32": ["0001-01-01", "9999-12-31", "1970-01-01", "1969-12-31", "2026-11-30"],
    "Timestamp(Microsecond, None)": [
        "0001-01-01T00:00:00", "9999-12-31T23:59:59.999999", "1970-01-01T00:00:00", "1969-12-31T23:59:59.999999",
        "2026-11-30T01:02:03.123456", "2026-11-30T01:02:03.123457", "2026-11-30T01:02:03.123"],
    "Timestamp(Microsecond, Some(\"UTC\"))": [
        "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2026-11-30T01:02:03.123456Z", "2026-11-30T01:02:03.123457Z"],
    "Timestamp(Nanosecond, None)": ["1970-01-01T00:00:00", "2026-11-30T01:02:03.123456", "2026-11-30T01:02:03.123457",
                                    "1677-09-22T00:00:00", "2262-04-11T00:00:00"],
    "Boolean": ["true", "false"],
    "Time64(Nanosecond)": ["00:00:00", "12:34:56.789", "23:59:59.999999999"],
    "Float16": ["NaN", "1.5", "-0.0", "0.0", "65504"],
    "Dictionary(Int32, Utf8)": ["", "a", "\U0010ffff", "x" * 100],
}


def literal(value, kind):
    escaped = value.replace("'", "''")
    if kind.startswith("Decimal"):
        return f"CAST('{escaped}' AS {kind.replace('Decimal128', 'DECIMAL')})"
    return f"arrow_cast('{escaped}', '{kind}')"


def conditions(values):
    """Each as SQL about the column v."""
    found = ["v IS NULL", "v IS NOT NULL"]
    for at, value in enumerate(values):
        other = values[(at + 1) % len(values)]
        found += [f"v {sign} {value}" for sign in ["=", "<>", "<", "<=", ">", ">="]]
        found += [f"v IN ({value}, {other})", f"v NOT IN ({value}, NULL)", f"v NOT IN ({value}, {other})",
                  f"v BETWEEN {value} AND {other}", f"NOT (v > {value})", f"v IS DISTINCT FROM {value}"]
    return found


def part_filters(home, report):
    for number, (kind, texts) in enumerate(CASTS.items()):
        values = [literal(text, kind) for text in texts]
        rows = [f"({id}, {value})" for id, value in enumerate([*values, f"arrow_cast(NULL, '{kind}')"])]
        # A file for each value, one of NULL only, and files with two of them.
        table, view = f"filters_{number}", "FROM (VALUES " + ", ".join(rows * 2) + ") AS t(id, v)"
        select = lambda rows: f"SELECT * FROM (VALUES {rows}) AS t(id, v)"
        home.run(f"CREATE TABLE {table} AS {select(rows[0])}",
                 *(f"INSERT INTO {table} {select(row)}" for row in rows[1:]),
                 *(f"INSERT INTO {table} {select(', '.join(rows[at::3]))}" for at in range(3)))
        sources = {"stored": table}
        sources["deltalake"] = f"'{by_python(home, table)}/'"
        wanted = conditions(values)
        ask = lambda source, where: (
            f"SELECT coalesce(string_agg(CAST(id AS VARCHAR), ',' ORDER BY id), '') AS ids {source} WHERE {where}")
        expected = answers(home, [ask(view, where) for where in wanted])
        for source, name in sources.items():
            found = answers(home, [ask(f"FROM {name}", where) for where in wanted])
            wrong = [{"where": where[:200], "found": f, "expected": e}
                     for where, f, e in zip(wanted, found, expected) if f != e]
            report.line(type=kind, source=source, comparisons=len(wanted), wrong=len(wrong),
                        first=wrong[:3], good=not wrong)


def by_python(home, table):
    """The same rows as appends of deltalake, with all of its statistics."""
    path = str(home.folder / f"python_{table}")
    rows = DeltaTable(home.path(table)).to_pyarrow_table()
    for at in range(0, rows.num_rows, 2):
        write_deltalake(path, rows.slice(at, 2), mode="append")
    # With the types that Atoll noted.
    log = Path(path, "_delta_log", f"{0:020}.json")
    ours = Path(home.path(table), "_delta_log", f"{0:020}.json")
    said = [json.loads(line) for line in ours.read_text().splitlines()]
    [schema] = [line["metaData"]["schemaString"] for line in said if "metaData" in line]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if "metaData" in line:
            line["metaData"]["schemaString"] = schema
    log.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return path


def answers(home, statements):
    return [row["ids"] for row in home.run(*statements)]


PARTS = {"atoll": part_atoll, "python": part_python, "copy": part_copy, "filters": part_filters}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("atoll")
    parser.add_argument("--part", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--save", help="the folder of the run")
    options = parser.parse_args()
    wrong = 0
    for name in options.part:
        report = Report(name, options)
        with tempfile.TemporaryDirectory() as folder:
            PARTS[name](Home(options.atoll, folder), report)
        report.line(part="end", right=report.right, wrong=report.wrong)
        wrong += report.wrong
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
