"""Compares samplers on the functions of functions.py: medians of the best value of 60
trials, and two-sided Mann-Whitney tests at 5 %.

Run: python run.py OURS.jsonl PEER.jsonl ..., where OURS is the output of
    cargo run --release -p atoll-search --example functions -- 30
and a PEER that of peer.py. Prints a table, and for each peer on how many functions ours of
the same kind is not worse.
"""

import collections
import json
import statistics
import sys

from scipy.stats import mannwhitneyu

best = collections.defaultdict(list)
seconds = collections.defaultdict(float)
for path in sys.argv[1:]:
    with open(path) as lines:
        for line in lines:
            row = json.loads(line)
            best[row["sampler"], row["function"]].append(row["best"])
            seconds[row["sampler"]] += row["seconds"]
samplers = list(dict.fromkeys(sampler for sampler, _ in best))
functions = list(dict.fromkeys(function for _, function in best))
print(f"{'':20}" + "".join(f"{sampler:>14}" for sampler in samplers))
for function in functions:
    found = (best[sampler, function] for sampler in samplers)
    medians = (f"{statistics.median(f):14.4g}" if f else f"{'-':>14}" for f in found)
    print(f"{function:20}" + "".join(medians))
trials = {sampler: 60 * sum(len(best[sampler, f]) for f in functions) for sampler in samplers}
print(f"{'ms a trial':20}" + "".join(f"{1000 * seconds[s] / trials[s]:14.3g}" for s in samplers))


def compare(ours, other):
    better, worse = [], []
    for function in functions:
        a, b = best[ours, function], best[other, function]
        if a and b and mannwhitneyu(a, b).pvalue < 0.05:
            (better if statistics.median(a) < statistics.median(b) else worse).append(function)
    counted = sum(bool(best[ours, f] and best[other, f]) for f in functions)
    print(
        f"{ours} against {other}: not worse on {counted - len(worse)} of {counted}"
        f" (better on {len(better)}: {', '.join(better)}; worse on {', '.join(worse) or 'none'})"
    )


for sampler in samplers:
    if sampler.startswith("optuna_") and f"{sampler[7:]}" in samplers:
        compare(sampler[7:], sampler)
for sampler in ["tpe", "gp", "cma_es", "sobol"]:
    if sampler in samplers and "random" in samplers:
        compare(sampler, "random")
