"""Writes one picture as TIFF files of all sorts.

Run:  python tests/data/tiff/make.py     (from the root; written with Pillow 13.0, tifffile
2026.3 and its imagecodecs, and tiffcp of libtiff 4.5)

rgb_* decode to rgb.png, gray_* to gray.png, near_* nearly to rgb.png, jpeg_* to what Pillow
makes of them, the file of the same name; refused_* are named and not decoded.
"""

import itertools
import subprocess
from pathlib import Path

import numpy
import tifffile
from PIL import Image

HERE = Path(__file__).parent
y, x = numpy.mgrid[0:21, 0:37]
rgb = numpy.stack([40 + 5 * x, 220 - 8 * y, 60 + 3 * x + 4 * y], axis=-1)
rgb = (rgb + 20 * ((x // 5 + y // 4) % 2)[..., None]).clip(0, 255).astype("uint8")
picture = Image.fromarray(rgb)
gray = numpy.asarray(picture.convert("L"))
planes = numpy.ascontiguousarray(numpy.moveaxis(rgb, 2, 0))
tile = {"tile": (16, 32)}


def write(name, data, **options):
    options = {"photometric": "rgb", "metadata": None, "software": False} | options
    tifffile.imwrite(HERE / f"{name}.tif", data, **options)


picture.save(HERE / "rgb.png")
Image.fromarray(gray).save(HERE / "gray.png")
for order, big in itertools.product("<>", (False, True)):
    name = ("le" if order == "<" else "be") + ("_big" if big else "")
    file = {"byteorder": order, "bigtiff": big}
    write(f"rgb_{name}", rgb, **file)
    write(f"rgb_16_{name}", rgb.astype("uint16") * 257, compression="lzw", **file)
for codec in ("lzw", "zlib", "packbits"):
    write(f"rgb_{codec}", rgb, compression=codec, rowsperstrip=8)
    write(f"gray_{codec}", gray, compression=codec, photometric="minisblack")
for codec in ("lzw", "zlib", "packbits"):
    write(f"rgb_tiled_{codec}", rgb, compression=codec, **tile)
write("rgb_predictor", rgb, compression="lzw", predictor=True)
write("rgb_planar", planes, planarconfig="separate", compression="zlib")
write("gray_white_is_zero", 255 - gray, photometric="miniswhite")
write("gray_16", gray.astype("uint16") * 257, photometric="minisblack")
write("refused_planar_tiled", planes, planarconfig="separate", **tile)
write("refused_lzw_tiled", rgb[:17, :33], compression="lzw", **tile)
write("refused_float", gray.astype("float32"), photometric="minisblack")
write("refused_float_rgb", rgb.astype("float32") / 255)
for codec in ("zstd", "lzma"):
    write(f"refused_{codec}", rgb, compression=codec)
picture.quantize(200).save(HERE / "refused_palette.tif")
picture.convert("1").save(HERE / "refused_group3.tif", compression="group3")
picture.convert("CMYK").save(HERE / "near_cmyk.tif", compression="tiff_lzw")
halves = {"photometric": "ycbcr", "subsampling": (2, 2)}
write("jpeg_444", rgb, compression="jpeg")
write("jpeg_420", rgb, compression="jpeg", rowsperstrip=16, **halves)
write("jpeg_420_tiled", rgb, compression="jpeg", **halves, **tile)
write("jpeg_gray", gray, compression="jpeg", photometric="minisblack")
for name, options in {
    "rgb_reversed_bits": ["-f", "lsb2msb"],
    "rgb_reversed_bits_lzw": ["-f", "lsb2msb", "-c", "lzw", "-r", "5"],
    "jpeg_tables": ["-c", "jpeg", "-r", "16"],
}.items():
    files = HERE / "rgb_le.tif", HERE / f"{name}.tif"
    subprocess.run(["tiffcp", *options, *files], check=True)
for file in HERE.glob("jpeg_*.tif"):
    mode = "L" if "gray" in file.name else "RGB"
    Image.open(file).convert(mode).save(file.with_suffix(".png"))
