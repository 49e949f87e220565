"""Deep learning in SQL, from Python.

    import atoll

    with atoll.connect() as con:
        con.register("points", frame)
        best = con.sql("SELECT * FROM tune('points', {...}, {trials: 20})").pandas()

`connect` starts a server of the program that came with this package, on the loopback and
for this process alone, and ends it. What is trained and stored stays in the storage.
"""

from importlib.metadata import PackageNotFoundError, version

from ._binary import find_binary
from ._connection import Connection, connect
from ._errors import Error
from ._magic import load_ipython_extension, unload_ipython_extension
from ._rows import Rows

try:
    __version__ = version("atoll")
except PackageNotFoundError:
    # Run from a checkout.
    __version__ = "0"

__all__ = [
    "Connection",
    "Error",
    "Rows",
    "connect",
    "find_binary",
    "load_ipython_extension",
    "unload_ipython_extension",
]
