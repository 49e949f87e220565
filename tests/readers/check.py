"""Reads what the jobs of sql/jobs/ write with the tools of others, and compares.

    python3 -m venv /tmp/readers
    /tmp/readers/bin/pip install pandas pyarrow duckdb polars pyspark   # and Java 17 or 21
    /tmp/readers/bin/python tests/readers/check.py target/debug/atoll

Run from the root. Runs every job on small data, then reads each file and folder with
pyarrow, pandas, DuckDB, Polars and Spark, each as its users would: no options but what
finds the partitions. What Atoll itself says of the same file with `--format ndjson` and
DESCRIBE is the truth: names, types, number of rows, every value, nested ones included.
Checked beside it: the statistics of row groups against the data, that hidden files
(_SUCCESS, _manifest.json) disturb nobody, and that provenance (key-value metadata whose
keys start with `atoll.`), where a file has it, is text and the same in all files of an
output. Needs no network.

Prints a table of readers by outputs; exits with 1 if anything differs.
"""

import argparse
import base64
import collections
import datetime
import json
import math
import os
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import numpy
import pandas
import polars
import pyarrow
import pyarrow.dataset
import pyarrow.parquet

ROOT = Path(__file__).parents[2]

# A job, what it is run with, and what it writes: a file or a partitioned folder.
JOBS = {
    "digits_search": (
        {"data": "sql/data/digits.parquet", "epochs": "1"},
        ["trials.parquet", "best.parquet"],
    ),
    "tune_mnist": (
        {"data": "tests/data/idx", "trials": "2", "widest": "65", "epochs": "1"},
        ["trials.parquet", "best.parquet"],
    ),
    "label_images": (
        {"images": "tests/data/odd", "model": "sql/data/efficientnet-lite0.onnx"},
        [""],
    ),
}


# Types, as far as all readers have them: integers are not told apart by their width,
# because Spark and pandas widen them.


def atoll_type(text):
    """The type that DESCRIBE names, such as List(Struct("a": Int64))."""
    text = text.strip().removeprefix("non-null ").strip()
    name, _, rest = text.partition("(")
    parts = split(rest[:-1]) if rest else []
    if re.fullmatch(r"U?Int\d+", name):
        return "integer"
    if name in ("Utf8", "LargeUtf8", "Utf8View"):
        return "string"
    if name in ("Binary", "LargeBinary", "BinaryView"):
        return "binary"
    if name == "Dictionary":
        return atoll_type(parts[1])
    if name in ("List", "LargeList"):
        return f"list<{atoll_type(parts[0])}>"
    if name == "Struct":
        fields = (part.strip().split(":", 1) for part in parts)
        return struct_type((json.loads(key), atoll_type(kind)) for key, kind in fields)
    return name.lower().replace("boolean", "bool")


def split(text):
    """At the commas outside of brackets."""
    parts, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter in "(<") - (letter in ")>")
        if letter == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return parts + [text[start:]]


def struct_type(fields):
    return "struct<" + ", ".join(f"{name}: {kind}" for name, kind in fields) + ">"


def arrow_type(kind):
    types = pyarrow.types
    if types.is_dictionary(kind):
        return arrow_type(kind.value_type)
    if types.is_integer(kind):
        return "integer"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "string"
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        return "binary"
    if types.is_timestamp(kind):
        return "timestamp"
    if types.is_list(kind) or types.is_large_list(kind):
        return f"list<{arrow_type(kind.value_type)}>"
    if types.is_struct(kind):
        return struct_type((field.name, arrow_type(field.type)) for field in kind)
    return {"float": "float32", "double": "float64"}.get(str(kind), str(kind))


def spark_type(kind):
    name = kind.typeName()
    if name == "array":
        return f"list<{spark_type(kind.elementType)}>"
    if name == "struct":
        return struct_type((field.name, spark_type(field.dataType)) for field in kind)
    names = {"float": "float32", "double": "float64", "boolean": "bool"}
    names |= {name: "integer" for name in ("byte", "short", "integer", "long")}
    names |= {"timestamp_ntz": "timestamp"}
    return names.get(name, name)


def arrow_types(schema):
    return {field.name: arrow_type(field.type) for field in schema}


# Values, as JSON would have them.


