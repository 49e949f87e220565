"""Makes optuna.csv: trials of a function with their importance according to Optuna.

Run: pip install optuna==4.* scikit-learn && python3 crates/report/tests/optuna_shares.py

The trials are drawn with a fixed seed. The last line has the mean importance over ten
seeds of Optuna's forest, so that one forest's luck is not what the test compares with. Rates
are exponents, because Optuna (5.0) takes the variance over the plain scale of a number
that is searched on a logarithmic one, which Atoll does not.
"""

import pathlib
import random

import optuna
from optuna.distributions import FloatDistribution
from optuna.importance import FanovaImportanceEvaluator

COUNT = 120
SEEDS = 10
SPACE = {
    "rate": FloatDistribution(-4.0, 0.0),
    "momentum": FloatDistribution(0.0, 1.0),
    "decay": FloatDistribution(-6.0, -2.0),
}


def loss(rate, momentum, decay):
    return (rate + 2) ** 2 + momentum * (rate + 2) + 0.2 * decay


def main():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rng = random.Random(1)
    study = optuna.create_study(direction="minimize")
    rows = []
    for _ in range(COUNT):
        params = {
            name: float(f"{rng.uniform(domain.low, domain.high):.6g}")
            for name, domain in SPACE.items()
        }
        value = float(f"{loss(**params):.6g}")
        rows.append([*params.values(), value])
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=SPACE, value=value)
        )
    mean = dict.fromkeys(SPACE, 0.0)
    for seed in range(SEEDS):
        evaluator = FanovaImportanceEvaluator(seed=seed)
        for name, share in evaluator.evaluate(study).items():
            mean[name] += share / SEEDS
    lines = [",".join([*SPACE, "loss"])]
    lines += [",".join(map(repr, row)) for row in rows]
    lines.append(",".join(f"{share:.4f}" for share in mean.values()) + f",{optuna.__version__}")
    path = pathlib.Path(__file__).with_name("optuna.csv")
    path.write_text("\n".join(lines) + "\n")


main()
