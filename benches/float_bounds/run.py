"""What it costs to trust no minimum and maximum of floats in Parquet.

    python3 benches/float_bounds/run.py ATOLL [--rows 10000000] [--runs 5]

One file of pyarrow's with two columns of the same numbers in order, BIGINT and DOUBLE, in
row groups of 100,000. Of the integers the bounds are trusted, of the floats they are not,
so the difference is what the bounds would save. A line of JSON a query has the medians of
the CPU seconds of both, of user and system, without those of a session that reads
nothing. Needs numpy and pyarrow.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile

import numpy
import pyarrow
import pyarrow.parquet

QUERIES = {
    "1 % of the rows": "SELECT count(*), sum(x) FROM '{file}' WHERE {c} < {percent}",
    "no row": "SELECT count(*), sum(x) FROM '{file}' WHERE {c} < 0",
    "largest": "SELECT max({c}) FROM '{file}'",
    "10 largest": "SELECT {c} FROM '{file}' ORDER BY {c} DESC LIMIT 10",
    "all rows": "SELECT sum({c}) FROM '{file}'",
}


def seconds(binary, sql, storage):
    command = [binary, "--storage", storage, "-q", "-c", sql]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, sql
    return usage.ru_utime + usage.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("atoll")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        file = f"{work}/ordered.parquet"
        numbers = numpy.arange(options.rows)
        table = pyarrow.table({"i": numbers, "d": numbers / 1.0, "x": numbers % 7})
        pyarrow.parquet.write_table(table, file, row_group_size=100_000)
        nothing = "SELECT 1"
        for name, query in QUERIES.items():
            taken = {"i": [], "d": []}
            for _ in range(options.runs):
                for column, runs in taken.items():
                    percent = options.rows // 100
                    sql = query.format(file=file, percent=percent, c=column)
                    empty = seconds(options.atoll, nothing, work)
                    runs.append(seconds(options.atoll, sql, work) - empty)
            integers, floats = (statistics.median(runs) for runs in taken.values())
            print(
                json.dumps(
                    {
                        "query": name,
                        "integers_s": round(integers, 3),
                        "floats_s": round(floats, 3),
                    }
                ),
                flush=True,
            )


main()
