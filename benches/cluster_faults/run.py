"""Breaks clusters on purpose and compares their rows with those of one machine.

    python3 benches/cluster_faults/run.py kills  ATOLL        20 studies, an executor killed in each
    python3 benches/cluster_faults/run.py images ATOLL        10,000 images, an executor killed half-way
    python3 benches/cluster_faults/run.py cutoff ATOLL        an executor without network for 4 minutes

ATOLL is the binary. `images` needs Pillow, `cutoff` needs root and iproute2: it puts an
executor into a network namespace and takes its link down. Each prints what it saw as
lines of JSON and ends with exit code 1 when rows differ.
"""

import glob
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOKEN = "a token of the fault bench"


def study(seeds, epochs):
    """Rows that are the same in every run: no seconds and no paths."""
    return (
        "SELECT seed, t.status, t.epochs, t.validation_accuracy, t.train_loss, t.trial_id, "
        "t.model_sha256 FROM (SELECT seed, train('sql/data/digits.parquet', "
        f"{{architecture: 'lenet', epochs: {epochs}, patience: 0, learning_rate: 0.05, "
        f"seed: seed}}) AS t FROM generate_series(1, {seeds}) AS s(seed)) ORDER BY seed"
    )


class Cluster:
    """A scheduler and executors with one slot each, as processes of this machine."""

    def __init__(self, atoll, executors):
        self.atoll = atoll
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [atoll, "cluster", "--port", "0", "--executors", str(executors)],
            stderr=self.log, cwd="/")
        self.wait(lambda said: said.count(" executor: ") == executors)
        self.address = re.search(r"df://[^\s,]+", self.said()).group()

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def wait(self, enough, seconds=60):
        since = time.time()
        while not enough(self.said()):
            if time.time() - since > seconds:
                raise RuntimeError(self.said())
            time.sleep(0.05)

    def processes(self, *words):
        """Processes with these words in their command line."""
        found = []
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                line = open(path, "rb").read().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if all(word in line for word in (self.address, *words)):
                found.append(int(path.split("/")[2]))
        return found

    def kill_one(self, choose, whole_machine):
        """Kills a worker, or the supervisor too, as when a machine is lost."""
        workers = self.processes("executor --scheduler", "--worker")
        if not whole_machine:
            os.kill(choose.choice(workers), signal.SIGKILL)
            return
        supervisors = set(self.processes("executor", "--scheduler")) - set(workers)
        os.kill(choose.choice(sorted(supervisors)), signal.SIGKILL)

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)


def run(atoll, sql, storage, cluster=None):
    command = [atoll, "--format", "csv", "--quiet", "--storage", storage, "-c", sql]
    if cluster:
        command += ["--cluster", cluster]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def finish(process):
    out, _ = process.communicate()
    return process.returncode, out


def trials(storage):
    return {path: os.stat(path).st_mtime_ns for path in glob.glob(f"{storage}/trials/*.json")}


def report(**what):
    print(json.dumps(what), flush=True)


def kills(atoll):
    """Every study ends with the rows of the undisturbed one and exit code 0."""
    sql = study(12, 10)
    with tempfile.TemporaryDirectory() as storage:
        _, expected = finish(run(atoll, sql, storage))
    good = True
    for seed in range(20):
        choose = random.Random(seed)
        cluster = Cluster(atoll, 3)
        with tempfile.TemporaryDirectory() as storage:
            since = time.time()
            process = run(atoll, sql, storage, cluster.address)
            after, whole = choose.uniform(0.2, 8), seed % 2 == 1
            time.sleep(after)
            kept = trials(storage)
            if process.poll() is None:
                cluster.kill_one(choose, whole)
            code, rows = finish(process)
            now = trials(storage)
            # A finished trial that was trained again would have been written again.
            again = [path for path in kept if now.get(path) != kept[path]]
            same = rows == expected
            good &= same and code == 0 and not again and len(now) == 12
            report(run=seed, killed="machine" if whole else "worker",
                   after_seconds=round(after, 2), finished_before=len(kept),
                   seconds=round(time.time() - since, 2), exit_code=code,
                   rows_equal=same, trained_again=len(again))
        cluster.stop()
    return good


