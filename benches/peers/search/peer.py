"""The best value of 60 trials of Optuna's samplers, for each function and seed, as lines
of JSON.

Run: python peer.py SEEDS SAMPLER [MOST_SECONDS], with SAMPLER tpe, gp or random. Seeds
come one after the other over all functions, so that a run which is out of time has as many
seeds of each.
"""

import json
import sys
import time
import warnings

import numpy
import optuna

from functions import FUNCTIONS

warnings.filterwarnings("ignore")
optuna.logging.set_verbosity(optuna.logging.CRITICAL)


def sampler(name, seed):
    if name == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed, warn_independent_sampling=False)
    return optuna.samplers.RandomSampler(seed=seed)


def best(ask, value, noise, name, seed):
    draws = numpy.random.default_rng(seed)
    found = (float("inf"), float("inf"))
    study = optuna.create_study(sampler=sampler(name, seed))
    for _ in range(60):
        trial = study.ask()
        exact = value(ask(trial))
        measured = exact + noise * draws.standard_normal()
        study.tell(trial, measured)
        found = min(found, (measured, exact))
    return found[1]


def main():
    seeds, name = int(sys.argv[1]), sys.argv[2]
    most = float(sys.argv[3]) if len(sys.argv) > 3 else float("inf")
    started = time.monotonic()
    for seed in range(seeds):
        for function, (ask, value, noise) in FUNCTIONS.items():
            if time.monotonic() - started > most:
                return
            before = time.monotonic()
            found = best(ask, value, noise, name, seed)
            seconds = time.monotonic() - before
            row = {"sampler": f"optuna_{name}", "function": function, "seed": seed}
            print(json.dumps({**row, "best": found, "seconds": seconds}), flush=True)


main()
