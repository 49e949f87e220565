"""Training speed of Atoll, TensorFlow and PyTorch side by side, on one pinned core.

    cargo build --release -p atoll-nn --example bench
    VENV/bin/python benches/peers/training/run.py MNIST \\
        --atoll 'target/release/examples/bench --mnist MNIST' --json figures.json

MNIST is the folder of MNIST's own four files. The command of `--atoll` prints lines
`network images_per_second` with the networks of peer.py. The peers are imported, compiled
and warm before the first measurement; then all take turns, `--repetitions` times, and the
median counts. Standard output is a table; `--json` keeps every repetition.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

from peer import NETWORKS, VARIANTS

PEER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer.py")


class Peer:
    """A framework that has compiled one network and waits for its turn."""

    def __init__(self, variant, network, arguments):
        command = [sys.executable, PEER, variant, network, arguments.mnist]
        self.variant, self.network = variant, network
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {arguments.core}),
        )

    def ready(self):
        if self.process.stdout.readline().strip() == "ready":
            return True
        self.errors.seek(0)
        reason = self.errors.read().strip().splitlines()[-1:]
        print(f"{self.variant} does not run {self.network}: {' '.join(reason)}", file=sys.stderr)
        return False

    def measure(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        speed, self.loss = self.process.stdout.readline().split()
        return float(speed)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def atoll(command, core):
    """One run of the Atoll bench: images per second by network."""
    run = subprocess.run(
        shlex.split(command), stdout=subprocess.PIPE, text=True, check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    lines = re.findall(r"^(\S+)\s+([\d.]+)$", run.stdout, re.MULTILINE)
    return {network: float(speed) for network, speed in lines if network in NETWORKS}


def machine():
    with open("/proc/cpuinfo") as file:
        text = file.read()
    field = lambda name: re.search(rf"^{name}\s*: (.*)$", text, re.MULTILINE)
    model, number = field("model name"), field("model")
    cpu = f"{model and model[1]} (model {number and number[1]})"
    flags = set((field("flags") or ["", ""])[1].split())
    level = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "other"
    return {"cpu": cpu, "level": level, "cores": os.cpu_count(), "system": platform.platform()}


def versions():
    names = ["numpy", "tensorflow", "keras", "torch"]
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}


def measure_network(network, arguments):
    """Every repetition of every peer, a round at a time."""
    peers = []
    for variant in arguments.variants:
        peer = Peer(variant, network, arguments)
        if peer.ready():
            peers.append(peer)
    speeds = {peer.variant: [] for peer in peers}
    for _ in range(arguments.repetitions):
        for peer in peers:
            speeds[peer.variant].append(peer.measure(arguments.seconds))
        if arguments.atoll:
            found = atoll(arguments.atoll.replace("{network}", network), arguments.core)
            if network in found:
                speeds.setdefault("atoll", []).append(found[network])
    losses = {peer.variant: float(peer.loss) for peer in peers}
    for peer in peers:
        peer.close()
    return speeds, losses


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("mnist", help="folder of MNIST's own files")
    parser.add_argument("--atoll", help="command of the Atoll bench; {network} in it is replaced")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of one measurement of a peer")
    parser.add_argument("--core", type=int, default=min(os.sched_getaffinity(0)))
    parser.add_argument("--json", help="file for every figure")
    arguments = parser.parse_args()
    report = {
        "command": shlex.join(["run.py", *sys.argv[1:]]), "started": time.strftime("%Y-%m-%d %H:%M:%S"),
        "machine": machine(), "versions": versions(), "load_at_start": os.getloadavg()[0],
        "batch": 64, "networks": {},
    }
    print(f"machine  {report['machine']}\nversions {report['versions']}\ncommand  {report['command']}")
    print(f"core     {arguments.core}, load {report['load_at_start']:.1f} at the start")
    print(f"\n{'network':8} {'variant':28} {'images/s':>9} {'least':>9} {'most':>9} {'to best peer':>12}")
    for network in arguments.networks:
        speeds, losses = measure_network(network, arguments)
        medians = {variant: statistics.median(all) for variant, all in speeds.items()}
        best = max((speed for variant, speed in medians.items() if variant != "atoll"), default=float("nan"))
        report["networks"][network] = {"images_per_second": speeds, "medians": medians, "last_losses": losses}
        for variant, all in speeds.items():
            print(
                f"{network:8} {variant:28} {medians[variant]:9.0f} {min(all):9.0f} {max(all):9.0f} "
                f"{medians[variant] / best:12.2f}", flush=True,
            )
        if arguments.json:
            with open(arguments.json, "w") as file:
                json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
