"""Heads behind EfficientNet-Lite0 on 201 photos in nine groups of WordNet's classes.

    python3 benches/peers/transfer/run.py ATOLL PYTHON PHOTOS [--runs 3]

ATOLL is the program, PYTHON an interpreter with what requirements.txt lists, PHOTOS a folder
of photos whose names begin with the WordNet id of their class. Each way computes the features
of all photos and then trains 20 linear heads with other learning rates in five stratified
folds, each judged at the epoch with the best validation accuracy: Atoll in one statement,
Python with Pillow, ONNX Runtime and PyTorch. Runs take turns, each with other folds.
Then, without a clock: accuracy by features, by the backbone's own logits, and that of
scikit-learn's logistic regression on Atoll's features in as many folds; how many images a
backbone sees for 200 trials; and whether ONNX Runtime in Python gives the labels of Atoll
from the one file. Prints a JSON object a line.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[3]
BACKBONE = ROOT / "sql/data/efficientnet-lite0.onnx"

# The first WordNet ids that are no longer in a group.
GROUPS = [
    (1514668, "fish"),
    (1624000, "bird"),
    (1760000, "reptile"),
    (1785000, "invertebrate"),
    (1861000, "bird"),
    (1900000, "mammal"),
    (2000000, "invertebrate"),
    (2060000, "bird"),
    (2160000, "mammal"),
    (2321529, "invertebrate"),
    (2500000, "mammal"),
    (2660000, "fish"),
    (7000000, "artifact"),
    (9000000, "food"),
    (10000000, "place"),
]


def group(name):
    number = int(name[1:9])
    return next((group for end, group in GROUPS if number < end), None)


def arrange(photos, folder):
    """A folder for each group with at least five photos."""
    by_group = {}
    for photo in sorted(photos.iterdir()):
        by_group.setdefault(group(photo.name), []).append(photo)
    for name, members in by_group.items():
        if name is not None and len(members) >= 5:
            (folder / name).mkdir(parents=True)
            for photo in members:
                shutil.copy(photo, folder / name)


RATES = [0.0002 * 1.4**n for n in range(20)]
HEAD = "optimizer: 'adam', weight_decay: 0.01, epochs: 60, batch_size: 64"


def atoll(program, storage, sql):
    command = [program, "--format", "json", "-c", f"SET atoll.storage = '{storage}'; {sql}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)
    # Each statement with rows prints an array.
    decoder, rest, rows = json.JSONDecoder(), done.stdout.strip(), []
    while rest:
        rows, end = decoder.raw_decode(rest)
        rest = rest[end:].strip()
    return rows


def heads(photos, options="", head=HEAD):
    rates = ", ".join(f"({rate})" for rate in RATES)
    return f"""
        SELECT max(t.validation_accuracy) AS accuracy FROM (
            SELECT train('{photos}/', {{backbone: '{BACKBONE}', {head},
                learning_rate: rate}}, {{folds: 5{options}}}) AS t
            FROM (VALUES {rates}) AS rates(rate))"""


PREPARED = '''
import sys
from pathlib import Path
import numpy as np, onnxruntime
from PIL import Image

def prepared(file):
    image = Image.open(file).convert("RGB")
    width, height = image.size
    scale = 256 / min(width, height)
    image = image.resize((round(width * scale), round(height * scale)), Image.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    image = image.crop((left, top, left + 224, top + 224))
    return ((np.asarray(image, dtype=np.float32) - 127) / 128).transpose(2, 0, 1)[None]
'''

PYTORCH = PREPARED + '''
import onnx, torch
from sklearn.model_selection import StratifiedKFold

photos, backbone, tensor, rates, seed = sys.argv[1:]
model = onnx.load(backbone)
model.graph.output.append(onnx.helper.make_tensor_value_info(tensor, 1, None))
session = onnxruntime.InferenceSession(model.SerializeToString())
files = sorted(Path(photos).glob("*/*"))
names = sorted({file.parent.name for file in files})
labels = np.array([names.index(file.parent.name) for file in files])

def features(file):
    return session.run([tensor], {"input": prepared(file)})[0].reshape(-1)

x = torch.tensor(np.stack([features(file) for file in files]))
y = torch.tensor(labels)
best = 0
for rate in map(float, rates.split(",")):
    scores = []
    for train, test in StratifiedKFold(5, shuffle=True, random_state=int(seed)).split(x, labels):
        torch.manual_seed(int(seed))
        mean, std = x[train].mean(0), x[train].std(0).clamp(min=1e-6)
        a, b = (x[train] - mean) / std, (x[test] - mean) / std
        head = torch.nn.Linear(x.shape[1], len(names))
        optimizer = torch.optim.Adam(head.parameters(), lr=rate, weight_decay=0.01)
        top = 0
        for _ in range(60):
            for part in torch.randperm(len(train)).split(64):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(head(a[part]), y[train][part]).backward()
                optimizer.step()
            with torch.no_grad():
                top = max(top, (head(b).argmax(1) == y[test]).float().mean().item())
        scores.append(top)
    best = max(best, float(np.mean(scores)))
print(best)
'''

SKLEARN = '''
import sys
import numpy as np, pyarrow.parquet as parquet
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
table = parquet.read_table(sys.argv[1]).to_pydict()
x, y = np.array(table["features"]), np.array(table["label"])
scores = []
for c in (0.001, 0.01, 0.1, 1, 10):
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=5000))
    folds = [StratifiedKFold(5, shuffle=True, random_state=seed) for seed in range(5)]
    scores.append(np.mean([cross_val_score(model, x, y, cv=fold).mean() for fold in folds]))
print(max(scores))
'''

ONNX = PREPARED + '''
import pyarrow.parquet as parquet
table = parquet.read_table(sys.argv[1]).to_pydict()
session = onnxruntime.InferenceSession(sys.argv[2])
names = session.get_modelmeta().custom_metadata_map["labels"].split("\\n")
equal = 0
for file, label in zip(table["filename"], table["label"]):
    equal += names[int(session.run(None, {"input": prepared(file)})[0].argmax())] == label
print(equal, len(table["label"]))
'''


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("atoll")
    arguments.add_argument("python")
    arguments.add_argument("photos", type=Path)
    arguments.add_argument("--runs", type=int, default=3)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        photos = folder / "photos"
        arrange(given.photos, photos)

        def python(script, *more):
            command = [given.python, "-c", script, *map(str, more)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                sys.exit(done.stderr)
            return done.stdout.split()

        info = atoll(
            given.atoll, folder / "i", f"SELECT model_info('{BACKBONE}').features AS f"
        )
        tensor = info[0]["f"]
        seconds = {"atoll": [], "pytorch": []}
        for run in range(given.runs):
            for way in seconds:
                start = time.monotonic()
                if way == "atoll":
                    sql = heads(photos, f", split_seed: {run}")
                    found = atoll(given.atoll, folder / f"s{run}", sql)
                    accuracy = found[0]["accuracy"]
                else:
                    rates = ",".join(map(str, RATES))
                    accuracy = float(python(PYTORCH, photos, BACKBONE, tensor, rates, run)[0])
                took = time.monotonic() - start
                seconds[way].append(took)
                line = {"way": way, "run": run, "seconds": took, "accuracy": accuracy}
                print(json.dumps(line), flush=True)
        medians = {way: statistics.median(took) for way, took in seconds.items()}
        ratio = medians["atoll"] / medians["pytorch"]
        print(json.dumps({"medians": medians, "atoll/pytorch": ratio}), flush=True)

        store = folder / "s0"
        logits = ", backbone_options: {output: 'logits'}"
        by_features, by_logits, by_sklearn = [], [], []
        for seed in range(5):
            more = f", split_seed: {seed}"
            by_features += [atoll(given.atoll, store, heads(photos, more))[0]["accuracy"]]
            found = atoll(given.atoll, store, heads(photos, more + logits))
            by_logits += [found[0]["accuracy"]]
        embeddings = folder / "f.parquet"
        atoll(
            given.atoll,
            store,
            f"""COPY (SELECT embed('{BACKBONE}', content, {{output: 'features'}}) AS features,
                split_part(filename, '/', -2) AS label
                FROM read_blob('{photos}/')) TO '{embeddings}'""",
        )
        by_sklearn = float(python(SKLEARN, embeddings)[0])
        print(
            json.dumps(
                {
                    "folds": 5,
                    "by_features": statistics.mean(by_features),
                    "by_logits": statistics.mean(by_logits),
                    "sklearn_by_features": by_sklearn,
                }
            ),
            flush=True,
        )
        labels, model = folder / "labels.parquet", folder / "head.onnx"
        atoll(
            given.atoll,
            store,
            f"""CREATE MODEL head AS SELECT train('{photos}/', {{backbone: '{BACKBONE}',
                {HEAD}, learning_rate: 0.002}}).model AS model;
            COPY MODEL head TO '{model}';
            COPY (SELECT filename, classify('head', content, 1)[1].label AS label
                FROM read_blob('{photos}/')) TO '{labels}'""",
        )
        equal, all_labels = python(ONNX, labels, model)
        line = {"labels_equal_in_onnxruntime": int(equal), "of": int(all_labels)}
        print(json.dumps(line), flush=True)
        kept = f"SELECT count(*) AS n FROM '{store}/features/*/*.parquet'"
        rows = atoll(given.atoll, store, kept)
        trials = atoll(given.atoll, store, "SELECT count(*) AS n FROM trials()")
        line = {"features_of_two_tensors": rows[0]["n"], "trials": trials[0]["n"]}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
