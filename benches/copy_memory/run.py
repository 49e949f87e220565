"""Peak memory of COPY and CREATE TABLE with a BLOB column larger than memory may be.

    python3 benches/copy_memory/run.py ATOLL [--images 40000] [--limit 1g]

ATOLL is the binary. Writes PNG files of noise, about 130 KB each (200 of them, under as
many names as asked for), and has them copied into Parquet in a folder, in one file and as
a stored table, each under the memory limit. Needs numpy, pyarrow and Pillow, and twice
the disk space of the images. Each way gives a line of JSON: seconds, the most memory that
the process had, files, row groups and the largest row group in bytes.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy
import pyarrow.parquet
from PIL import Image

DISTINCT = 200


def write_images(folder, count):
    random = numpy.random.default_rng(1)
    for n in range(count):
        path = folder / f"{n:06}.png"
        if n < DISTINCT:
            pixels = random.integers(0, 256, (208, 208, 3), dtype=numpy.uint8)
            Image.fromarray(pixels).save(path)
        else:
            os.link(folder / f"{n % DISTINCT:06}.png", path)


def run(options, work, name, sql, written):
    command = [options.atoll, "--memory-limit", options.limit, "--threads", "2", "-q"]
    command += ["--storage", f"{work}/storage", "-c", sql]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    files = sorted(Path(work).glob(written))
    metadata = [pyarrow.parquet.read_metadata(file) for file in files]
    groups = [m.row_group(n) for m in metadata for n in range(m.num_row_groups)]
    print(
        json.dumps(
            {
                "way": name,
                "limit": options.limit,
                "exit": os.waitstatus_to_exitcode(status),
                "rows": sum(m.num_rows for m in metadata),
                "seconds": round(seconds, 1),
                "peak_mib": usage.ru_maxrss // 1024,
                "files": len(files),
                "row_groups": len(groups),
                "largest_row_group_mib": max(
                    (group.total_byte_size >> 20 for group in groups), default=0
                ),
            }
        ),
        flush=True,
    )
    for file in files:
        file.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("atoll")
    parser.add_argument("--images", type=int, default=40000)
    parser.add_argument("--limit", default="1g")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        images = Path(work) / "images"
        images.mkdir()
        write_images(images, options.images)
        rows = f"SELECT filename, content FROM read_blob('{images}/')"
        copy = f"COPY ({rows}) TO '{work}/out"
        run(options, work, "COPY to a folder", f"{copy}/' STORED AS PARQUET", "out/*.parquet")
        run(options, work, "COPY to a file", f"{copy}.parquet'", "out.parquet")
        create = f"CREATE TABLE images AS {rows}"
        run(options, work, "CREATE TABLE", create, "storage/tables/images/*/*.parquet")


main()