def images(atoll):
    """10,000 images to partitioned Parquet, an executor killed half-way."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        sources = sorted(glob.glob(f"{ROOT}/sql/data/photos/*"))
        small = [Image.open(path).convert("RGB").resize((64, 64)) for path in sources]
        os.mkdir(f"{folder}/in")
        for number in range(10_000):
            # Every image is another: the model sees another crop and brightness.
            choose = random.Random(number)
            image = small[number % len(small)].rotate(choose.uniform(-20, 20))
            image = image.point(lambda value, by=choose.uniform(0.5, 1.5): int(value * by))
            image.save(f"{folder}/in/{number:05}.jpg", quality=80)
        query = (
            "SELECT filename, l[1]['label'] AS label, l[1]['score'] AS score, "
            "CAST(right(split_part(filename, '.', 1), 1) AS INT) AS part FROM (SELECT "
            "filename, classify('sql/data/efficientnet-lite0.onnx', content, 1) AS l "
            f"FROM read_blob('{folder}/in/*.jpg'))"
        )
        digests = {}
        for name, executors in [("embedded", 0), ("cluster", 2), ("killed", 2)]:
            out, storage = f"{folder}/{name}", f"{folder}/storage-{name}"
            sql = f"COPY ({query}) TO '{out}' STORED AS PARQUET PARTITIONED BY (part)"
            cluster = Cluster(atoll, executors) if executors else None
            since = time.time()
            process = run(atoll, sql, storage, cluster and cluster.address)
            if name == "killed":
                time.sleep(usual / 2)
                cluster.kill_one(random.Random(1), False)
            code, _ = finish(process)
            usual = time.time() - since
            _, rows = finish(run(atoll, f"SELECT filename, label, score, part FROM '{out}' "
                                 "ORDER BY filename", storage))
            _, counts = finish(run(atoll, "SELECT count(*), count(DISTINCT filename) "
                                   f"FROM '{out}'", storage))
            left = [name for name in os.listdir(folder) if ".atoll-" in name]
            digests[name] = hashlib.sha256(rows.encode()).hexdigest()
            report(run=name, seconds=round(usual, 1), exit_code=code,
                   count_and_distinct=counts.split("\n")[1], rows_sha256=digests[name][:16],
                   staging_left=left)
            if cluster:
                cluster.stop()
            if code or left or counts.split("\n")[1] != "10000,10000":
                return False
        return len(set(digests.values())) == 1


def cutoff(atoll):
    """An executor in a namespace of its own loses its link for four minutes."""
    def sh(line):
        subprocess.run(line, shell=True, check=True)

    sh("ip netns add atoll && ip link add atoll0 type veth peer name atoll1 netns atoll")
    environment = {**os.environ, "ATOLL_TOKEN": TOKEN}
    processes = []
    try:
        sh("ip addr add 10.99.0.1/24 dev atoll0 && ip link set atoll0 up")
        sh("ip -n atoll addr add 10.99.0.2/24 dev atoll1 && ip -n atoll link set atoll1 up")
        sh("ip -n atoll link set lo up")
        executor = [atoll, "executor", "--scheduler", "10.99.0.1:50990", "--slots", "1"]

        def start(command):
            process = subprocess.Popen(command, env=environment, cwd="/")
            processes.append(process)
            time.sleep(2)

        start([atoll, "scheduler", "--bind", "10.99.0.1", "--port", "50990"])
        start([*executor, "--bind", "10.99.0.1"])
        start(["ip", "netns", "exec", "atoll", *executor, "--bind", "10.99.0.2"])
        sql = study(24, 200)
        with tempfile.TemporaryDirectory() as storage, tempfile.TemporaryDirectory() as alone:
            os.environ["ATOLL_TOKEN"] = TOKEN
            since = time.time()
            process = run(atoll, sql, storage, "df://10.99.0.1:50990")
            for at, link in [(20, "down"), (260, "up")]:
                time.sleep(max(0, since + at - time.time()))
                report(at_seconds=at, link=link, trials=len(trials(storage)),
                       running=process.poll() is None)
                sh(f"ip link set atoll0 {link} && ip addr replace 10.99.0.1/24 dev atoll0")
            code, rows = finish(process)
            seconds = round(time.time() - since, 1)
            _, expected = finish(run(atoll, sql, alone))
            report(seconds=seconds, exit_code=code, rows_equal=rows == expected,
                   trials=len(trials(storage)))
            return code == 0 and rows == expected
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGINT)
            process.wait(60)
        subprocess.run("ip netns del atoll; ip link del atoll0 2>/dev/null", shell=True)


if __name__ == "__main__":
    part, binary = sys.argv[1:]
    sys.exit(0 if {"kills": kills, "images": images, "cutoff": cutoff}[part](binary) else 1)
