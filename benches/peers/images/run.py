"""Labels 1,000 JPEG files, as bytes in Parquet, with Atoll and with what people use today.

    python3 benches/peers/images/run.py ATOLL PHOTOS [--runs 5] [--only atoll,python]

ATOLL is the binary (a release build), PHOTOS a folder of JPEG files, repeated until there
are 1,000. Needs onnxruntime, Pillow, numpy and pyarrow; Daft and Ray Data are measured if
they are installed (pip install daft "ray[data]"). All use EfficientNet-Lite0, ONNX
Runtime with one thread in each of two workers, and write the five best classes to
Parquet; all but Atoll preprocess with Pillow. `prepared` is the limit: ONNX Runtime on
tensors that are ready, in two processes.

Prints a line of JSON a run, then one a way with its median and how many photos get the
same first class as in plain Python. `taskset -c 0 ... --decode` measures decoding and
preprocessing alone, on one core, against `cargo run --release -p atoll-imaging --example speed -- PHOTOS`.
"""

import argparse
import io
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy
import pyarrow
import pyarrow.parquet
from PIL import Image

ROOT = Path(__file__).parents[3]
MODEL = str(ROOT / "sql/data/efficientnet-lite0.onnx")
WORKERS = 2


def preprocess(content, draft=False):
    """torchvision's Resize(256, bicubic), CenterCrop(224), then (x - 127) / 128."""
    image = Image.open(io.BytesIO(content))
    if draft:
        image.draft("RGB", (512, 512))
    image = image.convert("RGB")
    width, height = image.size
    if width <= height:
        size = (256, int(256 * height / width))
    else:
        size = (int(256 * width / height), 256)
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = round((size[0] - 224) / 2), round((size[1] - 224) / 2)
    image = image.crop((left, top, left + 224, top + 224))
    pixels = (numpy.asarray(image, numpy.float32) - 127) / 128
    return numpy.ascontiguousarray(pixels.transpose(2, 0, 1))[None]


class Classifier:
    """What runs in each worker: a session of one thread, one image at a time."""

    def __init__(self):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            MODEL, options, providers=["CPUExecutionProvider"]
        )

    def tensor(self, tensor):
        logits = self.session.run(None, {"input": tensor})[0][0]
        scores = numpy.exp(logits - logits.max())
        scores /= scores.sum()
        best = numpy.argsort(-scores)[:5]
        return [{"index": int(i), "score": float(scores[i])} for i in best]

    def __call__(self, content):
        return self.tensor(preprocess(content))


WORKER = None


def start_worker():
    global WORKER
    WORKER = Classifier()


def classify_one(content):
    return WORKER(content)


def infer_many(count):
    """Inference alone; the tensor is made once."""
    tensor = numpy.random.default_rng(1).normal(size=(1, 3, 224, 224))
    tensor = tensor.astype(numpy.float32)
    start_worker()
    for _ in range(count):
        WORKER.tensor(tensor)


def run_atoll(atoll, source, target):
    sql = (
        f"COPY (SELECT filename, classify('{MODEL}', content, 5) AS labels "
        f"FROM '{source}') TO '{target}'"
    )
    with tempfile.TemporaryDirectory() as storage:
        command = [atoll, "--threads", str(WORKERS), "--storage", storage, "-c", sql]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def run_python(_, source, target):
    table = pyarrow.parquet.read_table(source)
    with multiprocessing.Pool(WORKERS, initializer=start_worker) as pool:
        labels = pool.map(classify_one, table["content"].to_pylist(), chunksize=8)
    out = pyarrow.table({"filename": table["filename"], "labels": labels})
    pyarrow.parquet.write_table(out, target)


def run_daft(_, source, target):
    import daft

    struct = {"index": daft.DataType.int64(), "score": daft.DataType.float64()}
    labels = daft.DataType.list(daft.DataType.struct(struct))

    @daft.udf(return_dtype=labels, concurrency=WORKERS, batch_size=32)
    class Classify:
        def __init__(self):
            self.classifier = Classifier()

        def __call__(self, content):
            return [self.classifier(one) for one in content.to_pylist()]

    frame = daft.read_parquet(source).into_batches(32)
    frame = frame.with_column("labels", Classify(frame["content"]))
    frame.select("filename", "labels").write_parquet(target)


def run_ray(_, source, target):
    import ray

    ray.init(num_cpus=WORKERS + 1, log_to_driver=False, logging_level="error")
    ray.data.DataContext.get_current().enable_progress_bars = False

    class Classify(Classifier):
        def __call__(self, batch):
            labels = [super(Classify, self).__call__(one) for one in batch["content"]]
            return {"filename": batch["filename"], "labels": labels}

    # A file is a block, which only one worker could take.
    rows = ray.data.read_parquet(source).repartition(20)
    rows = rows.map_batches(Classify, batch_size=32, concurrency=WORKERS, num_cpus=1)
    rows.write_parquet(target)
    ray.shutdown()