def plain(value, kind):
    # The last two are how pandas says NULL.
    is_nan = isinstance(value, float) and math.isnan(value)
    if value is None or value is pandas.NaT or is_nan:
        return None
    if kind.startswith("list<"):
        return [plain(item, kind[5:-1]) for item in value]
    if kind.startswith("struct<"):
        fields = (part.strip().split(": ", 1) for part in split(kind[7:-1]))
        return {name: plain(value[name], kind) for name, kind in fields}
    if kind == "timestamp":
        return timestamp(value)
    if kind == "binary":
        return bytes(value).hex()
    if kind in ("float32", "float64", "integer"):
        value = float(value)
        return struct.unpack("f", struct.pack("f", value))[0] if kind == "float32" else value
    return value if kind == "bool" else str(value)


def timestamp(value):
    """Microseconds since 1970; without a time zone it is UTC."""
    if isinstance(value, str):
        # Python reads six digits of a second.
        value = re.sub(r"(\.\d{6})\d+", r"\1", value)
        value = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
    if isinstance(value, (numpy.datetime64, pandas.Timestamp)):
        value = pandas.Timestamp(value).floor("us").to_pydatetime(warn=False)
    if value.tzinfo is None:
        value = value.replace(tzinfo=datetime.timezone.utc)
    since = value - datetime.datetime.fromtimestamp(0, datetime.timezone.utc)
    return since // datetime.timedelta(microseconds=1)


def normal(rows, types):
    """Rows in an order of their own."""
    rows = [{name: plain(row[name], kind) for name, kind in types.items()} for row in rows]
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))


# Readers: the types of the columns, if there are such, and the rows.


