"""Tables as they are: Atoll beside scikit-learn's MLP, on data that scikit-learn ships.

    python3 benches/peers/columns/run.py ATOLL [--runs 3] [--trials 16] [--rows 1000000]

Run it with an interpreter that has what requirements.txt lists; ATOLL is the program. For each
table (breast cancer, wine, diabetes, and sql/data/passengers.csv with text, dates and gaps) and
each run a quarter of the rows is held out. Both ways search the same number of networks of one
hidden layer (units, learning rate, weight decay), 60 epochs each, choose by a tenth that
validates, and are judged on the quarter. Atoll gets the file; scikit-learn gets a pipeline with
medians and missing flags, scaling and one-hot texts. Runs take turns.

Then, without a clock: whether evaluate says what scikit-learn's metrics say of the same answers,
whether ONNX Runtime in Python gives those answers from named inputs, whether the order of the
columns changes the model, and whether explain gives scikit-learn's permutation importance with
the same permutations.

Before that, seconds an epoch and peak memory on --rows rows of 30 mixed columns: Atoll, and PyTorch with
its DataLoader over a Dataset of rows, as its tutorials write it. Prints a JSON object a line.
"""

import argparse
import hashlib
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
from sklearn import datasets
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.metrics import accuracy_score, f1_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

ROOT = Path(__file__).parents[3]
PASSENGERS = ROOT / "sql/data/passengers.csv"


def tables():
    for name, load in [
        ("breast_cancer", datasets.load_breast_cancer),
        ("wine", datasets.load_wine),
        ("diabetes", datasets.load_diabetes),
    ]:
        frame = load(as_frame=True).frame
        if name != "diabetes":
            frame["target"] = frame["target"].map(lambda n: f"class {n}")
        yield name, frame, "target", name == "diabetes"
    yield "passengers", pd.read_csv(PASSENGERS), "rescued", False


def atoll(program, storage, sql):
    command = [program, "--format", "json", "-c", f"SET atoll.storage = '{storage}'; {sql}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)
    decoder, rest, rows = json.JSONDecoder(), done.stdout.strip(), []
    while rest:
        rows, end = decoder.raw_decode(rest)
        rest = rest[end:].strip()
    return rows


def ours(program, folder, label, is_number, trials, seed):
    order = "t.validation_loss" if is_number else "t.validation_accuracy DESC, t.validation_loss"
    score = "r2" if is_number else "accuracy"
    rows = atoll(
        program,
        f"{folder}/storage",
        f"""
        CREATE OR REPLACE MODEL best AS SELECT t.model FROM tune('{folder}/train.csv', {{
            hidden: hp_logint(16, 128), learning_rate: hp_loguniform(0.001, 0.03),
            weight_decay: hp_loguniform(0.000001, 0.01), optimizer: 'adam', epochs: 60,
            batch_size: 32
        }}, {{label: '{label}', sampler: 'random', pruner: 'none', trials: {trials},
              seed: {seed}, split_seed: {seed}}}) ORDER BY {order}, trial LIMIT 1;
        SELECT evaluate('best', '{folder}/test.csv', {{label: '{label}'}}).{score} AS score;
        """,
    )
    return rows[0]["score"]


def is_text(column):
    return not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column))


def with_days(frame):
    days = {c: pd.to_datetime(frame[c]) for c in frame.columns.intersection(["booked"])}
    epoch = pd.Timestamp("1970-01-01")
    return frame.assign(**{c: (days[c] - epoch).dt.days.astype(float) for c in days})


def theirs(train, test, label, is_number, trials, seed):
    draw = np.random.default_rng(seed)
    train, test = with_days(train), with_days(test)
    texts = [c for c in train.columns if c != label and is_text(train[c])]
    few = [c for c in texts if train[c].nunique() <= 32]
    numbers = [c for c in train.columns if c != label and c not in texts]
    kind = MLPRegressor if is_number else MLPClassifier
    rest, held = train_test_split(
        train, test_size=0.1, random_state=seed, stratify=None if is_number else train[label]
    )
    mean, scale = (rest[label].mean(), rest[label].std()) if is_number else (0, 1)
    score = r2_score if is_number else accuracy_score
    back = (lambda y: y * scale + mean) if is_number else (lambda y: y)
    target = (rest[label] - mean) / scale if is_number else rest[label]
    best = None
    for _ in range(trials):
        fill = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
        one_hot = make_pipeline(
            SimpleImputer(strategy="constant", fill_value=""), OneHotEncoder(handle_unknown="ignore")
        )
        columns = ColumnTransformer([("numbers", fill, numbers), ("texts", one_hot, few)])
        network = kind(
            hidden_layer_sizes=(int(np.exp(draw.uniform(np.log(16), np.log(128)))),),
            learning_rate_init=np.exp(draw.uniform(np.log(0.001), np.log(0.03))),
            alpha=np.exp(draw.uniform(np.log(1e-6), np.log(0.01))),
            batch_size=32, max_iter=60, random_state=int(draw.integers(1 << 31)),
        )
        pipeline = make_pipeline(columns, network).fit(rest, target)
        found = score(held[label], back(pipeline.predict(held)))
        if best is None or found > best[0]:
            best = (found, pipeline)
    return score(test[label], back(best[1].predict(test)))


