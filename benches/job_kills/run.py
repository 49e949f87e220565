"""Kills a job at random moments of its COPY and CREATE TABLE, and reads what lies there.

    pip install pyarrow duckdb
    python3 benches/job_kills/run.py ATOLL [--kills 20] [--seed 1]

Each round starts the job that writes version n of the same rows, kills it (SIGKILL), and
reads the folder with pyarrow and DuckDB and the table with Atoll: all rows must be of one
version, the one before or the new one. Then the job runs to its end, which must give the
new version. All the while another thread reads the folder again and again: it may find a
file missing, since readers list and open, and must never see two versions. A JSON object
a round goes to standard output, the counts to standard error; exit code 1 if anything was
mixed, half or lost.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

import duckdb
import pyarrow.dataset

ROWS = 400_000
SCRIPT = f"""-- Parameter: version integer
CREATE OR REPLACE TABLE numbers AS
SELECT value AS n, value % 7 AS day, ${{version}} AS version,
    sha256(CAST(value AS VARCHAR)) AS hash
FROM generate_series(1, {ROWS});

COPY (SELECT * FROM numbers) TO '${{output}}/' STORED AS PARQUET PARTITIONED BY (day)
OPTIONS (manifest true);
"""


def state(rows):
    """`(count, versions)` of what a reader found."""
    return {"rows": rows[0], "versions": sorted(set(rows[1:]))}


def read_pyarrow(folder):
    data = pyarrow.dataset.dataset(folder, format="parquet", partitioning="hive")
    versions = data.to_table(columns=["version"])["version"]
    return state([len(versions), *versions.unique().to_pylist()])


def read_duckdb(folder):
    query = f"SELECT count(*), min(version), max(version) FROM '{folder}/*/*.parquet'"
    return state(duckdb.sql(query).fetchall()[0])


def read_table(atoll, storage):
    query = "SELECT count(*) AS rows, min(version) AS a, max(version) AS b FROM numbers"
    command = [atoll, "--storage", storage, "--format", "ndjson", "-c", query]
    row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return state([row["rows"], row["a"], row["b"]])


class Watcher(threading.Thread):
    """Reads the folder again and again."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.folder, self.stop = folder, threading.Event()
        self.whole = self.missing = 0
        self.mixed = []

    def run(self):
        while not self.stop.is_set():
            try:
                seen = read_pyarrow(self.folder)
            except (FileNotFoundError, OSError):
                self.missing += 1
                continue
            if seen["rows"] == ROWS and len(seen["versions"]) == 1:
                self.whole += 1
            else:
                self.mixed.append(seen)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("atoll")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    wrong = 0
    with tempfile.TemporaryDirectory() as home:
        script, folder, storage = (os.path.join(home, name) for name in ["job.sql", "out", "storage"])
        with open(script, "w") as file:
            file.write(SCRIPT)

        def start(version):
            command = [arguments.atoll, "run", script, "--storage", storage, "--set", f"version={version}",
                       "--set", f"output={folder}", "--job", "numbers"]
            return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

        begun = time.monotonic()
        assert start(0).wait() == 0
        took = time.monotonic() - begun
        watcher = Watcher(folder)
        watcher.start()
        before = {"table": 0, "folder": 0}
        for version in range(1, arguments.kills + 1):
            job = start(version)
            delay = chance.uniform(0, 1.1 * took)
            time.sleep(delay)
            killed = job.poll() is None
            job.send_signal(signal.SIGKILL)
            job.wait()
            found = {
                "table": read_table(arguments.atoll, storage),
                "folder": read_pyarrow(folder),
                "duckdb": read_duckdb(folder),
            }
            again = start(version).wait()
            after = {"table": read_table(arguments.atoll, storage), "folder": read_pyarrow(folder)}
            allowed = lambda seen, old: seen["rows"] == ROWS and seen["versions"] in ([old], [version])
            good = (
                allowed(found["table"], before["table"]) and allowed(found["folder"], before["folder"])
                and allowed(found["duckdb"], before["folder"]) and again == 0
                and all(seen == {"rows": ROWS, "versions": [version]} for seen in after.values())
            )
            wrong += not good
            before = {"table": version, "folder": version}
            print(json.dumps({"version": version, "seconds": round(delay, 3), "killed": killed, **found,
                              "after": after, "good": good}), flush=True)
        watcher.stop.set()
        watcher.join()
        left = [name for name in os.listdir(home) if name not in {"job.sql", "out", "storage"}]
    print(f"{arguments.kills} kills, {wrong} wrong; a reader beside them: {watcher.whole} whole, "
          f"{watcher.missing} with a file missing, {len(watcher.mixed)} mixed; left behind: {len(left)}",
          file=sys.stderr)
    sys.exit(1 if wrong or watcher.mixed else 0)


if __name__ == "__main__":
    main()
