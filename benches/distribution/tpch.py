"""The 22 queries of TPC-H in stages on a cluster, and on one machine: equal rows, times.

    pip install tpchgen-cli
    python3 benches/distribution/tpch.py ATOLL [--scale 1] [--executors 2] [--query 7]

Nothing is left to the client (`distribute_bytes` 0, `cluster_fallback` error). Each line
of the output is a JSON object; memory is the peak of a process (`VmHWM`) in MiB. Ends with
1 when rows differ or a query fails.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from run import Cluster, peak, say

TABLES = "customer lineitem nation orders part partsupp region supplier".split()
HERE = Path(__file__).parent


def queries(scale):
    """The queries by their names."""
    text = (HERE / "tpch.sql").read_text()
    # What is left of it shrinks with the scale, so that rows come at every one.
    text = text.replace("${fraction}", f"{0.0001 / scale:.10f}")
    parts = re.split(r"^-- (q\d+)$", text, flags=re.M)[1:]
    return dict(zip(parts[::2], parts[1::2]))


def generate(scale, folder):
    command = ["tpchgen-cli", "parquet", "-s", str(scale), "--output-dir", folder]
    subprocess.run(command, check=True)


def tables(folder):
    return "".join(
        f"CREATE EXTERNAL TABLE {name} STORED AS PARQUET "
        f"LOCATION '{folder}/{name}.parquet'; "
        for name in TABLES
    )


def workers(cluster):
    """The peaks of the processes that run tasks."""
    peaks = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().split(b"\0")
            mine = Path(entry / "stat").read_text().split()[3]
            parent = Path(f"/proc/{mine}/stat").read_text().split()[3]
        except (OSError, IndexError):
            continue
        # Each is the child of its supervisor, which is the cluster's.
        if str(cluster.process.pid) in (mine, parent) and b"executor" in b" ".join(line):
            peaks.append(peak(entry.name))
    return max(peaks, default=0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("atoll")
    parser.add_argument("--scale", type=float, default=1)
    parser.add_argument("--executors", type=int, default=2)
    parser.add_argument("--data", help="a folder with the tables, instead of new ones")
    parser.add_argument("--query", action="append", help="such as q7; all without")
    options = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as made, Cluster(
        options.atoll, options.executors
    ) as cluster:
        if not options.data:
            generate(options.scale, made)
        known = tables(options.data or made)
        stages = "SET atoll.distribute_bytes = 0; SET atoll.cluster_fallback = 'error'; "
        for name, sql in queries(options.scale).items():
            if options.query and name not in options.query:
                continue
            here = cluster.run(known + sql, there=False)
            try:
                there = cluster.run(known + stages + sql)
            except SystemExit as error:
                wrong += 1
                say(query=name, error=str(error)[-400:])
                continue
            rows = here[3].splitlines(), there[3].splitlines()
            equal = rows[0] == rows[1]
            wrong += not equal
            say(
                query=name,
                rows=len(rows[0]) - 1,
                equal=equal,
                equal_but_for_order=sorted(rows[0]) == sorted(rows[1]),
                seconds_here=round(here[0], 2),
                seconds_cluster=round(there[0], 2),
                ratio=round(there[0] / here[0], 2),
                loopback_mib=there[1] >> 20,
                client_here_mib=here[2],
                client_mib=there[2],
                scheduler_mib=cluster.scheduler(),
                largest_worker_mib=workers(cluster),
            )
            if not equal:
                say(query=name, here=rows[0][:5], there=rows[1][:5])
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
