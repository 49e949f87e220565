"""Gives the rows of a study on 1, 2, 5 and 13 slots, and while executors are killed.

    python3 benches/search/kills.py ATOLL [--kills 20] [--seed 1]

Runs one study (TPE and Hyperband over 40 small networks) on one machine with 1, 2, 5 and 13
threads and on clusters of executors with 1, 2, 5 and 13 slots, each time with an empty
storage. Then again and again on a cluster of two executors, of which one is killed (SIGKILL,
of an executor or of its worker, drawn) after a number of trainings that is drawn, until
there were so many kills. Prints a JSON object a run, with the SHA-256 of its rows; exit code
1 unless all are equal.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
STUDY = """SELECT trial, learning_rate, hidden, optimizer, momentum, rung, t.status, t.epochs,
t.validation_loss, t.model_sha256 FROM tune('sql/data/digits.parquet', {
    architecture: 'mlp', learning_rate: hp_loguniform(1e-4, 0.5), hidden: hp_logint(4, 32),
    optimizer: hp_choice([{optimizer: 'sgd', momentum: hp_uniform(0.5, 0.99)},
        {optimizer: 'adam'}]),
    epochs: 9
}, {trials: 40, pruner: 'hyperband', parallel: 4, seed: 3})"""


def start(arguments, storage):
    command = [arguments.atoll, "--format", "csv", "--storage", storage]
    return lambda more: subprocess.Popen(
        [*command, *more, "-c", STUDY],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows(process):
    output, errors = process.communicate(timeout=600)
    if process.returncode != 0:
        raise RuntimeError(errors)
    return hashlib.sha256(output.encode()).hexdigest()


class Cluster:
    """A scheduler and executors, which end with their input."""

    def __init__(self, atoll, executors, slots):
        command = [atoll, "cluster", "--port", "0", "--executors", str(executors)]
        command += ["--slots", str(slots), "--stop-with-input"]
        self.process = subprocess.Popen(
            command, cwd="/", stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        said = ""
        while said.count(" executor: ") < executors or "df://" not in said:
            line = self.process.stderr.readline()
            if not line:
                raise RuntimeError(said)
            said += line
        self.address = "df://" + said.split("df://")[1].split()[0].rstrip(",")
        # What it says later would fill the pipe.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def processes(self):
        """The executors of this cluster: those that watch, and those that work."""
        found = ([], [])
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes().decode().split("\0")
            except (OSError, UnicodeDecodeError):
                continue
            if "executor" in words and self.address in words:
                found["--worker" in words].append(int(entry.name))
        return found

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)


def trainings(storage):
    folder = Path(storage) / "trials"
    return len(list(folder.glob("*.json"))) if folder.exists() else 0


def killed(arguments, draw, left):
    """The rows of a run in which up to `left` processes die, and how many did."""
    with tempfile.TemporaryDirectory() as storage:
        cluster = Cluster(arguments.atoll, 2, 1)
        process = start(arguments, storage)(["--cluster", cluster.address])
        victims = []
        due = sorted(draw.sample(range(1, 55), min(left, 4)))
        while process.poll() is None and len(victims) < len(due):
            if trainings(storage) < due[len(victims)]:
                time.sleep(0.01)
                continue
            watching, working = cluster.processes()
            # A machine that is lost with its supervisor does not come back, so one is left.
            kinds = ["worker"] * 3 + ["executor"] * (len(watching) > 1)
            kind = draw.choice(kinds)
            candidates = working if kind == "worker" else watching
            if not candidates:
                time.sleep(0.05)
                continue
            os.kill(draw.choice(sorted(candidates)), signal.SIGKILL)
            victims.append([kind, trainings(storage)])
        digest = rows(process)
        cluster.close()
        return digest, victims


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("atoll")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    arguments.atoll = os.path.abspath(arguments.atoll)
    digests = set()

    def say(digest, **what):
        digests.add(digest)
        print(json.dumps({**what, "rows_sha256": digest}), flush=True)

    for threads in (1, 2, 5, 13):
        with tempfile.TemporaryDirectory() as storage:
            digest = rows(start(arguments, storage)(["--threads", str(threads)]))
        say(digest, engine="embedded", slots=threads)
    for executors, slots in ((1, 1), (2, 1), (5, 1), (1, 13)):
        with tempfile.TemporaryDirectory() as storage:
            cluster = Cluster(arguments.atoll, executors, slots)
            digest = rows(start(arguments, storage)(["--cluster", cluster.address]))
            cluster.close()
        say(digest, engine="cluster", executors=executors, slots=executors * slots)
    draw, done = random.Random(arguments.seed), 0
    while done < arguments.kills:
        digest, victims = killed(arguments, draw, arguments.kills - done)
        done += len(victims)
        say(digest, engine="cluster", slots=2, killed_after_trainings=victims)
    print(f"{done} kills, {len(digests)} different sets of rows", file=sys.stderr)
    sys.exit(len(digests) != 1)


if __name__ == "__main__":
    main()
