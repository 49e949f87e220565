"""A night of a labelling job: 10^6 rows that are there, and 1 % that are new.

    python3 benches/tables/night.py BEFORE AFTER [--rows 1000000] [--save FILE]

BEFORE is a binary that keeps a table by writing it anew, AFTER one that merges into it.
Both take the same rows; the bytes are those of the files that the night left beside the
ones that were there. Every line is a JSON object.
"""

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path

ROW = """
    concat('photos/', value, '.jpg') AS filename,
    [{{label: concat('class ', value % 1000), score: (value % 97) / 97.0}},
     {{label: concat('class ', (value + 7) % 1000), score: (value % 89) / 178.0}}] AS labels,
    sha256(concat('{salt}', value)) AS content_sha256
"""
FIRST = "CREATE TABLE labels AS SELECT {row} FROM generate_series(1, {rows})"
REPLACE = """CREATE OR REPLACE TABLE labels AS
SELECT * FROM labels WHERE filename NOT IN (SELECT filename FROM ({new}))
UNION ALL SELECT * FROM ({new})"""
MERGE = """MERGE INTO labels USING ({new}) AS new ON labels.filename = new.filename
WHEN MATCHED THEN UPDATE SET *
WHEN NOT MATCHED THEN INSERT *"""


def run(binary, storage, sql):
    started = time.time()
    subprocess.run([binary, "-q", "--storage", storage, "-c", sql], check=True,
                   stdout=subprocess.DEVNULL)
    return round(time.time() - started, 2)


def sizes(storage):
    files = Path(storage, "tables").rglob("*")
    return {file: file.stat().st_size for file in files if file.is_file()}


def night(binary, statement, rows):
    """The table of a first night, and what a second one costs."""
    with tempfile.TemporaryDirectory() as storage:
        first = run(binary, storage, FIRST.format(row=ROW.format(salt=""), rows=rows))
        before = sizes(storage)
        more = rows // 100
        series = f"generate_series({rows + 1}, {rows + more})"
        new = f"SELECT {ROW.format(salt='new')} FROM {series}"
        seconds = run(binary, storage, statement.format(new=new))
        written = sum(size for file, size in sizes(storage).items() if file not in before)
        command = [binary, "--storage", storage, "--format", "csv", "-c",
                   "SELECT count(*), count(DISTINCT filename) FROM labels"]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        assert out.split()[-1] == f"{rows + more},{rows + more}", out
        return {"first_seconds": first, "first_bytes": sum(before.values()),
                "night_seconds": seconds, "night_bytes": written}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--save")
    options = parser.parse_args()
    lines = [{"machine": platform.processor() or platform.machine(), "cores": os.cpu_count(),
              "rows": options.rows, "command": "night.py BEFORE AFTER",
              "date": time.strftime("%Y-%m-%d %H:%M")}]
    for _ in range(3):
        lines.append({"way": "rewritten", **night(options.before, REPLACE, options.rows)})
        lines.append({"way": "merged", **night(options.after, MERGE, options.rows)})
    text = "\n".join(map(json.dumps, lines))
    print(text)
    if options.save:
        Path(options.save).write_text(text + "\n")


if __name__ == "__main__":
    main()
