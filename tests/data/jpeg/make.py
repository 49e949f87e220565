"""Writes JPEG files of layouts that cameras do not write, and what Pillow makes of them.

Run:  python tests/data/jpeg/make.py          (from the root; written with Pillow 13.0)

`<layout>_<scans>.jpg` has components of unusual sizes, in one scan (`i`), in a scan each
(`n`), in two scans (`h`), with restart markers (`r`), or progressive with every kind of
pass (`p`, and `q` with restart markers). `<layout>.png` is what Pillow decodes. It refuses
MCUs of more than ten blocks, which the same layout in other scans has not, and samplings
that are no whole share of the largest: those are compared with repeated samples. The
others are:

- damaged_<file>_<how>.jpg: codes that are cut off or changed, and what Pillow makes of them
- refused_<kind>.jpg: kinds that are named and not decoded
- mjpeg.jpg: no Huffman tables, which means those of the standard
- two_exif.jpg: two EXIF segments, of which the first counts
- oriented.png, oriented.webp: EXIF data after the pixels
- big_le.tif, big_be.tif: BigTIFF in both byte orders
"""

import io
import struct
import zlib
from pathlib import Path

import numpy
from PIL import Image, ImageOps

HERE = Path(__file__).parent
WIDTH, HEIGHT = 45, 35

