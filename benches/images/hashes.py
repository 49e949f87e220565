"""Compares image_hash with Python's imagehash on every photo of a folder.

    pip install imagehash
    python3 benches/images/hashes.py target/debug/atoll FOLDER

Files that one of the two cannot read are counted and left out. Pillow is told to turn a
photo upright first, as Atoll does, and what it opens with a palette or transparency is
compared on its own line: Atoll decodes these to RGB before they become gray.
"""

import collections
import importlib.metadata
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import imagehash
from PIL import Image, ImageOps

HASHES = {
    "phash": imagehash.phash,
    "dhash": imagehash.dhash,
    "ahash": imagehash.average_hash,
    "whash": imagehash.whash,
}


def ours(atoll, folder):
    columns = ", ".join(
        f"lpad(to_hex(image_hash(image, '{name}')), 16, '0') AS {name}" for name in HASHES
    )
    sql = (
        f"SELECT filename, {columns} FROM (SELECT filename, "
        "try_image_decode(content)['image'] AS image "
        f"FROM read_blob('{folder}/**/*')) WHERE image IS NOT NULL"
    )
    with tempfile.TemporaryDirectory() as storage:
        command = [atoll, "--storage", storage, "--format", "json", "-c", sql]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {row["filename"]: row for row in json.loads(done.stdout)}


def main():
    atoll, folder = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    begin = time.perf_counter()
    found = ours(atoll, folder)
    packages = ["ImageHash", "pillow", "numpy", "scipy", "PyWavelets"]
    versions = {name: importlib.metadata.version(name) for name in packages}
    print(json.dumps({"versions": versions, "seconds_of_atoll": round(time.perf_counter() - begin, 1)}))
    counts = collections.defaultdict(collections.Counter)
    begin = time.perf_counter()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            image = Image.open(path)
            mode = image.mode
            image = ImageOps.exif_transpose(image)
            hashes = {name: str(of(image)) for name, of in HASHES.items()}
        except Exception:
            counts["unreadable"]["in Python"] += 1
            continue
        row = found.get(str(path))
        if row is None:
            counts["unreadable"]["in Atoll only"] += 1
            continue
        kind = "RGB and gray" if mode in ("RGB", "L") else f"mode {mode}"
        counts[kind]["images"] += 1
        for name, value in hashes.items():
            bits = bin(int(value, 16) ^ int(row[name], 16)).count("1")
            counts[kind][f"{name} equal"] += bits == 0
            if bits:
                print(json.dumps({"file": path.name, "mode": mode, "hash": name, "bits": bits}))
    print(json.dumps({"seconds_of_python": round(time.perf_counter() - begin, 1)}))
    for kind, count in counts.items():
        print(json.dumps({"kind": kind, **count}))


main()
