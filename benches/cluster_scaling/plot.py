"""Draws what the bench cluster_scaling measured: wall time against executors.

    python3 benches/cluster_scaling/plot.py RUN.csv PLOT.svg     (needs matplotlib)
"""

import csv
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def main(source, target):
    with open(source, newline="") as file:
        rows = list(csv.DictReader(file))
    figure, axes = plt.subplots(figsize=(7, 4.5))
    # Colours that colour-blind readers can tell apart (Okabe and Ito).
    for what, label, colour in [
        ("equal", "50 rows of 2 s", "#0072B2"),
        ("exponential", "50 rows, exponential lengths", "#D55E00"),
    ]:
        points = [row for row in rows if row["what"] == what]
        executors = [int(row["executors"]) for row in points]
        seconds = [float(row["seconds"]) for row in points]
        bounds = [float(row["bound_seconds"]) for row in points]
        axes.plot(executors, seconds, "o-", color=colour, label=label)
        axes.plot(executors, bounds, ":", color=colour, label=f"{label}: least possible")
        last = f"{seconds[0] / seconds[-1]:.1f}x"
        axes.annotate(last, (executors[-1], seconds[-1]), (0, 8), textcoords="offset points")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = sorted({int(row["executors"]) for row in rows if row["what"] == "equal"})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_yticks([5, 10, 20, 50, 100], ["5", "10", "20", "50", "100"])
    axes.set_xlabel("executors with one slot")
    axes.set_ylabel("wall time, s")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