def run_prepared(_, source, target):
    rows = pyarrow.parquet.ParquetFile(source).metadata.num_rows
    with multiprocessing.Pool(WORKERS) as pool:
        pool.map(infer_many, [rows // WORKERS] * WORKERS, chunksize=1)


WAYS = {
    "atoll": run_atoll,
    "python": run_python,
    "daft": run_daft,
    "ray": run_ray,
    "prepared": run_prepared,
}


def first_classes(target):
    """The best class of each file."""
    if not Path(target).exists():
        return {}
    rows = pyarrow.parquet.read_table(target, columns=["filename", "labels"])
    return {row["filename"]: row["labels"][0]["index"] for row in rows.to_pylist()}


def write_source(photos, count, path):
    files = sorted(file for file in Path(photos).iterdir() if file.is_file())
    contents = [files[n % len(files)].read_bytes() for n in range(count)]
    names = [f"{n:05}/{files[n % len(files)].name}" for n in range(count)]
    table = pyarrow.table({"filename": names, "content": contents})
    pyarrow.parquet.write_table(table, path, row_group_size=100, compression="none")


def measure(way, atoll, source, folder, run):
    """One run in a process of its own, start-up included."""
    target = str(Path(folder) / f"{way}-{run}")
    # A file for those who write one, a folder for the others.
    target += ".parquet" if way in ("atoll", "python") else ""
    start = time.perf_counter()
    command = [sys.executable, __file__, atoll, source, "--one", way, "--target", target]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    if way == "atoll":
        run_atoll(atoll, source, target)
        return time.perf_counter() - start, target
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        return None, done.stderr.strip().splitlines()[-1:]
    return time.perf_counter() - start, target


def compare(options):
    ways = options.only.split(",") if options.only else list(WAYS)
    with tempfile.TemporaryDirectory() as folder:
        source = str(Path(folder) / "photos.parquet")
        write_source(options.photos, options.images, source)
        seconds, answers = {way: [] for way in ways}, {}
        for run in range(options.runs):
            # In turns, so that what else the machine does hits all of them.
            for way in ways:
                took, result = measure(way, options.atoll, source, folder, run)
                if took is None:
                    print(json.dumps({"way": way, "failed": result}), flush=True)
                    continue
                seconds[way].append(took)
                answers[way] = first_classes(result)
                line = {"way": way, "run": run, "seconds": round(took, 3)}
                print(json.dumps(line), flush=True)
        expected = answers.get("python") or {}
        for way in ways:
            if not seconds[way]:
                continue
            median = statistics.median(seconds[way])
            mine = answers[way]
            same = sum(mine.get(name) == best for name, best in expected.items())
            summary = {
                "way": way,
                "median_seconds": round(median, 3),
                "images_per_second": round(options.images / median, 1),
                "same_first_class": f"{same} of {len(expected)}" if mine else None,
            }
            print(json.dumps(summary), flush=True)


def decode(options):
    """Pillow alone, in this process."""
    files = [file.read_bytes() for file in sorted(Path(options.photos).iterdir())]
    for way, draft in [("pillow", False), ("pillow draft", True)]:
        seconds = []
        for _ in range(options.runs):
            start = time.perf_counter()
            for file in files:
                preprocess(file, draft)
            seconds.append(time.perf_counter() - start)
        rate = len(files) / statistics.median(seconds)
        line = {"way": way, "files": len(files), "images_per_second": round(rate, 1)}
        print(json.dumps(line), flush=True)
    decode_daft(files, options.runs)


def decode_daft(files, runs):
    """Daft, which neither crops nor normalises: decoding and a plain resize."""
    try:
        import daft
        from daft.functions import decode_image, resize
    except ImportError:
        return
    frame = daft.from_pydict({"content": files}).collect()
    pixels = resize(decode_image(daft.col("content"), mode="RGB"), 256, 256)
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        frame.select(pixels).collect()
        seconds.append(time.perf_counter() - start)
    rate = len(files) / statistics.median(seconds)
    line = {"way": "daft, no crop", "files": len(files), "images_per_second": round(rate, 1)}
    print(json.dumps(line), flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("atoll")
    parser.add_argument("photos")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--images", type=int, default=1_000)
    parser.add_argument("--only", help="some of " + ",".join(WAYS))
    parser.add_argument("--decode", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--target", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        WAYS[options.one](options.atoll, options.photos, options.target)
    elif options.decode:
        decode(options)
    else:
        compare(options)


if __name__ == "__main__":
    main()
