"""What goes wrong, in the words of the program."""

import re

# The driver writes the code, the protocol and the call around a server's message.
_DECORATED = re.compile(
    r"\A(?:[A-Z_]+: )?\[FlightSQL\] (?P<message>.*?)"
    r"(?: \([A-Z][A-Za-z]+; [^()]*\))?(?:\. Vendor code: -?\d+)?\.?\Z",
    re.DOTALL,
)


class Error(Exception):
    """A statement or a server failed; the text says why and often what to do."""


def plain(error: BaseException) -> Error:
    """The server's own message, without what a driver adds to it."""
    text = str(error)
    found = _DECORATED.match(text)
    return Error(found["message"] if found else text)
