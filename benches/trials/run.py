"""What a trial costs beyond its arithmetic, and what a second core gives.

    python3 benches/trials/run.py ATOLL MNIST [--runs 3]

ATOLL is the binary (a release build), MNIST the folder of MNIST's own four files.

`tiny`: 1,000 networks of 16 hidden units see the digits once, on one core; the overhead is
the wall time less the seconds that the trials report, start-up included. `cores`: one
trial of the article's network on one core against two trials on two. Every run has a
storage of its own, so that nothing is looked up; runs take turns and medians count.
Prints a line of JSON each.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time

TINY = """
SELECT count(*) AS trials, sum(t.seconds) AS seconds, count(DISTINCT t.model_sha256) AS models
FROM (SELECT train('sql/data/digits.parquet', {
    architecture: 'dense(16), relu, dense(10)', epochs: 1, seed: seed
}) AS t FROM generate_series(1, 1000) AS s(seed))
WHERE t.status = 'SUCCEEDED'
"""
MNIST = """
CREATE VIEW mnist AS SELECT image, label FROM read_idx(
    '{folder}/train-images-idx3-ubyte.gz', '{folder}/train-labels-idx1-ubyte.gz');
SELECT count(*) AS trials, sum(t.seconds) AS seconds
FROM (SELECT train('mnist', {{epochs: 2, seed: seed}}) AS t
    FROM generate_series(1, {trials}) AS s(seed))
WHERE t.status = 'SUCCEEDED'
"""


def run(atoll, threads, sql):
    """The wall time and what the statement counted."""
    with tempfile.TemporaryDirectory() as storage:
        command = [atoll, "--storage", storage, "--threads", str(threads)]
        command += ["--format", "ndjson", "-q", "-c", sql]
        start = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return time.perf_counter() - start, json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("atoll")
    parser.add_argument("mnist")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()

    overheads = []
    for _ in range(options.runs):
        wall, seen = run(options.atoll, 1, TINY)
        assert seen["trials"] == seen["models"] == 1000, seen
        overheads.append((wall - seen["seconds"]) / 1000)
        line = {"tiny_wall_seconds": round(wall, 3), "of_it_in_trials": round(seen["seconds"], 3)}
        print(json.dumps(line), flush=True)
    milliseconds = round(statistics.median(overheads) * 1000, 2)
    print(json.dumps({"overhead_ms_a_trial": milliseconds}), flush=True)

    seconds = {1: [], 2: []}
    for _ in range(options.runs):
        for trials in seconds:
            sql = MNIST.format(folder=options.mnist, trials=trials)
            wall, seen = run(options.atoll, trials, sql)
            assert seen["trials"] == trials, seen
            seconds[trials].append(wall)
            print(json.dumps({"trials_and_cores": trials, "seconds": round(wall, 2)}), flush=True)
    one, two = statistics.median(seconds[1]), statistics.median(seconds[2])
    print(json.dumps({"two_cores_do": f"{2 * one / two:.2f} times the work"}), flush=True)


if __name__ == "__main__":
    main()
