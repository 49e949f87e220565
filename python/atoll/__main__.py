"""`python -m atoll` is the program `atoll`."""

import os
import sys

from ._binary import find_binary


def main() -> None:
    """Becomes the program."""
    binary = find_binary()
    os.execv(binary, [binary, *sys.argv[1:]])


if __name__ == "__main__":
    main()
