"""What a scheduler and its executors keep of the rows that they carried.

    python3 benches/scheduler_memory/run.py ATOLL PHOTOS [--images 20000] [--passes 4]

ATOLL is the binary (a development build will do: bytes do not depend on it), PHOTOS a
folder of images, repeated until there are as many as asked for, in one Parquet file of
row groups of 100. Needs pyarrow. Each pass sends the content of every image through the
scheduler of a cluster of two executors, and gets a line of JSON: the bytes carried so
far, the resident memory of the scheduler, and the bytes left in the executors' folders
once results have been fetched. The first line is before the first pass.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet

GROUP = 100
PATIENCE = 30


def write_photos(photos, count, path):
    files = [file.read_bytes() for file in sorted(Path(photos).iterdir())]
    schema = pyarrow.schema([("content", pyarrow.binary())])
    total = 0
    with pyarrow.parquet.ParquetWriter(path, schema, compression="none") as writer:
        for start in range(0, count, GROUP):
            numbers = range(start, min(start + GROUP, count))
            content = [files[n % len(files)] for n in numbers]
            total += sum(map(len, content))
            writer.write_table(pyarrow.table({"content": content}, schema=schema))
    return total


def start(arguments, ready):
    process = subprocess.Popen(
        [*arguments, "--stop-with-input"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if ready in line:
            return process, line
    raise SystemExit(f"{arguments} did not start")


def resident_mib(process):
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    raise SystemExit("the scheduler ended")


def bytes_below(folder):
    total = 0
    for root, _, files in os.walk(folder):
        for file in files:
            try:
                total += os.stat(os.path.join(root, file)).st_size
            except FileNotFoundError:
                pass
    return total


def settled_bytes(folder):
    """What is left once removals that are under way have ended."""
    until = time.monotonic() + PATIENCE
    while bytes_below(folder) and time.monotonic() < until:
        time.sleep(0.1)
    return bytes_below(folder)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("atoll")
    parser.add_argument("photos")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--passes", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        table = Path(home) / "photos.parquet"
        size = write_photos(options.photos, options.images, table)
        scheduler, line = start([options.atoll, "scheduler", "--port", "0"], "df://")
        address = line[line.index("df://") :].split(",")[0].strip()
        work = Path(home) / "work"
        executors = []
        for n in range(2):
            command = [options.atoll, "executor", "--scheduler", address, "--slots", "1"]
            command += ["--work-dir", str(work / str(n))]
            executors.append(start(command, " executor: ")[0])
        # 12 KB of results an image.
        sql = f"SELECT count(image_resize(content, 64, 64)) AS images FROM '{table}'"
        command = [options.atoll, "--cluster", address, "--storage", f"{home}/storage"]
        command += ["-q", "--format", "csv", "-c", sql]
        for done in range(options.passes + 1):
            seconds, images = 0.0, None
            if done > 0:
                since = time.perf_counter()
                output = subprocess.run(command, check=True, capture_output=True, text=True)
                images = int(output.stdout.split()[1])
                seconds = time.perf_counter() - since
            line = {
                "carried_mb": round(done * size / 1e6),
                "seconds": round(seconds, 1),
                "scheduler_mib": resident_mib(scheduler),
                "executors_bytes_left": settled_bytes(work),
                "images": images,
            }
            print(json.dumps(line), flush=True)
        for process in [*executors, scheduler]:
            process.stdin.close()
            process.wait()


main()
