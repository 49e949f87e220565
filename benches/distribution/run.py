"""What passes through client and scheduler of a cluster, and what it gains.

    python3 benches/distribution/run.py ATOLL PHOTOS [--part NAME]

ATOLL is the binary, PHOTOS a folder of photos and nothing else, which are taken again and
again by the parts that need some. All
processes run on this machine; bytes are those of the loopback (`/proc/net/dev`), memory is
the peak of a process (`VmHWM`). Each line of the output is a JSON object.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from s3 import Bucket

ENV = dict(os.environ, ATOLL_TEST_FUNCTIONS="1")


def say(**row):
    print(json.dumps(row), flush=True)


def loopback():
    text = Path("/proc/net/dev").read_text()
    return int(re.search(r"lo:\s*(\d+)", text).group(1))


def peak(pid):
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+)", text).group(1)) // 1024


class Cluster:
    """A scheduler and executors of one slot each, with a storage."""

    def __init__(self, atoll, executors):
        self.atoll = atoll
        self.storage = tempfile.mkdtemp(prefix="distribution-")
        self.log = open(os.path.join(self.storage, "cluster.log"), "w+")
        command = [atoll, "cluster", "--executors", str(executors), "--port", "0"]
        self.process = subprocess.Popen(
            command + ["--storage", self.storage],
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env=ENV,
        )
        for _ in range(600):
            text = Path(self.log.name).read_text()
            found = re.search(r"df://[0-9.:]+", text)
            if found and text.count("executor:") >= executors:
                self.address = found.group(0)
                return
            time.sleep(0.1)
        raise SystemExit(f"the cluster did not start: {text}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        shutil.rmtree(self.storage, ignore_errors=True)

    def scheduler(self):
        """The process that holds the scheduler: the cluster's own."""
        return peak(self.process.pid)

    def run(self, sql, there=True):
        """Runs statements; seconds, bytes on the loopback, the client's peak, output."""
        command = [self.atoll, "--storage", self.storage, "--format", "csv", "-c", sql]
        if there:
            command += ["--cluster", self.address]
        return run(command, ENV)


def run(command, env):
    """Runs a client; see `Cluster.run`."""
    before, since, most = loopback(), time.monotonic(), 0
    with tempfile.TemporaryFile("w+") as out:
        client = subprocess.Popen(command, stdout=out, stderr=out, env=env)
        while client.poll() is None:
            try:
                most = max(most, peak(client.pid))
            except (OSError, AttributeError):
                pass
            time.sleep(0.02)
        out.seek(0)
        text = out.read()
    if client.returncode:
        raise SystemExit(f"{command}: {text}")
    took = time.monotonic() - since
    return took, loopback() - before, most, text