def compare(program, runs, trials):
    for name, frame, label, is_number in tables():
        scores, seconds = {"atoll": [], "scikit-learn": []}, {"atoll": [], "scikit-learn": []}
        for seed in range(runs):
            train, test = train_test_split(
                frame, test_size=0.25, random_state=seed,
                stratify=None if is_number else frame[label],
            )
            arguments = (label, is_number, trials, seed)
            with tempfile.TemporaryDirectory() as folder:
                train.to_csv(f"{folder}/train.csv", index=False)
                test.to_csv(f"{folder}/test.csv", index=False)
                start = time.monotonic()
                scores["atoll"].append(ours(program, folder, *arguments))
                seconds["atoll"].append(time.monotonic() - start)
            start = time.monotonic()
            scores["scikit-learn"].append(theirs(train, test, *arguments))
            seconds["scikit-learn"].append(time.monotonic() - start)
        pairs = zip(seconds["atoll"], seconds["scikit-learn"], strict=True)
        yield {
            "table": name, "rows": len(frame), "score": "r2" if is_number else "accuracy",
            "runs": runs, "trials": trials,
            **{f"{way} score": round(statistics.mean(scores[way]), 4) for way in scores},
            **{f"{way} seconds": round(statistics.median(seconds[way]), 2) for way in seconds},
            "ratio of seconds": round(statistics.median(a / b for a, b in pairs), 3),
        }


def inputs_of(session, frame):
    inputs, frame = {}, with_days(frame)
    for port in session.get_inputs():
        column = frame[port.name]
        if port.type == "tensor(string)":
            values = column.fillna("").to_numpy(dtype=object)
        else:
            kind = np.float64 if port.type == "tensor(double)" else np.float32
            values = column.to_numpy(dtype=kind)
        inputs[port.name] = values.reshape(-1, 1)
    return inputs


def permutation(rows, seed, purpose):
    """What atoll_nn::permutation does: PCG XSL RR 128/64, and Fisher and Yates."""
    mask, word_mask = (1 << 128) - 1, (1 << 64) - 1
    digest = hashlib.sha256(b"atoll-nn\0" + seed.to_bytes(8, "little") + purpose.encode()).digest()
    increment = int.from_bytes(digest[16:], "little") | 1
    multiplier = 0x2360ED051FC65DA44385DF649FCCF645
    state = (int.from_bytes(digest[:16], "little") + increment) & mask
    state = (state * multiplier + increment) & mask
    order = list(range(rows))
    for last in range(rows - 1, 0, -1):
        state = (state * multiplier + increment) & mask
        turn, word = state >> 122, ((state >> 64) ^ state) & word_mask
        word = ((word >> turn) | (word << (64 - turn))) & word_mask
        other = (word * (last + 1)) >> 64
        order[last], order[other] = order[other], order[last]
    return order


def agree(program):
    frame = pd.read_csv(PASSENGERS)
    truth = frame["rescued"].to_numpy()
    with tempfile.TemporaryDirectory() as folder:
        label, trial = "{label: 'rescued'}", "{hidden: 32, epochs: 20, learning_rate: 0.03}"
        frame[list(frame.columns[::-1])].to_csv(f"{folder}/turned.csv", index=False)
        rows = atoll(program, f"{folder}/storage", f"""
            CREATE MODEL m AS SELECT train('{PASSENGERS}', {trial}, {label}).model;
            COPY MODEL m TO '{folder}/m.onnx';
            SELECT train('{PASSENGERS}', {trial}, {label}).trial_id AS a,
                train('{folder}/turned.csv', {trial}, {label}).trial_id AS b,
                evaluate('m', '{PASSENGERS}', {label}) AS e,
                explain('m', '{PASSENGERS}', {{label: 'rescued', repeats: 5, seed: 7}}) AS x;
        """)[0]
        answers = atoll(program, f"{folder}/storage", f"""
            SELECT predict('m', {{age: age, booked: booked, cabin: cabin, crew: crew, fare: fare,
                port: port}}).logits AS logits FROM '{PASSENGERS}' ORDER BY passenger_id;
        """)
        session = onnxruntime.InferenceSession(f"{folder}/m.onnx")
        names = np.array(session.get_modelmeta().custom_metadata_map["labels"].split("\n"))
        logits = session.run(["logits"], inputs_of(session, frame))[0]
        said = np.array([row["logits"] for row in answers], dtype=np.float32)
        found = names[said.argmax(1)]
        largest = 0.0
        for reason in rows["x"]:
            column, falls = reason["column"], []
            for repeat in range(5):
                order = permutation(len(frame), 7, f"explain {column} {repeat}")
                moved = frame.assign(**{column: frame[column].to_numpy()[order]})
                other = session.run(["logits"], inputs_of(session, moved))[0]
                falls.append(accuracy_score(truth, found)
                             - accuracy_score(truth, names[other.argmax(1)]))
            largest = max(largest, abs(np.mean(falls) - reason["importance"]))
    macro = f1_score(truth, found, average="macro")
    return {
        "accuracy and f1 differ from scikit-learn's by": float(max(
            abs(rows["e"]["accuracy"] - accuracy_score(truth, found)),
            abs(rows["e"]["macro"]["f1"] - macro))),
        "logits differ from ONNX Runtime's in Python by": float(abs(logits - said).max()),
        "another order of columns gives the same trial": rows["a"] == rows["b"],
        "importances differ by": float(largest),
    }