def with_atoll(path, atoll):
    def ask(sql):
        done = subprocess.run(
            [*atoll, "--format", "ndjson", "-c", sql], capture_output=True, text=True
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        return [json.loads(line) for line in done.stdout.splitlines()]

    columns = ask(f"DESCRIBE '{path}'")
    types = {row["column_name"]: atoll_type(row["data_type"]) for row in columns}
    rows = ask(f"SELECT * FROM '{path}'")
    for row in rows:
        for name, kind in types.items():
            if kind == "binary" and row[name] is not None:
                row[name] = base64.b64decode(row[name])
    return types, rows


def with_pyarrow(path):
    table = pyarrow.dataset.dataset(path, partitioning="hive").to_table()
    return arrow_types(table.schema), table.to_pylist()


def with_pandas(path):
    return None, pandas.read_parquet(path).to_dict("records")


def files_of(path):
    return f"{path}/**/*.parquet" if os.path.isdir(path) else path


def with_duckdb(path):
    table = duckdb.connect().sql(f"SELECT * FROM '{files_of(path)}'").to_arrow_table()
    return arrow_types(table.schema), table.to_pylist()


def with_polars(path):
    frame = polars.read_parquet(files_of(path), hive_partitioning=os.path.isdir(path))
    return arrow_types(frame.to_arrow().schema), frame.to_dicts()


def with_spark(path):
    from pyspark.sql import SparkSession

    os.environ["TZ"] = "UTC"
    spark = (
        SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("OFF")
    frame = spark.read.parquet(path)
    types = {field.name: spark_type(field.dataType) for field in frame.schema}
    return types, [row.asDict(recursive=True) for row in frame.collect()]


READERS = {
    "pyarrow": with_pyarrow,
    "pandas": with_pandas,
    "duckdb": with_duckdb,
    "polars": with_polars,
    "spark": with_spark,
}


def compare(path, reader, types, expected):
    """What differs, in a line, or nothing."""
    try:
        found_types, rows = reader(path)
    except Exception as error:  # whatever a reader raises is the finding
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    if found_types is not None and found_types != types:
        names = [name for name in types if found_types.get(name) != types[name]]
        names += [name for name in found_types if name not in types]
        name = names[0] if names else "?"
        return f"type of {name}: {found_types.get(name)}, not {types.get(name)}"
    if len(rows) != len(expected):
        return f"{len(rows)} rows, not {len(expected)}"
    for mine, theirs in zip(expected, normal(rows, types)):
        for name in types:
            if mine[name] != theirs[name]:
                return f"{name}: {theirs[name]!r}, not {mine[name]!r}"[:300]
    return None


def check_files(path):
    """Statistics and provenance of the files themselves."""
    files = sorted(Path(path).rglob("*.parquet")) if os.path.isdir(path) else [Path(path)]
    provenance = None
    for file in files:
        parquet = pyarrow.parquet.ParquetFile(file)
        problem = check_statistics(parquet)
        if problem:
            return f"{file.name}: {problem}"
        entries = {
            key.decode(): value.decode()
            for key, value in (parquet.metadata.metadata or {}).items()
            if key.startswith(b"atoll.")
        }
        if provenance not in (None, entries):
            return f"{file.name}: other provenance than the first file"
        if not all(entries.values()):
            return f"{file.name}: empty provenance in {entries}"
        provenance = entries
    return None


def check_statistics(parquet):
    for group in range(parquet.metadata.num_row_groups):
        about = parquet.metadata.row_group(group)
        table = parquet.read_row_group(group)
        if about.num_rows != table.num_rows:
            return f"row group {group} says {about.num_rows} rows, has {table.num_rows}"
        for index in range(about.num_columns):
            column = about.column(index)
            name, numbers = column.path_in_schema, column.statistics
            if numbers is None:
                return f"no statistics of {name}"
            if name not in table.column_names:
                continue
            values = [value for value in table[name].to_pylist() if value is not None]
            if numbers.null_count != table.num_rows - len(values):
                return f"{name}: {numbers.null_count} NULLs in its statistics"
            if not values:
                continue
            if not numbers.has_min_max:
                return f"no least and largest value of {name}"
            least, most = min(values), max(values)
            low, high = numbers.min, numbers.max
            if isinstance(least, str):
                # Long text may be cut, the largest upwards.
                is_right = low <= least and high >= most
            elif isinstance(least, datetime.datetime):
                is_right = timestamp(low) == timestamp(least) and timestamp(
                    high
                ) == timestamp(most)
            else:
                is_right = low == least and high == most
            if not is_right:
                return f"{name} is {least} to {most}, its statistics say {low} to {high}"
    return None


def run_jobs(atoll, folder, only):
    """Runs the jobs and returns what they wrote."""
    outputs = {}
    for job, (parameters, names) in JOBS.items():
        if only and job not in only:
            continue
        output = f"{folder}/{job}"
        command = [*atoll, "run", f"sql/jobs/{job}.sql", "--set", f"output={output}"]
        for name, value in parameters.items():
            command += ["--set", f"{name}={value}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{job} failed:\n{done.stderr}")
        for name in names:
            outputs[f"{job}/{name}"] = f"{output}/{name}".rstrip("/")
    return outputs


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("atoll", help="the binary")
    parser.add_argument("--only", help="some of the jobs, with commas")
    parser.add_argument("--readers", help="some of " + ",".join(READERS))
    options = parser.parse_args()
    readers = options.readers.split(",") if options.readers else list(READERS)
    table = collections.defaultdict(dict)
    with tempfile.TemporaryDirectory() as folder:
        atoll = [str(Path(options.atoll).resolve()), "--storage", f"{folder}/storage"]
        only = options.only.split(",") if options.only else None
        for output, path in run_jobs(atoll, folder, only).items():
            if os.path.isdir(path):
                # Whether or not the job writes them, a reader must not care.
                for hidden in ["_SUCCESS", "_manifest.json"]:
                    Path(path, hidden).touch()
            types, rows = with_atoll(path, atoll)
            expected = normal(rows, types)
            table[output]["rows"] = str(len(rows))
            table[output]["file"] = check_files(path)
            for reader in readers:
                table[output][reader] = compare(path, READERS[reader], types, expected)
    differences = 0
    columns = ["file", *readers]
    width = max(map(len, table))
    print(f"{'output':{width}}  {'rows':>5}  " + "  ".join(f"{c:7}" for c in columns))
    for output, cells in table.items():
        words = ["DIFFERS" if cells[column] else "ok" for column in columns]
        line = "  ".join(f"{word:7}" for word in words)
        print(f"{output:{width}}  {cells['rows']:>5}  {line}")
    for output, cells in table.items():
        for column in columns:
            if cells[column]:
                differences += 1
                print(f"{output} with {column}: {cells[column]}")
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
