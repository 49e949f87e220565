"""Seconds from the start of a process until a search has a network of 1.5 % validation error.

    python3 benches/peers/search/good_network.py ATOLL PYTHON [--task digits] [--runs 5]

ATOLL is the program, PYTHON an interpreter with what requirements.txt lists. Atoll searches
with TPE and Hyperband, Optuna with TPE and its median pruner over PyTorch (two threads, each
with one of PyTorch's), both over the same six hyperparameters of the same network on the
same rows, with other seeds in each run. Runs take turns. A search has a network when the
trial that it belongs to has ended. Prints a JSON object a run, then the medians.

`--task mnist` needs MNIST's four files in `--data`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[3]
GOOD = 0.015
# A name, the filters of both convolutions, and the epochs of a whole trial.
TASKS = {"digits": ([16, 32], 15), "mnist": ([32, 64], 9)}
LIMIT = 900


def statement(task, data, seed):
    filters, epochs = TASKS[task]
    source = {
        "digits": "CREATE OR REPLACE VIEW images AS SELECT image, label, split "
        "FROM 'sql/data/digits.parquet'",
        "mnist": "CREATE OR REPLACE VIEW images AS SELECT image, label FROM read_idx("
        f"'{data}/train-images-idx3-ubyte.gz', '{data}/train-labels-idx1-ubyte.gz')",
    }[task]
    return f"""{source};
        SELECT trial, t.status AS status, t.validation_accuracy AS accuracy
        FROM tune('images', {{architecture: 'lenet', filters: {filters},
            hidden: hp_logint(32, 512), learning_rate: hp_loguniform(1e-3, 0.3),
            momentum: hp_uniform(0.5, 0.99), batch_size: hp_choice([32, 64, 128]),
            dropout: hp_uniform(0, 0.6), weight_decay: hp_loguniform(1e-6, 1e-2),
            epochs: {epochs}
        }}, {{trials: 1000, sampler: 'tpe', pruner: 'hyperband', parallel: 4, seed: {seed}}})"""


def until_good(command, **options):
    """Seconds until the command prints the accuracy of a good network, a JSON object a line."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **options
    )
    trials = 0
    try:
        for line in process.stdout:
            row = json.loads(line) if line.startswith("{") else {}
            if "accuracy" not in row:
                continue
            trials += 1
            seconds = time.perf_counter() - start
            if row["accuracy"] is not None and 1 - row["accuracy"] <= GOOD:
                error = round(1 - row["accuracy"], 6)
                return {"seconds": round(seconds, 2), "trials": trials, "error": error}
            if seconds > LIMIT:
                break
    finally:
        process.kill()
        process.wait()
    return {"seconds": None, "trials": trials}


def peer(task, data, seed):
    """Runs in the interpreter with PyTorch: prints each trial as it ends."""
    import gzip
    import io

    import numpy
    import optuna
    import torch
    from torch import nn

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)
    filters, epochs = TASKS[task]
    if task == "digits":
        import pyarrow.parquet
        from PIL import Image

        rows = pyarrow.parquet.read_table(ROOT / "sql/data/digits.parquet").to_pylist()
        rows = [row for row in rows if row["split"] != "test"]
        images = [numpy.array(Image.open(io.BytesIO(row["image"]))) for row in rows]
        images, labels = numpy.stack(images), numpy.array([int(row["label"]) for row in rows])
    else:
        read = lambda name, skip: numpy.frombuffer(
            gzip.open(f"{data}/train-{name}-ubyte.gz").read(), numpy.uint8, offset=skip
        )
        images, labels = read("images-idx3", 16).reshape(-1, 28, 28), read("labels-idx1", 8)
    order = numpy.random.default_rng(0).permutation(len(labels))
    x = torch.tensor(images[order], dtype=torch.float32)[:, None]
    x = (x - x.mean()) / x.std()
    y = torch.tensor(labels[order], dtype=torch.long)
    held = len(y) // 10
    side = x.shape[2] // 4

    def objective(trial):
        torch.manual_seed(seed * 1000 + trial.number)
        hidden = trial.suggest_int("hidden", 32, 512, log=True)
        rate = trial.suggest_float("learning_rate", 1e-3, 0.3, log=True)
        momentum = trial.suggest_float("momentum", 0.5, 0.99)
        size = trial.suggest_categorical("batch_size", [32, 64, 128])
        dropout = trial.suggest_float("dropout", 0.0, 0.6)
        decay = trial.suggest_float("weight_decay", 1e-6, 1e-2, log=True)
        network = nn.Sequential(
            nn.Conv2d(1, filters[0], 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(filters[0], filters[1], 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(filters[1] * side * side, hidden), nn.ReLU(),
            nn.Dropout(dropout), nn.Linear(hidden, 10),
        )  # fmt: skip
        steps = torch.optim.SGD(network.parameters(), rate, momentum, weight_decay=decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(steps, epochs)
        best = 1.0
        for epoch in range(epochs):
            network.train()
            shuffled = held + torch.randperm(len(y) - held)
            for batch in shuffled.split(size):
                steps.zero_grad()
                nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
                steps.step()
            schedule.step()
            network.eval()
            with torch.no_grad():
                wrong = network(x[:held]).argmax(1) != y[:held]
            best = min(best, wrong.float().mean().item())
            trial.report(best, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned()
        return best

    def say(_, trial):
        # A pruned trial has no network that anyone would keep.
        complete = trial.state == optuna.trial.TrialState.COMPLETE
        print(json.dumps({"accuracy": 1 - trial.value if complete else None}), flush=True)

    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=seed), pruner=optuna.pruners.MedianPruner()
    )
    study.optimize(objective, n_trials=1000, n_jobs=2, callbacks=[say])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("atoll")
    parser.add_argument("python")
    parser.add_argument("--task", choices=TASKS, default="digits")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--peer", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer is not None:
        return peer(arguments.task, arguments.data, arguments.peer)
    found = {"atoll": [], "optuna": []}
    for seed in range(1, arguments.runs + 1):
        with tempfile.TemporaryDirectory() as storage:
            sql = statement(arguments.task, arguments.data, seed)
            command = [os.path.abspath(arguments.atoll), "--storage", storage]
            command += ["--format", "ndjson", "-c", sql]
            found["atoll"].append(until_good(command))
        command = [arguments.python, __file__, "-", "-", "--task", arguments.task]
        command += ["--data", arguments.data, "--peer", str(seed)]
        found["optuna"].append(until_good(command))
        for name, runs in found.items():
            run = {"task": arguments.task, "who": name, "seed": seed, **runs[-1]}
            print(json.dumps(run), flush=True)
    for name, runs in found.items():
        seconds = [run["seconds"] if run["seconds"] is not None else LIMIT for run in runs]
        print(name, "median", statistics.median(seconds), "s", file=sys.stderr)


if __name__ == "__main__":
    main()
