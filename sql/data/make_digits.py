"""Makes digits.parquet, the data set of the demos, from the digits table as CSV.

Run: python3 sql/data/make_digits.py digits.csv.gz sql/data/digits.parquet

Each row of the CSV holds 64 pixels (0..16, row by row) and the label. Each row of
the Parquet file holds the digit as an 8x8 gray PNG, as a camera or a scanner would
have left it, its label and the split it belongs to. A fifth of every class is the test
split; which fifth follows from the digest of the pixels and a fixed seed, so the same
digits are held out whatever version of Python runs this.

Needs pyarrow and nothing else.
"""

import csv
import gzip
import hashlib
import struct
import sys
import zlib

import pyarrow as pa
import pyarrow.parquet as pq

SEED = b"digits-1"
SIDE = 8
TEST_FRACTION = 0.2


def png(pixels):
    """An 8-bit gray PNG of SIDE x SIDE pixels, without filters."""

    def chunk(kind, body):
        checksum = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    rows = b"".join(
        b"\0" + bytes(pixels[row * SIDE : (row + 1) * SIDE]) for row in range(SIDE)
    )
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows, 9))
        + chunk(b"IEND", b"")
    )


def read(path):
    """The digits of the CSV file: (pixels 0..255, label) each."""
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.reader(file):
            *values, label = (int(value) for value in row)
            # Only 8 ends in exactly one half; round() takes 127.5 to the even 128.
            yield [round(value * 255 / 16) for value in values], label


def split(digits):
    """The split of each digit: a fifth of every class, by digest, is the test."""
    splits = ["train"] * len(digits)
    for wanted in sorted({label for _, label in digits}):
        members = [i for i, (_, label) in enumerate(digits) if label == wanted]
        members.sort(key=lambda i: hashlib.sha256(SEED + bytes(digits[i][0])).digest())
        for i in members[: round(len(members) * TEST_FRACTION)]:
            splits[i] = "test"
    return splits


def main():
    source, target = sys.argv[1:]
    digits = list(read(source))
    table = pa.table(
        {
            "image": pa.array([png(pixels) for pixels, _ in digits], pa.binary()),
            "label": pa.array([label for _, label in digits], pa.int64()),
            "split": pa.array(split(digits), pa.string()),
        }
    )
    pq.write_table(table, target, compression="zstd", compression_level=9)
    tests = sum(value == "test" for value in table["split"].to_pylist())
    print(f"{target}: {table.num_rows} digits, {tests} of them for the test")


if __name__ == "__main__":
    main()