def photos_table(cluster, photos, rows):
    """A stored table of `rows` photos, about 28 KB each, different in their last bytes."""
    files = len(list(Path(photos).iterdir()))
    times = -(-rows // files)
    sql = (
        f"CREATE OR REPLACE TABLE photos AS SELECT filename, n, content FROM "
        f"(SELECT filename, content FROM read_blob('{photos}/*')) CROSS JOIN "
        f"generate_series(1, {times}) AS s(n) LIMIT {rows}"
    )
    cluster.run(sql, there=False)
    out = cluster.run("SELECT count(*), sum(octet_length(content)) FROM photos", False)
    count, size = out[3].strip().splitlines()[-1].split(",")
    return int(count), int(size)


def part_bytes(atoll, photos):
    with Cluster(atoll, 2) as cluster:
        for rows in (1000, 5000, 20000):
            count, size = photos_table(cluster, photos, rows)
            sql = "SELECT count(image_resize(content, 8, 8)) AS images FROM photos"
            took, carried, most, _ = cluster.run(sql)
            say(
                part="bytes",
                rows=count,
                bytes_of_photos=size,
                seconds=round(took, 2),
                loopback=carried,
                loopback_a_row=round(carried / count, 1),
                client_mib=most,
                scheduler_mib=cluster.scheduler(),
            )


def part_memory(atoll, photos):
    del photos
    with Cluster(atoll, 2) as cluster:
        for rows in (10_000, 100_000, 1_000_000):
            cluster.run(
                "CREATE OR REPLACE TABLE wide AS SELECT value AS id, "
                "concat(encode(sha512(CAST(value AS VARCHAR)), 'hex'), "
                "encode(sha512(CAST(value + 7 AS VARCHAR)), 'hex')) AS text "
                f"FROM generate_series(1, {rows})",
                there=False,
            )
            call = "SELECT id, text, test_abort_in_group(id < 0) AS s FROM wide"
            little = "SET atoll.distribute_bytes = 0; "
            for name, sql in {
                "select count": f"SELECT count(*), min(s) FROM ({call})",
                "CREATE TABLE": f"{little}CREATE OR REPLACE TABLE made AS {call}",
                "COPY": f"{little}COPY ({call}) TO '{cluster.storage}/copy' "
                "STORED AS PARQUET",
                "GROUP BY": f"{little}SELECT count(*) FROM (SELECT id % 100000 AS k, "
                "min(text) FROM wide GROUP BY id % 100000)",
            }.items():
                took, carried, most, _ = cluster.run(sql)
                say(
                    part="memory",
                    statement=name,
                    rows=rows,
                    seconds=round(took, 2),
                    loopback_a_row=round(carried / rows, 1),
                    client_mib=most,
                    scheduler_mib=cluster.scheduler(),
                )


def part_shuffle(atoll, photos):
    del photos
    for executors in (1, 13):
        with Cluster(atoll, executors) as cluster:
            keys = f"{cluster.storage}/keys/"
            cluster.run(
                "COPY (SELECT value AS id, value % 26 AS k FROM generate_series(1, 52)) "
                f"TO '{keys}' STORED AS PARQUET PARTITIONED BY (k)",
                there=False,
            )
            little = "SET atoll.distribute_bytes = 0; SET atoll.cluster_fallback='error'; "
            # Rows that sleep take no core, so that two cores do for 13 executors.
            slow = f"SELECT id, k, test_sleep(1.0) AS s FROM '{keys}'"
            for name, sql in {
                "rows": slow,
                "GROUP BY": f"SELECT k, avg(s), count(*) FROM ({slow}) GROUP BY k",
                "join": f"SELECT count(*) FROM ({slow}) AS a JOIN '{keys}' AS b "
                "ON a.id = b.id",
            }.items():
                took, _, _, _ = cluster.run(little + sql)
                say(
                    part="shuffle",
                    statement=name,
                    executors=executors,
                    seconds=round(took, 2),
                )


def part_labels(atoll, photos):
    model = Path("sql/data/efficientnet-lite0.onnx").resolve()
    with Cluster(atoll, 2) as cluster:
        for rows in (2000, 10_000):
            count, _ = photos_table(cluster, photos, rows)
            for turn in range(2):
                for there in (False, True):
                    sql = (
                        f"CREATE OR REPLACE TABLE labels AS SELECT filename, n, "
                        f"classify('{model}', content, 1)[1].label AS label FROM photos"
                    )
                    took, carried, most, _ = cluster.run(sql, there)
                    say(
                        part="labels",
                        rows=count,
                        turn=turn,
                        cluster=there,
                        seconds=round(took, 2),
                        loopback_a_row=round(carried / count, 1),
                        client_mib=most,
                    )


def part_slow(atoll, photos):
    """13 slots, of which one is ten times slower, against 13 equal ones."""
    del photos
    rows = "SELECT sum(test_sleep(1.0)) AS s FROM generate_series(1, 208)"
    for slow, speculation in ((False, True), (True, True), (True, False)):
        with Cluster(atoll, 12) as cluster:
            env = dict(ENV, ATOLL_TEST_SLOWNESS="10" if slow else "1")
            command = [atoll, "executor", "--scheduler", cluster.address, "--slots", "1"]
            extra = subprocess.Popen(
                command, stdout=cluster.log, stderr=cluster.log, env=env
            )
            while Path(cluster.log.name).read_text().count("executor:") < 13:
                time.sleep(0.1)
            for turn in range(3):
                sql = f"SET atoll.speculation = {str(speculation).lower()}; {rows}"
                took, _, _, _ = cluster.run(sql)
                say(
                    part="slow",
                    one_is_slow=slow,
                    speculation=speculation,
                    turn=turn,
                    seconds=round(took, 2),
                )
            extra.send_signal(signal.SIGTERM)
            extra.wait(30)


def part_fair(atoll, photos):
    """A client with one job beside one with 32, on eight slots."""
    del photos
    one = "SELECT sum(test_sleep(0.25)) FROM generate_series(1, 160)"
    # Each part of the union is a partition of the statement, with jobs of its own.
    part = "SELECT test_sleep(0.25) AS s FROM generate_series(1, 100)"
    many = f"SELECT sum(s) FROM ({' UNION ALL '.join([part] * 32)})"
    with Cluster(atoll, 8) as cluster:
        cluster.run(one)
        alone, _, _, _ = cluster.run(one)
        command = [atoll, "--storage", cluster.storage, "-c", many]
        other = subprocess.Popen(
            command + ["--cluster", cluster.address],
            stdout=cluster.log,
            stderr=cluster.log,
            env=ENV,
        )
        time.sleep(10)
        beside, _, _, _ = cluster.run(one)
        other.kill()
        other.wait()
        say(
            part="fair",
            alone=round(alone, 2),
            beside_32_jobs=round(beside, 2),
            share=round(alone / beside, 3),
        )


def part_names(atoll, photos):
    """A client's memory by the number of names that a statement lists."""
    del photos
    with Cluster(atoll, 2) as cluster, tempfile.TemporaryDirectory() as folder:
        made = 0
        for files in (100_000, 1_000_000):
            # A thousand folders, files of one byte.
            while made < files:
                below = f"{folder}/{made % 1000:03}"
                os.makedirs(below, exist_ok=True)
                for n in range(100):
                    with open(f"{below}/{made // 1000:04}-{n:02}.jpg", "w") as file:
                        file.write("x")
                made += 100
            listed = f"read_blob('{folder}/**/*.jpg')"
            calls = "test_abort_in_group(size < 0) AS s"
            of_content = "test_abort_in_group(octet_length(content) > 1) AS s"
            for name, sql in {
                "count": f"SELECT count(*) FROM {listed}",
                "CREATE TABLE": "CREATE OR REPLACE TABLE names AS SELECT filename, size "
                f"FROM {listed}; SELECT count(*) FROM names",
                "call of a size": f"SELECT count(*) FROM (SELECT {calls} FROM {listed})"
                " WHERE s = 'SUCCEEDED'",
                "call of the content": f"SELECT count(*) FROM (SELECT {of_content} FROM "
                f"{listed}) WHERE s = 'SUCCEEDED'",
                "names of a table": f"SELECT count(*) FROM (SELECT {of_content} FROM "
                "read_blob((SELECT filename FROM names))) WHERE s = 'SUCCEEDED'",
            }.items():
                for there in (False, True):
                    took, carried, most, text = cluster.run(sql, there)
                    if text.split()[-1] != str(files):
                        raise SystemExit(f"{sql}: {text}")
                    say(
                        part="names",
                        statement=name,
                        files=files,
                        cluster=there,
                        seconds=round(took, 2),
                        loopback_a_file=round(carried / files, 1),
                        client_mib=most,
                        scheduler_mib=cluster.scheduler(),
                    )


def part_keys(atoll, photos):
    """How fast a bucket is listed whose requests take 50 ms.

    Pages have 100 keys, a tenth of S3's, so that what is measured is waiting and not the
    reading of XML, which takes both cores here. The time that a statement without files
    takes is subtracted."""
    del photos
    for prefixes, each in ((16, 4000), (1, 64_000)):
        bucket = Bucket(prefixes, each, 0.05, 100)
        all_of = prefixes * each
        listed = "SELECT filename FROM read_blob('s3://bucket/data/**')"
        took_nothing = 0
        for name, turns, sql in (
            ("nothing", 3, f"SELECT {all_of}"),
            # The first rows are those of the first keys, so there is one request at a time.
            ("one after the other", 1, f"SELECT count(*) FROM ({listed} LIMIT {all_of})"),
            ("at once", 3, f"SELECT count(*) FROM ({listed})"),
        ):
            best = None
            for _ in range(turns):
                bucket.requests = 0
                with tempfile.TemporaryDirectory() as storage:
                    keep = f"SET atoll.distribute_files = {2 * all_of}; "
                    command = [atoll, "--storage", storage, "--format", "csv"]
                    took, _, most, text = run(
                        command + ["-c", keep + sql], ENV | bucket.environment()
                    )
                if text.split()[-1] != str(all_of):
                    raise SystemExit(f"{sql}: {text}")
                best = min(best or took, took)
            if name == "nothing":
                took_nothing = best
            say(
                part="keys",
                listing=name,
                prefixes=prefixes,
                keys=all_of,
                requests=bucket.requests,
                seconds=round(best - (took_nothing if name != "nothing" else 0), 2),
                client_mib=most,
            )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("atoll")
    parser.add_argument("photos")
    parser.add_argument("--part")
    options = parser.parse_args()
    parts = {
        "bytes": part_bytes,
        "memory": part_memory,
        "shuffle": part_shuffle,
        "labels": part_labels,
        "slow": part_slow,
        "fair": part_fair,
        "names": part_names,
        "keys": part_keys,
    }
    for name, part in parts.items():
        if options.part in (None, name):
            part(options.atoll, options.photos)


if __name__ == "__main__":
    sys.exit(main())
