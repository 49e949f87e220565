"""Where the program is."""

import os
import shutil
import sysconfig
from pathlib import Path

from ._errors import Error


def find_binary() -> str:
    """The path of the program `atoll`.

    The variable ATOLL wins, then the program beside this Python, where `pip install` put
    it, then the first one in PATH.
    """
    named = os.environ.get("ATOLL")
    if named:
        if not os.access(named, os.X_OK):
            raise Error(f"ATOLL names no program: {named}; correct or unset it")
        return named
    schemes = sysconfig.get_scheme_names()
    folders = [sysconfig.get_path("scripts")]
    if "posix_user" in schemes:
        folders.append(sysconfig.get_path("scripts", "posix_user"))
    for folder in folders:
        program = Path(folder) / "atoll"
        if os.access(program, os.X_OK):
            return str(program)
    found = shutil.which("atoll")
    if found is None:
        raise Error("the program atoll was not found; install it, or set ATOLL to its path")
    return found
