"""Makes a small data set in MNIST's own format, under MNIST's own file names.

Run: python3 tests/data/idx/make.py digits.csv.gz tests/data/idx

The digits are those of sql/data/make_digits.py (see sql/data/CREDITS.md): the first
200 for training, the next 100 for the test. Beside the four files there are one that
is not packed, one that is cut short, and one that is packed and cut short.
"""

import csv
import gzip
import pathlib
import struct
import sys

SIDE = 8


def images(digits):
    header = struct.pack(">IIII", 0x0803, len(digits), SIDE, SIDE)
    return header + bytes(pixel for pixels, _ in digits for pixel in pixels)


def labels(digits):
    return struct.pack(">II", 0x0801, len(digits)) + bytes(label for _, label in digits)


def read(path):
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.reader(file):
            *values, label = (int(value) for value in row)
            yield [round(value * 255 / 16) for value in values], label


def main():
    source, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    digits = list(read(source))
    for name, part in [("train", digits[:200]), ("t10k", digits[200:300])]:
        for kind, content in [("images-idx3", images(part)), ("labels-idx1", labels(part))]:
            packed = gzip.compress(content, 9, mtime=0)
            (folder / f"{name}-{kind}-ubyte.gz").write_bytes(packed)
    train = images(digits[:200])
    (folder / "plain-images-idx3-ubyte").write_bytes(train[: 16 + 20 * SIDE * SIDE].replace(
        struct.pack(">II", 0x0803, 200), struct.pack(">II", 0x0803, 20), 1
    ))
    (folder / "plain-labels-idx1-ubyte").write_bytes(labels(digits[:20]))
    (folder / "short-images-idx3-ubyte").write_bytes(train[:5000])
    (folder / "short-images-idx3-ubyte.gz").write_bytes(gzip.compress(train, 9, mtime=0)[:3000])


if __name__ == "__main__":
    main()
