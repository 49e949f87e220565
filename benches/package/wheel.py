"""Tries a wheel as a new user would: installs it, runs the demo, connects from Python.

    python3 benches/package/wheel.py WHEEL [--root FOLDER]

Makes a virtual environment in a temporary folder, installs the wheel and what it requires,
runs `atoll demo` without network in an empty folder, then installs the extra `python` and
connects. With --root the same happens in that bare system (debootstrap made it, with
python3-venv), by `chroot`. Needs a package index for what the wheel requires, and root for
`unshare`. Prints a line of JSON a step, and fails if a step does.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

CONNECT = """
import time
began = time.monotonic()
import atoll
with atoll.connect(storage="storage") as con:
    rows = con.sql("SELECT 1 AS n").arrow()
    assert rows.num_rows == 1
print(time.monotonic() - began)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=pathlib.Path)
    parser.add_argument("--root", type=pathlib.Path)
    arguments = parser.parse_args()
    wheel = arguments.wheel.resolve()
    say("wheel", name=wheel.name, mib=round(wheel.stat().st_size / 2**20, 1))
    root = arguments.root
    base = None if root is None else root.resolve() / "tmp"
    with tempfile.TemporaryDirectory(dir=base, prefix="atoll-wheel-") as folder:
        # A program learns from /proc where it lies, as in a container.
        if root is not None:
            subprocess.run(["mount", "-t", "proc", "proc", root / "proc"], check=True)
        try:
            try_wheel(wheel, pathlib.Path(folder), root)
        finally:
            if root is not None:
                subprocess.run(["umount", root / "proc"], check=True)


def try_wheel(wheel, folder, root):
    shutil.copy(wheel, folder)
    inside = folder if root is None else pathlib.Path("/") / folder.relative_to(root.resolve())
    if root is not None:
        for name in ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"):
            shutil.copy(pathlib.Path("/") / name, root / name)
    python = "python3" if root is not None else sys.executable
    environment = inside / "venv"

    def run(*command, network=True):
        line = [str(part) for part in command]
        if root is not None:
            line = ["chroot", str(root.resolve()), *line]
        if not network:
            line = ["unshare", "--net", "sh", "-c", 'ip link set lo up 2>/dev/null; exec "$@"', "sh", *line]
        settings = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(inside),
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
        }
        # How this machine reaches a package index.
        for name in ("PIP_CERT", "PIP_INDEX_URL", "http_proxy", "https_proxy"):
            if name in os.environ:
                settings[name] = os.environ[name]
        if root is not None:
            settings["PIP_CERT"] = "/etc/ssl/certs/ca-certificates.crt"
        began = time.monotonic()
        done = subprocess.run(
            line, env=settings, cwd=None if root is not None else folder,
            capture_output=True, text=True, check=False,
        )
        if done.returncode != 0:
            sys.exit(f"{line} failed:\n{done.stdout}{done.stderr}")
        return time.monotonic() - began, done

    seconds, _ = run(python, "-m", "venv", environment)
    say("venv", seconds=round(seconds, 1))
    file = inside / wheel.name
    seconds, _ = run(environment / "bin/pip", "install", "--quiet", file)
    say("pip install", seconds=round(seconds, 1))
    atoll = environment / "bin/atoll"
    _, version = run(atoll, "--version", "--verbose", network=False)
    say("version", text=version.stdout.splitlines())
    seconds, _ = run(atoll, "demo", inside / "demo", network=False)
    page = folder / "demo/report.html"
    assert page.stat().st_size > 100_000, page
    say("atoll demo, without network", seconds=round(seconds, 1), page_kib=page.stat().st_size // 1024)
    seconds, _ = run(atoll, "demo", inside / "demo", network=False)
    say("atoll demo again", seconds=round(seconds, 1))
    seconds, _ = run(environment / "bin/pip", "install", "--quiet", f"{file}[python]")
    say("pip install [python]", seconds=round(seconds, 1))
    _, connected = run(environment / "bin/python", "-c", CONNECT)
    say("atoll.connect, a statement, close", seconds=round(float(connected.stdout), 1))


def say(step, **facts):
    print(json.dumps({"step": step, **facts}), flush=True)


if __name__ == "__main__":
    main()
