"""Peak memory of labelling more images, larger images and bombs than memory could hold.

    python3 benches/image_memory/run.py ATOLL PHOTOS ODD [--images 100000] [--limit 1g]

ATOLL is the binary (a release build), PHOTOS a folder of JPEG files, repeated until there
are as many as asked for, in one Parquet file of row groups of 100; ODD a folder of
damaged files and bombs. Needs pyarrow and Pillow. All runs have the memory limit and get
a line of JSON: rows, errors by code, seconds, and the most memory that the process had
(its resident set, ONNX Runtime and all code included). Wants twice the disk space of the
photos.
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
from PIL import Image

ROOT = Path(__file__).parents[2]
MODEL = str(ROOT / "sql/data/efficientnet-lite0.onnx")
GROUP = 100


def write_photos(photos, count, path):
    files = [file.read_bytes() for file in sorted(Path(photos).iterdir())]
    schema = pyarrow.schema([("filename", pyarrow.string()), ("content", pyarrow.binary())])
    with pyarrow.parquet.ParquetWriter(path, schema, compression="none") as writer:
        for start in range(0, count, GROUP):
            numbers = range(start, min(start + GROUP, count))
            rows = {
                "filename": [f"{n:06}.jpg" for n in numbers],
                "content": [files[n % len(files)] for n in numbers],
            }
            writer.write_table(pyarrow.table(rows, schema=schema))


def write_large(folder, count=40):
    """Photos of 36 megapixels: 108 MB each when they are decoded."""
    gradient = Image.linear_gradient("L").resize((6000, 6000))
    photo = Image.merge("RGB", [gradient, gradient.rotate(90), gradient.rotate(180)])
    for n in range(count):
        # Progressive files have no short cut.
        photo.save(folder / f"{n:02}.jpg", quality=90, progressive=n % 2 == 0)


def label(name, options, source):
    target = Path(options.work) / f"{name}.parquet"
    sql = (
        f"COPY (SELECT filename, try_classify('{MODEL}', content, 5) AS r FROM {source}) "
        f"TO '{target}'"
    )
    command = [options.atoll, "--memory-limit", options.limit, "--threads", "2", "-q"]
    command += ["--storage", f"{options.work}/storage-{name}", "-c", sql]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    rows = pyarrow.parquet.read_table(target).to_pylist() if status == 0 else []
    codes = {}
    for row in rows:
        code = row["r"]["error_code"]
        codes[code or "labelled"] = codes.get(code or "labelled", 0) + 1
    line = {
        "run": name,
        "exit_status": status,
        "rows": len(rows),
        "codes": codes,
        "seconds": round(seconds, 1),
        "peak_mib": usage.ru_maxrss // 1024,
    }
    print(json.dumps(line), flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("atoll")
    parser.add_argument("photos")
    parser.add_argument("odd")
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--limit", default="1g")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        options.work = work
        large = Path(work) / "large"
        large.mkdir()
        write_large(large)
        label("odd", options, f"read_blob('{options.odd}')")
        label("large", options, f"read_blob('{large}')")
        source = f"{work}/photos.parquet"
        write_photos(options.photos, options.images, source)
        label("many", options, f"'{source}'")


if __name__ == "__main__":
    main()
