"""Whether nearest finds what numpy finds, and how long it takes.

Writes vectors of random numbers, every twentieth one nearly the same as an earlier one, asks
for the nearest 10 of each, and compares them with numpy's in 64 bits: those of all rows, or of
so many, chosen evenly.

    pip install numpy pyarrow
    python3 benches/images/nearest.py target/debug/atoll 20000 1280 [ROWS_TO_COMPARE]
"""

import json
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

K = 10


def expected(x, squares, rows, metric):
    products = x[rows] @ x.T
    if metric == "cosine":
        found = 1 - products / np.sqrt(squares[rows, None] * squares[None])
    else:
        found = np.sqrt(np.maximum(squares[rows, None] + squares[None] - 2 * products, 0))
    found[np.arange(len(rows)), rows] = np.inf
    nearest = np.argpartition(found, K, 1)[:, :K]
    distances = np.take_along_axis(found, nearest, 1)
    order = np.argsort(distances, 1, kind="stable")
    return np.take_along_axis(nearest, order, 1), np.take_along_axis(distances, order, 1)


def main():
    atoll, count, width = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    compared = int(sys.argv[4]) if len(sys.argv) > 4 else count
    random = np.random.default_rng(1)
    x = random.standard_normal((count, width), dtype=np.float32)
    copies = count // 20
    noise = random.standard_normal((copies, width), dtype=np.float32)
    x[count // 2 : count // 2 + copies] = x[:copies] + np.float32(0.01) * noise
    with tempfile.TemporaryDirectory() as folder:
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), width)
        table = pa.table({"id": np.arange(count), "vector": vectors})
        pq.write_table(table, f"{folder}/vectors.parquet", row_group_size=10_000)
        del table, vectors
        for metric in ("cosine", "l2"):
            sql = (
                f"COPY (SELECT * FROM nearest('{folder}/vectors.parquet', "
                f"{{k: {K}, metric: '{metric}'}})) TO '{folder}/{metric}.parquet'"
            )
            command = ["/usr/bin/time", "-f", "%M", atoll, "--quiet", "--storage", f"{folder}/s", "-c", sql]
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            begin = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds = time.perf_counter() - begin
            user = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
            found = pq.read_table(f"{folder}/{metric}.parquet")
            others = found["other_id"].to_numpy().reshape(count, K)
            distances = found["distance"].to_numpy().reshape(count, K)
            wide = x.astype(np.float64)
            squares = (wide * wide).sum(1)
            rows = np.unique(np.linspace(0, count - 1, compared).astype(int))
            different, largest = 0, 0.0
            for start in range(0, len(rows), 500):
                some = rows[start : start + 500]
                nearest, far = expected(wide, squares, some, metric)
                different += int((nearest != others[some]).sum())
                largest = max(largest, float(np.abs(far - distances[some]).max()))
            print(
                json.dumps(
                    {
                        "metric": metric,
                        "rows": count,
                        "width": width,
                        "k": K,
                        "seconds": round(seconds, 1),
                        "processor_seconds": round(user, 1),
                        "most_memory_mib": int(done.stderr.split()[-1]) // 1024,
                        "rows_compared": len(rows),
                        "neighbours_unlike_numpy": different,
                        "largest_difference_of_distances": largest,
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
