"""What several answers of one model for one image cost, beside one answer.

Labels the sample photos 40 times over: predict alone, classify and embed, and all three, in
turns of processes of their own. Compare the processor's seconds where builds run beside it.

    python3 benches/images/together.py target/debug/atoll [TURNS]
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time

MODEL = "sql/data/efficientnet-lite0.onnx"
PREDICT = f"predict('{MODEL}', content) AS p"
CLASSIFY = f"classify('{MODEL}', content, 5) AS c"
EMBED = f"embed('{MODEL}', content, {{output: 'features'}}) AS e"
WAYS = {
    "predict": PREDICT,
    "classify, embed": f"{CLASSIFY}, {EMBED}",
    "classify, embed, predict": f"{CLASSIFY}, {EMBED}, {PREDICT}",
}


def main():
    atoll = sys.argv[1]
    turns = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    seconds = {way: [] for way in WAYS}
    processor = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(turns + 1):
            for number, (way, columns) in enumerate(WAYS.items()):
                sql = (
                    f"COPY (SELECT {columns} FROM read_blob('sql/data/photos/*.png') "
                    f"CROSS JOIN range(0, 40)) TO '{folder}/{number}.parquet'"
                )
                before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
                begin = time.perf_counter()
                command = [atoll, "--quiet", "--storage", f"{folder}/s", "-c", sql]
                subprocess.run(command, capture_output=True, check=True)
                if turn > 0:
                    seconds[way].append(time.perf_counter() - begin)
                    after = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
                    processor[way].append(after - before)
    for way in WAYS:
        print(
            json.dumps(
                {
                    "asked": way,
                    "turns": turns,
                    "seconds": round(statistics.median(seconds[way]), 2),
                    "processor_seconds": round(statistics.median(processor[way]), 2),
                    "beside_predict": round(
                        statistics.median(processor[way]) / statistics.median(processor["predict"]), 3
                    ),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
