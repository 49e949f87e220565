"""Compares every score of `evaluate` with scikit-learn on five data sets.

    python3 benches/scores/run.py ATOLL

Needs scikit-learn and pyarrow. For each data set a small network is trained, `evaluate` is
asked for its scores on all rows, and `predict` for what the network says of each row, of
which scikit-learn computes the same scores. Prints a line of JSON for each data set with
the largest difference, and fails beyond 1e-9.
"""

import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sklearn
from sklearn import datasets, metrics
from sklearn.calibration import calibration_curve

HYPERPARAMETERS = "architecture: 'mlp', hidden: 8, epochs: 6, learning_rate: 0.02, seed: 1"
SETS = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast_cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
    "diabetes": datasets.load_diabetes,
}


def atoll(binary, storage, sql):
    command = [binary, "--storage", storage, "--format", "ndjson", "-q", "-c", sql]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def write(data, path, has_classes):
    target = data.target.astype("int64" if has_classes else "float64")
    rows = pa.array([list(map(float, row)) for row in data.data], pa.list_(pa.float64()))
    pq.write_table(pa.table({"features": rows, "label": target, "n": np.arange(len(target))}), path)


def of_classes(labels, logits):
    """What scikit-learn says, by the names of evaluate's fields."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = exponentials / exponentials.sum(axis=1, keepdims=True)
    answers = p.argmax(axis=1)
    classes = p.shape[1]
    each = metrics.precision_recall_fscore_support(labels, answers, labels=range(classes), zero_division=0)
    found = {
        "accuracy": metrics.accuracy_score(labels, answers),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, answers),
        "log_loss": metrics.log_loss(labels, p),
        "brier_score": metrics.brier_score_loss(labels, p[:, 1] if classes == 2 else p),
        "roc_auc": metrics.roc_auc_score(labels, p[:, 1] if classes == 2 else p, multi_class="ovr"),
    }
    for average in ("macro", "weighted"):
        means = metrics.precision_recall_fscore_support(labels, answers, average=average, zero_division=0)
        for name, mean in zip(("precision", "recall", "f1"), means):
            found[f"{average}.{name}"] = mean
    for name, values in zip(("precision", "recall", "f1", "support"), each):
        for place, value in enumerate(values):
            found[f"classes.{place}.{name}"] = value
    for place in range(classes):
        found[f"classes.{place}.roc_auc"] = metrics.roc_auc_score(labels == place, p[:, place])
    for k in range(2, min(5, classes - 1) + 1):
        found[f"top_k_accuracy.{k - 1}"] = metrics.top_k_accuracy_score(labels, p, k=k)
    accuracy, confidence = calibration_curve(answers == labels, p.max(axis=1), n_bins=10)
    for place, (a, c) in enumerate(zip(accuracy, confidence)):
        found[f"calibration.{place}.accuracy"] = a
        found[f"calibration.{place}.confidence"] = c
    for (line, column), count in np.ndenumerate(metrics.confusion_matrix(labels, answers, labels=range(classes))):
        found[f"confusion.{line}.{column}"] = count
    scorers = {
        "f1_macro": metrics.f1_score(labels, answers, average="macro"),
        "f1_micro": metrics.f1_score(labels, answers, average="micro"),
        "matthews_corrcoef": metrics.matthews_corrcoef(labels, answers),
        "neg_log_loss": -found["log_loss"],
        "top_k_accuracy": metrics.top_k_accuracy_score(labels, p, k=2) if classes > 2 else 1.0,
        "roc_auc_ovr_weighted": found["roc_auc"]
        if classes == 2
        else metrics.roc_auc_score(labels, p, multi_class="ovr", average="weighted"),
    }
    return found, scorers


def of_numbers(labels, predictions):
    found = {
        "loss": metrics.mean_squared_error(labels, predictions),
        "rmse": metrics.root_mean_squared_error(labels, predictions),
        "mae": metrics.mean_absolute_error(labels, predictions),
        "r2": metrics.r2_score(labels, predictions),
    }
    return found, {"neg_root_mean_squared_error": -found["rmse"], "r2": found["r2"]}


def get(evaluation, path):
    for step in path.split("."):
        evaluation = evaluation[int(step) if step.isdigit() else step]
    return evaluation


def compare(binary, name, load, folder):
    data = load()
    has_classes = hasattr(data, "target_names")
    path, storage = os.path.join(folder, f"{name}.parquet"), os.path.join(folder, "storage")
    write(data, path, has_classes)
    features = "features: 'features'"
    train = f"train('{path}', {{{HYPERPARAMETERS}}}, {{{features}}})"
    model = atoll(binary, storage, f"SELECT t.model AS model FROM (SELECT {train} AS t)")[0]["model"]
    outputs = atoll(binary, storage, f"SELECT n, label, predict('{model}', features) AS o FROM '{path}' ORDER BY n")
    labels = np.array([row["label"] for row in outputs])
    # A FLOAT is written as the shortest text that gives it back.
    said = [next(iter(row["o"].values())) for row in outputs]
    said = np.array(said, dtype=np.float32).astype(np.float64)
    expected, scorers = of_classes(labels, said) if has_classes else of_numbers(labels, said.reshape(len(labels)))

    def evaluate(metric):
        options = f"{{{features}, metric: '{metric}'}}"
        return atoll(binary, storage, f"SELECT evaluate('{model}', '{path}', {options}) AS e")[0]["e"]

    evaluation = evaluate(next(iter(scorers)))
    differences = {path: abs(get(evaluation, path) - value) for path, value in expected.items()}
    for metric, value in scorers.items():
        differences[f"metric {metric}"] = abs(evaluate(metric)["score"] - value)
    worst = max(differences, key=differences.get)
    largest = float(differences[worst])
    line = {"data": name, "rows": len(labels), "scores": len(differences), "largest": largest, "of": worst}
    print(json.dumps(line), flush=True)
    return largest <= 1e-9


def main():
    binary = os.path.abspath(sys.argv[1])
    print(json.dumps({"scikit-learn": sklearn.__version__, "numpy": np.__version__}))
    with tempfile.TemporaryDirectory() as folder:
        agree = [compare(binary, name, load, folder) for name, load in SETS.items()]
    sys.exit(0 if all(agree) else 1)


main()
