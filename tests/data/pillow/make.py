"""Writes what Pillow makes of some images, for tests to compare with.

Run:  python tests/data/pillow/make.py        (from the root; written with Pillow 13.0)

- source.png, <filter>_<size>.png: one resize each of a part of astronaut.png
- interlaced.png: source.png with Adam7, which Pillow reads and does not write
- photos/<photo>_<filter>.png: a JPEG as a classifier gets it: shortest side 128,
  centre crop 112
- jpeg/<kind>.jpg, jpeg/<kind>.png: a JPEG of each usual kind and what Pillow decodes
- odd/<file>.png: every file that must decode, upright, shortest side 48, centre crop 40;
  but for those that are odd by their name only
"""

import csv
import struct
import zlib
from pathlib import Path

import numpy
from PIL import Image, ImageOps

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def resizes():
    photo = Image.open(ROOT / "sql/data/photos/astronaut.png").convert("RGB")
    photo = photo.crop((150, 0, 310, 120))
    photo.save(HERE / "source.png")
    for name, resampling in FILTERS.items():
        for size in [(64, 48), (200, 131)]:
            photo.resize(size, resampling).save(HERE / f"{name}_{size[0]}x{size[1]}.png")
    gray = photo.convert("L").resize((50, 70), Image.Resampling.BICUBIC)
    gray.save(HERE / "gray_bicubic_50x70.png")


def interlaced():
    pixels = numpy.asarray(Image.open(HERE / "source.png"))
    height, width, _ = pixels.shape
    steps = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)]
    steps += [(0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b""
    for left, top, across, down in steps:
        for row in pixels[top::down, left::across]:
            rows += b"\0" + row.tobytes()

    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    (HERE / "interlaced.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows, 9))
        + chunk(b"IEND", b"")
    )
    assert (numpy.asarray(Image.open(HERE / "interlaced.png")) == pixels).all()


def preprocess(image, resampling, size, crop):
    """torchvision's Resize(size) and CenterCrop(crop) of a PIL image."""
    width, height = image.size
    if width <= height:
        resized = (size, int(size * height / width))
    else:
        resized = (int(size * width / height), size)
    image = image.resize(resized, resampling)
    left = int(round((resized[0] - crop) / 2.0))
    top = int(round((resized[1] - crop) / 2.0))
    return image.crop((left, top, left + crop, top + crop))


def jpegs():
    """Sizes that are no multiple of a block, and one that has three columns of chroma."""
    (HERE / "jpeg").mkdir(exist_ok=True)
    photo = Image.open(ROOT / "sql/data/photos/astronaut.png").convert("RGB")
    photo = photo.crop((170, 10, 233, 89))
    kinds = {
        "444": {"quality": 97, "subsampling": 0},
        "422": {"quality": 75, "subsampling": 1},
        "420": {"quality": 90, "subsampling": 2},
        "420_coarse": {"quality": 12, "subsampling": 2, "optimize": True},
        "420_restarts": {"quality": 80, "subsampling": 2, "restart_marker_blocks": 3},
    }
    for name, options in kinds.items():
        photo.save(HERE / f"jpeg/{name}.jpg", **options)
    photo.convert("L").save(HERE / "jpeg/gray.jpg", quality=85)
    photo.crop((0, 0, 5, 9)).save(HERE / "jpeg/tiny.jpg", quality=85, subsampling=2)
    for file in (HERE / "jpeg").glob("*.jpg"):
        Image.open(file).save(file.with_suffix(".png"))


def photos():
    (HERE / "photos").mkdir(exist_ok=True)
    for name in ["hubble_deep_field", "retina", "rocket"]:
        photo = Image.open(ROOT / f"sql/data/photos/{name}.jpg").convert("RGB")
        for filter_name, resampling in FILTERS.items():
            out = preprocess(photo, resampling, 128, 112)
            out.save(HERE / f"photos/{name}_{filter_name}.png", optimize=True)


def odd():
    (HERE / "odd").mkdir(exist_ok=True)
    with open(ROOT / "tests/data/odd/manifest.tsv") as manifest:
        rows = list(csv.DictReader(manifest, delimiter="\t"))
    for row in rows:
        if row["expect"] != "decode" or "name" in row["note"] or "ext" in row["note"]:
            continue
        image = Image.open(ROOT / "tests/data/odd" / row["file"])
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            # Pillow clips 16 bits of gray to white; the upper byte is the 8-bit value.
            image = Image.fromarray((numpy.asarray(image) >> 8).astype("uint8"))
        out = preprocess(image.convert("RGB"), Image.Resampling.BICUBIC, 48, 40)
        out.save(HERE / f"odd/{row['file']}.png", optimize=True)


if __name__ == "__main__":
    resizes()
    interlaced()
    jpegs()
    photos()
    odd()