ZIGZAG = sorted(
    range(64),
    key=lambda n: (
        n // 8 + n % 8,
        (n // 8 if (n // 8 + n % 8) % 2 else n % 8),
    ),
)
COSINES = numpy.array(
    [
        [
            (0.5**0.5 if u == 0 else 1) * numpy.cos((2 * x + 1) * u * numpy.pi / 16) / 2
            for x in range(8)
        ]
        for u in range(8)
    ]
)
QUANTIZATION = [6 + n // 4 for n in range(64)]

# For each layout: the components' samplings.
LAYOUTS = {
    "420": [(2, 2), (1, 1), (1, 1)],
    "422": [(2, 1), (1, 1), (1, 1)],
    "440": [(1, 2), (1, 1), (1, 1)],
    "411": [(4, 1), (1, 1), (1, 1)],
    "410": [(4, 2), (1, 1), (1, 1)],
    "third": [(3, 1), (1, 1), (1, 1)],
    "third_down": [(1, 3), (1, 1), (1, 1)],
    "all_2": [(2, 2), (2, 2), (2, 2)],
    "all_21": [(2, 1), (2, 1), (2, 1)],
    "chroma_more": [(1, 1), (2, 2), (2, 2)],
    "chroma_21": [(1, 1), (2, 1), (2, 1)],
    "mixed": [(2, 2), (2, 1), (1, 2)],
    "blue_only": [(2, 2), (2, 2), (1, 1)],
    "fraction": [(3, 2), (2, 1), (1, 2)],
    "fraction_of_4": [(4, 1), (3, 1), (1, 1)],
    "gray_2": [(2, 2)],
    "cmyk": [(1, 1), (1, 1), (1, 1), (1, 1)],
    "cmyk_mixed": [(2, 2), (1, 1), (2, 1), (1, 2)],
    "ycck": [(2, 2), (1, 1), (1, 1), (2, 2)],
}


def picture():
    """Flat corners, slopes and edges in all colours."""
    y, x = numpy.mgrid[0:HEIGHT, 0:WIDTH]
    red = 60 + 3 * x + 40 * ((x // 7 + y // 9) % 2)
    green = 200 - 4 * y + 30 * ((x + y) % 23 < 6)
    blue = 90 + 2 * y + 60 * (x > 24) - 50 * (y > 18)
    rgb = numpy.stack([red, green, blue], axis=-1).clip(0, 255)
    rgb[:8, :8] = (230, 40, 60)
    return Image.fromarray(rgb.astype("uint8"))


def blocks_of(plane, sampling, most):
    """Quantized coefficients of a component, in zigzag order, with padding."""
    width = -(-WIDTH * sampling[0] // most[0])
    height = -(-HEIGHT * sampling[1] // most[1])
    plane = plane.resize((width, height), Image.Resampling.BOX)
    mcus = -(-WIDTH // (8 * most[0])), -(-HEIGHT // (8 * most[1]))
    across, down = mcus[0] * sampling[0], mcus[1] * sampling[1]
    samples = numpy.asarray(plane, dtype=float) - 128
    padding = (0, 8 * down - height), (0, 8 * across - width)
    samples = numpy.pad(samples, padding, mode="edge")
    out = numpy.zeros((down, across, 64), dtype=int)
    for y in range(down):
        for x in range(across):
            block = samples[8 * y : 8 * y + 8, 8 * x : 8 * x + 8]
            block = (COSINES @ block @ COSINES.T).flatten()[ZIGZAG]
            out[y, x] = numpy.rint(block / QUANTIZATION)
    return out, (-(-width // 8), -(-height // 8))


class Bits:
    def __init__(self):
        self.text = ""

    def put(self, value, size):
        if size:
            self.text += format(value, f"0{size}b")

    def bytes(self):
        text = self.text + "1" * (-len(self.text) % 8)
        data = int(text or "0", 2).to_bytes(len(text) // 8, "big") if text else b""
        return data.replace(b"\xff", b"\xff\0")


def tables_of(counts, values):
    code, codes, at = 0, {}, 0
    for length, count in enumerate(counts, 1):
        for value in values[at : at + count]:
            codes[value] = (code, length)
            code += 1
        at += count
        code <<= 1
    return codes


def standard_tables():
    """The segments and the codes of the tables that Pillow writes, those of Annex K."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "jpeg")
    data, at, tables = file.getvalue(), 2, {}
    while data[at + 1] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xC4:
            part = data[at + 4 : at + 2 + length]
            while part:
                total = sum(part[1:17])
                tables[part[0]] = (list(part[1:17]), list(part[17 : 17 + total]))
                part = part[17 + total :]
        at += 2 + length
    return tables


DC, AC = standard_tables()[0x00], standard_tables()[0x10]
# A code for every byte, as progressive files need more than the standard's have.
EVERY = ([0] * 7 + [100, 156] + [0] * 7, list(range(256)))


def segment(marker, data):
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def amount(value):
    """The size of a number and its bits, negative ones by their complement."""
    size = int(abs(value)).bit_length()
    return size, int(value) if value >= 0 else int(value) + (1 << size) - 1


class Scan:
    def __init__(self, codes):
        self.bits, self.before, self.codes = Bits(), {}, codes
        self.run, self.kept = 0, []

    def symbol(self, value):
        self.bits.put(*self.codes[value])

    def first(self, component, value):
        size, bits = amount(value - self.before.get(component, 0))
        self.before[component] = value
        self.bits.put(*tables_of(*DC)[size])
        self.bits.put(bits, size)

    def sequential(self, component, block):
        self.first(component, block[0])
        self.others(block[1:])

    def others(self, values, run_of_blocks=False):
        last = max((n for n, value in enumerate(values) if value), default=-1)
        if last < 0 and run_of_blocks:
            self.run += 1
            return
        self.end_run()
        zeros = 0
        for value in values[: last + 1]:
            if value == 0:
                zeros += 1
                continue
            while zeros > 15:
                self.symbol(0xF0)
                zeros -= 16
            size, bits = amount(value)
            self.symbol(zeros << 4 | size)
            self.bits.put(bits, size)
            zeros = 0
        if last + 1 < len(values):
            if run_of_blocks:
                self.run += 1
            else:
                self.symbol(0)

    def refined(self, values, low):
        """The next bit of coefficients, as Figure G.7 of the standard has it."""
        news = [n for n, value in enumerate(values) if abs(value) >> low == 1]
        last, zeros, kept = max(news, default=-1), 0, []
        for n, value in enumerate(values):
            size = abs(value) >> low
            if n <= last:
                while zeros > 15 and size:
                    self.end_run()
                    self.symbol(0xF0)
                    self.put_kept(kept)
                    kept, zeros = [], zeros - 16
                if size == 1:
                    self.end_run()
                    self.symbol(zeros << 4 | 1)
                    self.bits.put(int(value > 0), 1)
                    self.put_kept(kept)
                    kept, zeros = [], 0
                    continue
            if size == 0:
                zeros += 1
            elif size > 1:
                kept.append(size & 1)
        if last + 1 < len(values):
            self.run += 1
            self.kept += kept
        else:
            self.put_kept(kept)

    def put_kept(self, kept):
        for bit in kept:
            self.bits.put(bit, 1)

    def end_run(self):
        if self.run:
            size = self.run.bit_length() - 1
            self.symbol(size << 4)
            self.bits.put(self.run - (1 << size), size)
            self.put_kept(self.kept)
        self.run, self.kept = 0, []


def scan(components, layout, blocks, selection, progressive, restart):
    """A scan's segment and codes; `selection` is where it starts and ends, and its bits."""
    start, end, high, low = selection
    choices = b"".join(bytes([n + 1, 0]) for n in components)
    header = bytes([len(components)]) + choices + bytes([start, end, high << 4 | low])
    alone = len(components) == 1
    grid = blocks[components[0]]
    across, down = grid[1] if alone else (
        grid[0].shape[1] // layout[components[0]][0],
        grid[0].shape[0] // layout[components[0]][1],
    )
    codes = tables_of(*(EVERY if progressive else AC))
    now, out = Scan(codes), segment(0xDA, header)
    for mcu in range(across * down):
        if restart and mcu and mcu % restart == 0:
            now.end_run()
            out += now.bits.bytes() + bytes([0xFF, 0xD0 + (mcu // restart - 1) % 8])
            now = Scan(codes)
        for n in components:
            h, v = (1, 1) if alone else layout[n]
            for y in range(v):
                for x in range(h):
                    place = (mcu // across * v + y, mcu % across * h + x)
                    one(now, n, blocks[n][0][place], selection, progressive)
    now.end_run()
    return out + now.bits.bytes()


def one(now, component, block, selection, progressive):
    start, end, high, low = selection
    if not progressive:
        now.sequential(component, block)
    elif start == 0 and high == 0:
        now.first(component, int(block[0]) >> low)
    elif start == 0:
        now.bits.put(int(block[0]) >> low & 1, 1)
    elif high == 0:
        values = block[start : end + 1]
        now.others([int(numpy.sign(v)) * (abs(int(v)) >> low) for v in values], True)
    else:
        now.refined([int(value) for value in block[start : end + 1]], low)


def scans_of(kind, count):
    whole = (0, 63, 0, 0)
    together, each = list(range(count)), [[n] for n in range(count)]
    if kind in ("i", "r"):
        return [(together, whole)]
    if kind == "n":
        return [(part, whole) for part in each]
    if kind == "h":
        return [(part, whole) for part in (together[:1], together[1:])]
    first = [(together, (0, 0, 0, 1))] if kind == "p" else [(part, (0, 0, 0, 1)) for part in each]
    bands = [((1, 5), 2), ((6, 63), 2)]
    upper = [(part, (*band, 0, low)) for part in each for band, low in bands]
    next_bits = [(part, (1, 63, bit + 1, bit)) for bit in (1, 0) for part in each]
    return first + upper + [(together, (0, 0, 1, 0))] + next_bits


def jpeg(layout, kind, planes, tables=True, extra=b"", frame=None, precision=8):
    most = tuple(max(sampling[n] for sampling in layout) for n in (0, 1))
    blocks = [blocks_of(p, sampling, most) for p, sampling in zip(planes, layout)]
    progressive = kind in ("p", "q")
    restart = {"r": 2, "q": 3}.get(kind, 0)
    marker = frame or (0xC2 if progressive else 0xC0)
    parts = b"".join(
        bytes([n + 1, h << 4 | v, 0]) for n, (h, v) in enumerate(layout)
    )
    size = struct.pack(">BHHB", precision, HEIGHT, WIDTH, len(layout))
    out = b"\xff\xd8" + extra + segment(0xDB, bytes([0, *QUANTIZATION]))
    out += segment(marker, size + parts)
    if tables:
        for slot, (counts, values) in ((0, DC), (16, EVERY if progressive else AC)):
            out += segment(0xC4, bytes([slot, *counts, *values]))
    if restart:
        out += segment(0xDD, struct.pack(">H", restart))
    for components, selection in scans_of(kind, len(layout)):
        out += scan(components, layout, blocks, selection, progressive, restart)
    return out + b"\xff\xd9"


def repeated(layout, planes):
    """What the components are when each sample is repeated."""
    most = tuple(max(sampling[n] for sampling in layout) for n in (0, 1))
    out = []
    for plane, sampling in zip(planes, layout):
        size = -(-WIDTH * sampling[0] // most[0]), -(-HEIGHT * sampling[1] // most[1])
        small = numpy.asarray(plane.resize(size, Image.Resampling.BOX))
        y = ((2 * numpy.arange(HEIGHT) + 1) * sampling[1] // (2 * most[1]))
        x = ((2 * numpy.arange(WIDTH) + 1) * sampling[0] // (2 * most[0]))
        out.append(small[numpy.ix_(y, x)])
    return Image.merge("YCbCr", [Image.fromarray(plane) for plane in out]).convert("RGB")


def adobe(transform):
    return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))


def exif(orientation):
    entry = struct.pack(">HHIHH", 0x112, 3, 1, orientation, 0)
    return b"MM\0\x2a\0\0\0\x08\0\x01" + entry + b"\0\0\0\0"


def layouts(photo):
    refused = []
    for name, layout in LAYOUTS.items():
        planes, extra = photo.convert("YCbCr").split(), b""
        if len(layout) == 1:
            planes = [photo.convert("L")]
        if len(layout) == 4:
            black = photo.convert("L").point(lambda v: 255 - v // 3)
            first = photo if name.startswith("cmyk") else photo.convert("YCbCr")
            planes = [*first.split(), black]
            extra = adobe(0 if name.startswith("cmyk") else 2)
        images = []
        for kind in "inhrpq":
            alone = len(layout) == 1
            if alone and kind in "nh":
                continue
            file = HERE / f"{name}_{kind}.jpg"
            file.write_bytes(jpeg(layout, kind, planes, extra=extra))
            try:
                image = Image.open(file)
                images.append(image.convert("L" if alone else "RGB"))
            except OSError:
                refused.append(file.name)
        # The same coefficients in another order are the same pixels.
        images = images or [repeated(layout, planes)]
        assert len({image.tobytes() for image in images}) == 1, name
        images[0].save(HERE / f"{name}.png")
    print("Pillow refuses", *refused)


def kinds(photo):
    planes, layout = photo.convert("YCbCr").split(), LAYOUTS["420"]
    for marker in [*range(0xC3, 0xD0), 0xDE, 0xF7]:
        if marker not in (0xC4, 0xC8, 0xCC):
            file = HERE / f"refused_{marker:02x}.jpg"
            file.write_bytes(jpeg(layout, "i", planes, frame=marker))
    for precision in (12, 16):
        file = HERE / f"refused_{precision}_bits.jpg"
        file.write_bytes(jpeg(layout, "i", planes, frame=0xC1, precision=precision))
    (HERE / "mjpeg.jpg").write_bytes(jpeg(layout, "i", planes, tables=False))
    two = b"".join(segment(0xE1, b"Exif\0\0" + exif(n)) for n in (6, 3))
    (HERE / "two_exif.jpg").write_bytes(jpeg(layout, "i", planes, extra=two))
    for name in ("mjpeg", "two_exif"):
        image = ImageOps.exif_transpose(Image.open(HERE / f"{name}.jpg"))
        image.save(HERE / f"{name}.png")


def damage(photo):
    """Sequential files whose codes are damaged, all of which Pillow decodes."""
    planes = photo.convert("YCbCr").split()
    seed = 1
    for layout, kind in [("420", "i"), ("420", "r"), ("mixed", "n"), ("411", "r")]:
        data = jpeg(LAYOUTS[layout], kind, planes)
        codes = data.index(b"\xff\xda") + 16
        middle = (codes + len(data)) // 2
        files = {
            "cut": data[:middle] + b"\xff\xd9",
            "stray": data[:middle] + b"\xff\xd3" + data[middle:],
            "more": data[:middle] + b"\x12\x34" + data[middle:],
        }
        if kind == "n":
            # A component without any codes is refused.
            del files["cut"]
        restarts = [n for n in range(codes, len(data)) if data[n] == 0xFF]
        restarts = [n for n in restarts if 0xD0 <= data[n + 1] <= 0xD7]
        if len(restarts) > 2:
            at = restarts[1]
            for number in range(8):
                other = bytes([0xFF, 0xD0 + number])
                files[f"restart_{number}"] = data[:at] + other + data[at + 2 :]
            files["no_restart"] = data[:at] + data[at + 2 :]
        for n in range(4):
            flipped = bytearray(data)
            for _ in range(3):
                seed = seed * 1_103_515_245 + 12_345 & 0x7FFFFFFF
                at = codes + seed // 65_536 % (len(data) - codes - 2)
                if 0xFF not in flipped[at - 1 : at + 2]:
                    flipped[at] = (flipped[at] ^ 1 << n) % 255
            files[f"flipped_{n}"] = bytes(flipped)
        for name, file in files.items():
            path = HERE / f"damaged_{layout}{kind}_{name}.jpg"
            path.write_bytes(file)
            try:
                Image.open(path).convert("RGB").save(path.with_suffix(".png"))
            except OSError:
                path.unlink()


def others(photo):
    file = io.BytesIO()
    photo.save(file, "png")
    data = file.getvalue()
    body = b"eXIf" + exif(6)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    end = data.index(b"IEND") - 4
    (HERE / "oriented_after.png").write_bytes(data[:end] + chunk + data[end:])
    photo.save(HERE / "oriented.webp", lossless=True, exif=b"Exif\0\0" + exif(6))
    photo.save(HERE / "big_le.tif", big_tiff=True)
    tiff(HERE / "big_be.tif", photo)
    image = ImageOps.exif_transpose(Image.open(HERE / "oriented_after.png"))
    image.save(HERE / "upright.png")


def tiff(path, photo):
    """A BigTIFF in the byte order that Pillow knows nothing of."""
    data = photo.tobytes()
    short = lambda value: struct.pack(">HHHH", value, 0, 0, 0)
    entries = [
        (256, 3, 1, short(WIDTH)),
        (257, 3, 1, short(HEIGHT)),
        (258, 3, 3, struct.pack(">HHHH", 8, 8, 8, 0)),
        (259, 3, 1, short(1)),
        (262, 3, 1, short(2)),
        (273, 16, 1, struct.pack(">Q", 16)),
        (277, 3, 1, short(3)),
        (278, 3, 1, short(HEIGHT)),
        (279, 16, 1, struct.pack(">Q", len(data))),
    ]
    directory = struct.pack(">Q", len(entries))
    for tag, kind, count, value in entries:
        directory += struct.pack(">HHQ", tag, kind, count) + value
    header = b"MM\0\x2b" + struct.pack(">HHQ", 8, 0, 16 + len(data))
    path.write_bytes(header + data + directory + bytes(8))


photo = picture()
layouts(photo)
kinds(photo)
damage(photo)
others(photo)
