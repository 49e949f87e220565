"""How long check_dataset takes to find near-copies among many images.

Writes small gray PNG files of noise into one Parquet file, every tenth one a copy of an
earlier one in which some pixels were changed, and checks the file in processes of their own:
one that is not counted, then three.

    pip install pillow pyarrow
    python3 benches/images/near_duplicates.py target/debug/atoll 100000
"""

import io
import json
import random
import subprocess
import sys
import tempfile
import time

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SIDE = 16


def png(pixels):
    file = io.BytesIO()
    Image.frombytes("L", (SIDE, SIDE), bytes(pixels)).save(file, "png")
    return file.getvalue()


def main():
    atoll, count = sys.argv[1], int(sys.argv[2])
    chance, images = random.Random(1), []
    for n in range(count):
        if n % 10 == 9:
            pixels = bytearray(images[chance.randrange(n)])
            for _ in range(3):
                at = chance.randrange(len(pixels))
                pixels[at] = min(255, pixels[at] + 3)
        else:
            pixels = bytearray(chance.randbytes(SIDE * SIDE))
        images.append(pixels)
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/noise.parquet"
        table = pa.table({"image": [png(image) for image in images], "label": ["x"] * count})
        pq.write_table(table, file, row_group_size=10_000)
        for kind in ("check_dataset", "image_hash"):
            sql = {
                "check_dataset": f"SELECT kind, count(*) AS n FROM check_dataset('{file}') GROUP BY kind",
                "image_hash": f"SELECT count(image_hash(image)) AS n FROM '{file}'",
            }[kind]
            command = ["/usr/bin/time", "-f", "%M", atoll, "--storage", f"{folder}/s", "--format", "csv", "-c", sql]
            seconds = []
            for _ in range(4):
                begin = time.perf_counter()
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                seconds.append(round(time.perf_counter() - begin, 2))
            print(
                json.dumps(
                    {
                        "images": count,
                        "query": kind,
                        "seconds_of_the_process": seconds[1:],
                        "most_memory_mib": int(done.stderr.split()[-1]) // 1024,
                        "found": done.stdout.split("\n")[1:-1],
                    }
                ),
                flush=True,
            )


main()
