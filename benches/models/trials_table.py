"""How long it takes to read the trials of a storage as a table.

Trains one network, writes its record as many times as asked, each under another trial_id,
and reads `trials()` in processes of their own, five times after one that is not counted.

    python3 benches/models/trials_table.py target/debug/atoll 10000
"""

import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time

QUERIES = {
    "count": "SELECT count(*) FROM trials()",
    "best": "SELECT trial_id, validation_accuracy, model FROM trials() "
    "WHERE status = 'SUCCEEDED' ORDER BY validation_accuracy DESC, trial_id LIMIT 5",
    "everything": "SELECT count(history), count(hyperparameters) FROM trials()",
    "nothing": "SELECT 1",
}


def main():
    atoll, count = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory() as storage:
        def run(sql):
            begin = time.perf_counter()
            command = [atoll, "--storage", storage, "--format", "csv", "-c", sql]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            return time.perf_counter() - begin, done.stdout

        run("SELECT train('sql/data/digits.parquet', {architecture: 'mlp', epochs: 20})")
        folder = pathlib.Path(storage, "trials")
        (only,) = folder.iterdir()
        record = json.loads(only.read_text())
        for n in range(1, count):
            record["trial_id"] = hashlib.sha256(str(n).encode()).hexdigest()
            folder.joinpath(record["trial_id"] + ".json").write_text(
                json.dumps(record, indent=2)
            )
        for name, sql in QUERIES.items():
            run(sql)
            seconds = sorted(run(sql)[0] for _ in range(5))
            result = {
                "trials": count,
                "bytes_of_a_record": only.stat().st_size,
                "query": name,
                "seconds_of_the_process": [round(one, 3) for one in seconds],
                "median": round(seconds[2], 3),
            }
            print(json.dumps(result), flush=True)


main()
