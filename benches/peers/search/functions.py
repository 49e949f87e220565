"""The functions of crates/search/tests/functions, for samplers that are not written in Rust.

Each is a pair: how a trial of Optuna asks for its values, and the value of what it got.
"""

import math

WIDTHS_3 = [[3.0, 10.0, 30.0], [0.1, 10.0, 35.0], [3.0, 10.0, 30.0], [0.1, 10.0, 35.0]]
MIDDLES_3 = [[3689, 1170, 2673], [4699, 4387, 7470], [1091, 8732, 5547], [381, 5743, 8828]]
WIDTHS_6 = [
    [10.0, 3.0, 17.0, 3.5, 1.7, 8.0],
    [0.05, 10.0, 17.0, 0.1, 8.0, 14.0],
    [3.0, 3.5, 1.7, 10.0, 17.0, 8.0],
    [17.0, 8.0, 0.05, 10.0, 0.1, 14.0],
]
MIDDLES_6 = [
    [1312, 1696, 5569, 124, 8283, 5886],
    [2329, 4135, 8307, 3736, 1004, 9991],
    [2348, 1451, 3522, 2883, 3047, 6650],
    [4047, 8828, 8732, 5743, 1091, 381],
]


def branin(x):
    bent = x[1] - 5.1 / (4 * math.pi**2) * x[0] ** 2 + 5 / math.pi * x[0] - 6
    return bent**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x[0]) + 10


def hartmann(x, widths, middles):
    total = 0.0
    for height, width, middle in zip([1.0, 1.2, 3.0, 3.2], widths, middles):
        squares = sum(w * (v - 1e-4 * m) ** 2 for w, m, v in zip(width, middle, x))
        total -= height * math.exp(-squares)
    return total


def ackley(x):
    squares = sum(v * v for v in x) / len(x)
    waves = sum(math.cos(2 * math.pi * v) for v in x) / len(x)
    return -20 * math.exp(-0.2 * math.sqrt(squares)) - math.exp(waves) + 20 + math.e


def rosenbrock(x):
    return sum((1 - a) ** 2 + 100 * (b - a * a) ** 2 for a, b in zip(x, x[1:]))


def levy(x):
    w = [1 + (v - 1) / 4 for v in x]
    middle = sum((v - 1) ** 2 * (1 + 10 * math.sin(math.pi * v + 1) ** 2) for v in w[:-1])
    last = (w[-1] - 1) ** 2 * (1 + math.sin(2 * math.pi * w[-1]) ** 2)
    return math.sin(math.pi * w[0]) ** 2 + middle + last


def styblinski(x):
    return sum(v**4 - 16 * v * v + 5 * v for v in x) / 2


def cube(count, low, high):
    return lambda trial: [trial.suggest_float(f"x{n}", low, high) for n in range(count)]


def plane(trial):
    return [trial.suggest_float("x0", -5, 10), trial.suggest_float("x1", 0, 15)]


def ask_mixed(trial):
    return {
        "x0": trial.suggest_float("x0", -5, 10),
        "n": trial.suggest_int("n", 0, 15),
        "tilt": trial.suggest_categorical("tilt", [0, 1, 2]),
        "side": trial.suggest_categorical("side", [0, 1, 2, 3]),
        "rate": trial.suggest_float("rate", 1e-4, 1.0, log=True),
    }


def mixed(p):
    tilt = [0.0, 5.0, 12.0][p["tilt"]]
    side = [3.0, 0.0, 6.0, 1.0][p["side"]]
    rate = math.log10(p["rate"]) - [-2.0, -1.0, -3.0][p["tilt"]]
    return branin([p["x0"], p["n"]]) + tilt + side + 8 * rate**2


def ask_optimizers(trial):
    p = {"optimizer": trial.suggest_categorical("optimizer", [0, 1, 2])}
    if p["optimizer"] == 0:
        p["rate"] = trial.suggest_float("rate0", 1e-4, 1.0, log=True)
        p["momentum"] = trial.suggest_float("momentum", 0.0, 0.99)
    elif p["optimizer"] == 1:
        p["rate"] = trial.suggest_float("rate1", 1e-5, 0.1, log=True)
        p["beta"] = trial.suggest_float("beta", 0.8, 0.999)
    else:
        p["rate"] = trial.suggest_float("rate2", 1e-5, 0.1, log=True)
    p["hidden"] = trial.suggest_int("hidden", 16, 256)
    p["dropout"] = trial.suggest_float("dropout", 0.0, 0.7)
    return p


def optimizers(p):
    rate = math.log10(p["rate"])
    if p["optimizer"] == 0:
        m = p["momentum"]
        own = 1 + 2 * (rate + 1 + 1.5 * m) ** 2 + 2 * (m - 0.9) ** 2
    elif p["optimizer"] == 1:
        own = 2 * (rate + 3) ** 2 + 40 * (p["beta"] - 0.95) ** 2
    else:
        own = 2 + (rate + 2.5) ** 2
    size = math.log2(p["hidden"] / 160)
    return own + size**2 + 4 * (p["dropout"] - 0.2 - 0.1 * size) ** 2


def ask_layers(trial):
    layers = trial.suggest_categorical("layers", [1, 2, 3])
    units = [trial.suggest_int(f"units{layers}_{n}", 8, 128) for n in range(layers)]
    return units, trial.suggest_float("rate", 1e-4, 1.0, log=True)


def layers(p):
    units, rate = p
    count = len(units)
    misfit = sum(math.log2(u / best) ** 2 for u, best in zip(units, [64, 48, 24])) / count
    return [1.5, 0.5, 0.0][count - 1] + misfit + 2 * (math.log10(rate) + 1 + 0.5 * count) ** 2


# Name: how a trial asks, the value, the standard deviation of the noise.
FUNCTIONS = {
    "branin": (plane, branin, 0.0),
    "hartmann_3": (cube(3, 0, 1), lambda x: hartmann(x, WIDTHS_3, MIDDLES_3), 0.0),
    "hartmann_6": (cube(6, 0, 1), lambda x: hartmann(x, WIDTHS_6, MIDDLES_6), 0.0),
    "ackley_5": (cube(5, -32.768, 32.768), ackley, 0.0),
    "rosenbrock_4": (cube(4, -5, 10), rosenbrock, 0.0),
    "levy_5": (cube(5, -10, 10), levy, 0.0),
    "styblinski_tang_4": (cube(4, -5, 5), styblinski, 0.0),
    "mixed": (ask_mixed, mixed, 0.0),
    "optimizers": (ask_optimizers, optimizers, 0.0),
    "layers": (ask_layers, layers, 0.0),
    "branin_noisy": (plane, branin, 5.0),
    "hartmann_6_noisy": (cube(6, 0, 1), lambda x: hartmann(x, WIDTHS_6, MIDDLES_6), 0.2),
}
