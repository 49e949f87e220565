#!/usr/bin/env python3
"""Executes sql/demos/notebook.ipynb from a clean environment and looks at what came out.

Makes a virtual environment with benches/serve/requirements.txt, in a temporary folder
unless one is named, and runs every cell with a storage of its own. The notebook in the
repository stays without outputs; the executed one goes where --output says.

    python3 benches/serve/notebook.py --atoll target/release/atoll
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "sql/demos/notebook.ipynb"
PHOTOS = ROOT / "sql/data/photos"


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--atoll", type=Path, default=ROOT / "target/release/atoll")
    arguments.add_argument("--venv", type=Path, help="make or use this environment")
    arguments.add_argument("--output", type=Path, help="keep the executed notebook here")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        temporary = Path(temporary)
        python = environment(options.venv or temporary / "venv")
        executed = options.output or temporary / "executed.ipynb"
        seconds = execute(python, options.atoll.resolve(), executed.resolve(), temporary)
        return report(json.loads(executed.read_text()), seconds)


def environment(folder: Path) -> Path:
    python = folder / "bin/python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    wanted = ROOT / "benches/serve/requirements.txt"
    install = [python, "-m", "pip", "install", "--quiet", "--requirement", wanted]
    subprocess.run(install, check=True)
    return python


def execute(python: Path, atoll: Path, executed: Path, temporary: Path) -> float:
    """Runs the cells; how many seconds they took."""
    copy = temporary / "notebook.ipynb"
    shutil.copy(NOTEBOOK, copy)
    settings = dict(os.environ, ATOLL=str(atoll), XDG_DATA_HOME=str(temporary / "home"))
    for name in ("ATOLL_SERVER", "ATOLL_TOKEN"):
        settings.pop(name, None)
    program = (
        "import nbformat, sys\n"
        "from nbclient import NotebookClient\n"
        "notebook = nbformat.read(sys.argv[1], as_version=4)\n"
        "where = {'metadata': {'path': sys.argv[2]}}\n"
        "NotebookClient(notebook, timeout=600, resources=where).execute()\n"
        "nbformat.write(notebook, sys.argv[3])\n"
    )
    began = time.monotonic()
    command = [python, "-c", program, copy, NOTEBOOK.parent, executed]
    subprocess.run(command, env=settings, check=True)
    return time.monotonic() - began


def report(notebook: dict, seconds: float) -> int:
    """Prints what came out; how many things are not as they should be."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in cells for output in cell["outputs"]]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    text = "\n".join("".join(output.get("data", {}).get("text/plain", "")) for output in outputs)
    stored = json.loads(NOTEBOOK.read_text())
    checks = {
        f"{len(cells)} cells executed": all(cell["execution_count"] for cell in cells),
        "8 networks trained": text.count("SUCCEEDED") == 8,
        "2 figures drawn": len(pictures) == 2,
        "photos labelled": any(photo.name in text for photo in PHOTOS.iterdir()),
        "nothing on standard error": not any(o.get("name") == "stderr" for o in outputs),
        "stored without outputs": not any(cell.get("outputs") for cell in stored["cells"]),
    }
    for what, holds in checks.items():
        print(f"{'pass' if holds else 'FAIL'}  {what}")
    print(f"{seconds:.1f} s in all")
    return sum(not holds for holds in checks.values())


if __name__ == "__main__":
    sys.exit(main())
