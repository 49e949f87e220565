"""Tries a package in a bare Debian: unpacks it, labels the photos, trains on the digits.

    python3 benches/package/run.py ARCHIVE [--suite bookworm] [--root FOLDER]

ARCHIVE is what `cargo xtask package` made. Needs root, and debootstrap from Debian
(apt install debootstrap), which makes the system with `--variant=minbase`: the essential
packages and apt, nothing else. The program runs there by `chroot` in namespaces of its
own, without network, without the environment, and with no file of this machine but the
archive. With --root the system is kept in that folder and used again.

Prints a line of JSON a step, and fails if a step does.
"""

import argparse
import csv
import hashlib
import io
import json
import os
import pathlib
import platform
import subprocess
import sys
import tarfile
import tempfile
import time

PHOTOS = 9
INSIDE = "/opt/atoll"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=pathlib.Path)
    parser.add_argument("--suite", default="bookworm")
    parser.add_argument("--root", type=pathlib.Path)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("debootstrap and chroot need root")
    with tempfile.TemporaryDirectory(prefix="atoll-package-") as folder:
        root = arguments.root or pathlib.Path(folder) / "root"
        try_package(arguments.archive, arguments.suite, root.resolve())


def try_package(archive, suite, root):
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    size = archive.stat().st_size
    say("archive", name=archive.name, mib=round(size / 2**20, 1), sha256=digest)
    check_sums(archive)
    if not (root / "bin/sh").exists():
        debootstrap(suite, root)
    packages = inside(root, ["dpkg-query", "--show", "--showformat=${Package}\n"])
    glibc = inside(root, ["ldd", "--version"]).splitlines()[0].split()[-1]
    release = (root / "etc/debian_version").read_text().strip()
    say("system", debian=release, packages=len(packages.split()), glibc=glibc)

    target = root / INSIDE.lstrip("/")
    with tarfile.open(archive) as tar:
        name = tar.getnames()[0].split("/")[0]
        tar.extractall(target.parent, filter="data")
    if target.is_symlink():
        target.unlink()
    target.symlink_to(name)
    needs = subprocess.run(
        ["chroot", root, "ldd", f"{INSIDE}/bin/atoll"],
        check=True, capture_output=True, text=True,
    ).stdout
    libraries = [line.split()[0] for line in needs.splitlines()]
    say("links", libraries=libraries, missing="not found" in needs)

    # The program is started through a link, and must still find its library.
    link = root / "usr/local/bin/atoll"
    link.unlink(missing_ok=True)
    link.symlink_to(f"{INSIDE}/bin/atoll")
    atoll(root, "doctor", ["doctor"])
    label(root)
    train(root)
    man = list((target / "share/man/man1").iterdir())
    say("pages", manual=len(man))


def label(root):
    atoll(root, "label", [
        "run", "sql/jobs/label_images.sql", "--set", "output=/tmp/labels", "--quiet",
    ])
    rows = atoll(root, "read labels", [
        "--format", "csv", "-c",
        "SELECT split_part(filename, '/', -1) AS photo, labels[1]['label'] AS label, "
        "error FROM '/tmp/labels/' ORDER BY photo",
    ])
    rows = list(csv.DictReader(io.StringIO(rows)))
    labels = {row["photo"]: row["label"] for row in rows}
    say("labels", **labels)
    failed = [row for row in rows if row["error"]]
    if len(rows) < PHOTOS or failed or labels.get("coffee.png") != "espresso":
        sys.exit(f"the labels are wrong: {rows}")


def train(root):
    rows = atoll(root, "train", [
        "--format", "csv", "-c",
        "SELECT t['status'] AS status, t['validation_accuracy'] > 0.5 AS learnt FROM (SELECT "
        "train('sql/data/digits.parquet', {architecture: 'mlp', epochs: 3}) AS t)",
    ])
    if rows.split() != ["status,learnt", "SUCCEEDED,true"]:
        sys.exit(f"training went wrong: {rows}")


def atoll(root, step, arguments):
    """Runs the program where nothing but the system and the package exist."""
    start = time.monotonic()
    script = f"cd {INSIDE} && exec atoll \"$@\""
    output = inside(root, ["sh", "-c", script, "sh", *arguments], network=False)
    say(step, seconds=round(time.monotonic() - start, 2))
    return output


def inside(root, command, network=True):
    namespaces = ["--mount", "--pid", "--fork", "--ipc"] + ([] if network else ["--net"])
    # procfs, as every system has it; without it a program cannot find itself.
    mount = f'mount -t proc proc "{root}/proc" && exec chroot "{root}" "$@"'
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
    }
    run = subprocess.run(
        ["unshare", *namespaces, "sh", "-c", mount, "sh", *command],
        env=environment | {"PATH": environment["PATH"] + ":/usr/sbin:/sbin"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )
    if run.returncode != 0:
        sys.exit(f"{command} ended with {run.returncode}:\n{run.stdout}{run.stderr}")
    return run.stdout


def debootstrap(suite, root):
    start = time.monotonic()
    run = subprocess.run(
        ["debootstrap", "--variant=minbase", suite, root],
        capture_output=True, text=True,
    )
    if run.returncode != 0:
        sys.exit(f"debootstrap failed:\n{run.stdout[-2000:]}{run.stderr}")
    say("debootstrap", suite=suite, seconds=round(time.monotonic() - start, 1))


def check_sums(archive):
    sums = archive.with_name(archive.name.removesuffix(".tar.gz") + ".sha256")
    subprocess.run(
        ["sha256sum", "--check", "--quiet", sums.name], cwd=sums.parent, check=True
    )
    say("sums", file=sums.name, machine=platform.platform())


def say(step, **facts):
    print(json.dumps({"step": step} | facts), flush=True)


if __name__ == "__main__":
    main()
