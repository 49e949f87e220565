"""The rows that a statement returned."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

# What a notebook shows of a result.
_SHOWN_ROWS = 20
_SHOWN_TEXT = 120
# Pictures are part of the notebook's file, so there are few, and none is large.
_SHOWN_PICTURES = 12
_PICTURE_BYTES = 1 << 20
_PICTURES = {
    b"\xff\xd8\xff": "jpeg",
    b"\x89PNG": "png",
    b"GIF8": "gif",
}
_STYLE = "text-align: right; font-variant-numeric: tabular-nums"


class Rows:
    """The rows of a statement, in memory as Arrow columns.

    Any library that reads Arrow's C stream takes it as it is, such as
    `polars.DataFrame(rows)`.
    """

    def __init__(self, table: pyarrow.Table) -> None:
        self._table = table

    def arrow(self) -> pyarrow.Table:
        """As a pyarrow table, without a copy."""
        return self._table

    def pandas(self) -> pandas.DataFrame:
        """As a pandas data frame."""
        return self._table.to_pandas()

    def polars(self) -> polars.DataFrame:
        """As a polars data frame."""
        import polars

        frame = polars.from_arrow(self._table)
        assert isinstance(frame, polars.DataFrame)
        return frame

    # As DuckDB calls them.
    df = pandas
    pl = polars

    def fetchall(self) -> list[tuple[Any, ...]]:
        """As a list of tuples."""
        columns = [column.to_pylist() for column in self._table.columns]
        return list(zip(*columns, strict=True)) if columns else []

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self._table.column_names)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.fetchall())

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        head = self._table.slice(0, _SHOWN_ROWS)
        cells = [[_text(value.as_py()) for value in column] for column in head.columns]
        widths = [
            max(map(len, [name, *column]))
            for name, column in zip(self.columns, cells, strict=True)
        ]
        right = [_is_number(field.type) for field in self._table.schema]
        lines = []
        for line in [tuple(self.columns), *zip(*cells, strict=True)]:
            padded = [
                text.rjust(width) if is_right else text.ljust(width)
                for text, width, is_right in zip(line, widths, right, strict=True)
            ]
            lines.append("  ".join(padded).rstrip())
        return "\n".join([*lines, *self._more()])

    def _more(self) -> list[str]:
        return [f"{len(self)} rows"] if len(self) > _SHOWN_ROWS else []

    def _repr_html_(self) -> str:
        head = self._table.slice(0, _SHOWN_ROWS)
        right = [_is_number(field.type) for field in self._table.schema]
        styles = [f' style="{_STYLE}"' if is_right else "" for is_right in right]
        names = zip(self.columns, styles, strict=True)
        header = "".join(f"<th{style}>{html.escape(name)}</th>" for name, style in names)
        pictures = _Pictures()
        lines = []
        for row in zip(*head.columns, strict=True):
            cells = (
                f"<td{style}>{pictures.html(value.as_py())}</td>"
                for value, style in zip(row, styles, strict=True)
            )
            lines.append(f"<tr>{''.join(cells)}</tr>")
        more = "".join(f"<p>{line}</p>" for line in self._more())
        body = "".join(lines)
        return (
            f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>{more}"
        )


class _Pictures:
    """Cells as HTML, of which the first few images are pictures."""

    def __init__(self) -> None:
        self._left = _SHOWN_PICTURES

    def html(self, value: object) -> str:
        if isinstance(value, bytes) and self._left and len(value) <= _PICTURE_BYTES:
            for start, kind in _PICTURES.items():
                if value.startswith(start):
                    self._left -= 1
                    data = base64.b64encode(value).decode()
                    source = f"data:image/{kind};base64,{data}"
                    return f'<img src="{source}" alt="" style="max-height: 96px">'
        return html.escape(_text(value))


def _is_number(data_type: pyarrow.DataType) -> bool:
    import pyarrow.types as types

    return bool(
        types.is_integer(data_type)
        or types.is_floating(data_type)
        or types.is_decimal(data_type)
    )


def _text(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = " ".join(str(value).split("\n"))
    return text if len(text) <= _SHOWN_TEXT else text[: _SHOWN_TEXT - 1] + "…"
