"""Trains one row in many ways and counts the networks that come out: it must be one.

    python3 benches/same_bits/run.py ATOLL

Alone, as one of eight rows, on one thread and on two, with two threads a trial, and after
its process was killed (SIGKILL) and started again from its checkpoint. Each way has a
storage of its own, so that nothing is looked up. Prints a line a way and the count.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

HYPERPARAMETERS = "architecture: 'lenet', filters: [8, 16], hidden: 32, learning_rate: 0.05, epochs: 12, seed: seed"


def command(atoll, storage, rows=1, options="", threads=None):
    sql = (
        f"SELECT t.status AS status, t.model_sha256 AS model_sha256 FROM (SELECT seed, train('sql/data/digits.parquet', "
        f"{{{HYPERPARAMETERS}}}{options}) AS t FROM generate_series(1, {rows}) AS s(seed)) ORDER BY seed"
    )
    threads = ["--threads", str(threads)] if threads else []
    return [atoll, "--storage", storage, "--format", "ndjson", "-q", *threads, "-c", sql]


def train(atoll, storage, **how):
    run = subprocess.run(command(atoll, storage, **how), check=True, capture_output=True, text=True)
    first = json.loads(run.stdout.splitlines()[0])
    assert first["status"] == "SUCCEEDED", first
    return first["model_sha256"]


def killed(atoll, storage):
    """Kills the training once it has a checkpoint, and starts it again."""
    options = ", {checkpoint: true}"
    child = subprocess.Popen(command(atoll, storage, options=options), stdout=subprocess.DEVNULL)
    checkpoints = os.path.join(storage, "checkpoints")
    while not (os.path.isdir(checkpoints) and any(n.endswith(".latest") for n in os.listdir(checkpoints))):
        assert child.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    child.kill()
    child.wait()
    trials = os.path.join(storage, "trials")
    assert not os.path.isdir(trials) or not os.listdir(trials), "the trial had finished"
    return train(atoll, storage, options=options)


def main():
    atoll = os.path.abspath(sys.argv[1])
    ways = {
        "alone, 1 thread": lambda s: train(atoll, s, threads=1),
        "alone, 2 threads": lambda s: train(atoll, s, threads=2),
        "first of 8, 1 thread": lambda s: train(atoll, s, rows=8, threads=1),
        "first of 8, 2 threads": lambda s: train(atoll, s, rows=8, threads=2),
        "2 threads a trial": lambda s: train(atoll, s, options=", {threads_per_trial: 2}"),
        "killed and resumed": lambda s: killed(atoll, s),
    }
    found = set()
    for name, way in ways.items():
        with tempfile.TemporaryDirectory() as storage:
            sha256 = way(storage)
        found.add(sha256)
        print(f"{name:22} {sha256}", flush=True)
    print(f"count(DISTINCT model_sha256) = {len(found)}")
    sys.exit(len(found) != 1)


if __name__ == "__main__":
    main()