def large_frame(rows):
    draw = np.random.default_rng(1)
    columns = {}
    for n in range(20):
        values = draw.normal(size=rows).astype(np.float32)
        if n % 4 == 0:
            values[draw.random(rows) < 0.1] = np.nan
        columns[f"x{n:02}"] = values
    for n in range(8):
        texts = np.array([f"v{i:03}" for i in range(10 * (n + 1))])
        columns[f"t{n}"] = texts[draw.integers(len(texts), size=rows)]
    days = pd.to_timedelta(draw.integers(700, size=rows), "D")
    columns["day"] = (pd.Timestamp("2024-01-01") + days).date
    columns["flag"] = draw.random(rows) < 0.3
    odds = columns["x01"] + columns["x02"] * columns["flag"] + (columns["t0"] == "v003") * 2 - 0.5
    columns["label"] = np.where(odds + draw.normal(size=rows) > 0, "yes", "no")
    return pd.DataFrame(columns)


TORCH = '''
import resource, sys, time
import numpy as np, pandas as pd, torch
torch.set_num_threads(2)
frame = pd.read_parquet(sys.argv[1])
x = frame[[c for c in frame if c.startswith("x")]]
flags = x.isna().to_numpy(np.float32)[:, ::4]
x = x.fillna(x.median())
x = ((x - x.mean()) / x.std()).to_numpy(np.float32)
day = pd.to_datetime(frame["day"])
day = ((day - day.min()).dt.days / 350 - 1).to_numpy(np.float32)
x = np.column_stack([x, flags, day, frame["flag"].to_numpy(np.float32)])
texts = [c for c in frame if c.startswith("t")]
codes = np.column_stack([frame[c].astype("category").cat.codes for c in texts]).astype(np.int64)
labels = (frame["label"] == "yes").to_numpy(np.int64)
class Rows(torch.utils.data.Dataset):
    def __len__(self): return len(labels)
    def __getitem__(self, n): return x[n], codes[n], labels[n]
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.tables = torch.nn.ModuleList(torch.nn.Embedding(10 * (n + 1), 8) for n in range(8))
        self.body = torch.nn.Sequential(torch.nn.Linear(x.shape[1] + 64, 128), torch.nn.ReLU(),
                                        torch.nn.Linear(128, 2))
    def forward(self, x, codes):
        vectors = [table(codes[:, n]) for n, table in enumerate(self.tables)]
        return self.body(torch.cat([x, *vectors], 1))
net, cost = Net(), torch.nn.CrossEntropyLoss()
step = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
start = time.monotonic()
for a, b, c in torch.utils.data.DataLoader(Rows(), 256, shuffle=True):
    step.zero_grad(); cost(net(a, b), c).backward(); step.step()
print(time.monotonic() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
'''


def large(program, rows):
    with tempfile.TemporaryDirectory() as folder:
        large_frame(rows).to_parquet(f"{folder}/large.parquet")
        Path(f"{folder}/peer.py").write_text(TORCH)
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        start = time.monotonic()
        row = atoll(program, f"{folder}/storage", f"""
            SELECT t.history[1].seconds AS epoch FROM (SELECT train('{folder}/large.parquet',
            {{embedding: 8, batch_size: 256, epochs: 1}}, {{threads_per_trial: 2}}) AS t) AS trials;""")[0]
        whole = time.monotonic() - start
        memory = max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024
        peer = subprocess.run([sys.executable, f"{folder}/peer.py", f"{folder}/large.parquet"],
                              capture_output=True, text=True, check=True)
        seconds, peak = map(float, peer.stdout.split())
    return {
        "rows": rows, "columns": 30, "atoll epoch seconds": round(row["epoch"], 2),
        "atoll seconds with reading": round(whole, 1), "atoll peak MiB": round(memory),
        "pytorch epoch seconds": round(seconds, 2), "pytorch peak MiB": round(peak),
        "times as fast": round(seconds / row["epoch"], 2),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("atoll", type=lambda name: shutil.which(name) or name)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    if options.rows:
        print(json.dumps(large(options.atoll, options.rows)), flush=True)
    print(json.dumps(agree(options.atoll)), flush=True)
    for line in compare(options.atoll, options.runs, options.trials):
        print(json.dumps(line), flush=True)


main()
