#!/usr/bin/env python3
"""Records a terminal with two statements as an SVG that plays by itself.

    python3 docs/images/record.py ATOLL

ATOLL is the program; run it in the root of the repository. The statements really run, in
a storage of their own, and what they print is what the picture shows, after as long as it
took. Writes docs/images/recording.svg. Needs Python 3 and nothing else.
"""

import html
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAIN = """\
SELECT learning_rate, hidden, t.status,
       round(t.validation_accuracy, 3) AS accuracy
FROM (
    SELECT *, train('sql/data/digits.parquet', {
        learning_rate: learning_rate, hidden: hidden,
        filters: [8, 16], epochs: 5
    }) AS t
    FROM (SELECT unnest([0.01, 0.1, 1e6]) AS learning_rate)
    CROSS JOIN (SELECT unnest([32, 64]) AS hidden)
)
ORDER BY accuracy DESC NULLS LAST, hidden;"""

LABEL = """\
SELECT filename, labels[1].label AS label,
       round(labels[1].score, 2) AS score
FROM (
    SELECT filename,
        classify('sql/data/efficientnet-lite0.onnx', content, 5) AS labels
    FROM read_blob('sql/data/photos/*.png')
)
ORDER BY score DESC;"""

WIDTH, LINE, LEFT, TOP = 660, 17, 14, 44
# Seconds: a typed line, and the pause before the next statement.
TYPED, PAUSE = 0.12, 1.2

STYLE = """\
text { font: 13px ui-monospace, 'DejaVu Sans Mono', Menlo, monospace; white-space: pre; }
.typed { fill: #e6edf3; } .printed { fill: #9fd3a8; } .took { fill: #8b949e; }
@media (prefers-reduced-motion: no-preference) {
  text { animation: appear 1ms both; }
  @keyframes appear { from { opacity: 0 } to { opacity: 1 } }
}"""


def run(atoll: str, storage: str, sql: str) -> tuple[list[str], float]:
    """What a statement prints, and the seconds that it took."""
    start = time.monotonic()
    command = [atoll, "--quiet", "--storage", storage, "-c", sql]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    return ended.stdout.splitlines(), time.monotonic() - start


def record(atoll: str) -> list[tuple[str, str, float]]:
    """Lines with their class and the second at which they appear."""
    lines, now = [], 0.3
    with tempfile.TemporaryDirectory() as storage:
        for sql in (TRAIN, LABEL):
            for n, line in enumerate(sql.splitlines()):
                prompt = "atoll> " if n == 0 else "       "
                lines.append((prompt + line, "typed", now))
                now += TYPED
            printed, seconds = run(atoll, storage, sql)
            now += seconds
            lines += [(line, "printed", now) for line in printed]
            lines.append((f"Time: {seconds:.2f} s", "took", now))
            lines.append(("", "took", now))
            now += PAUSE
    return lines[:-1]


def svg(lines: list[tuple[str, str, float]]) -> str:
    height = TOP + LINE * len(lines) + 8
    title = "Two statements in a terminal: six networks trained, photos labelled"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">',
        f"<title>{title}</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#0d1117"/>',
    ]
    for n, color in enumerate(("#ff5f57", "#febc2e", "#28c840")):
        parts.append(f'<circle cx="{20 + 18 * n}" cy="18" r="5.5" fill="{color}"/>')
    for n, (line, kind, at) in enumerate(lines):
        if line:
            parts.append(
                f'<text class="{kind}" x="{LEFT}" y="{TOP + LINE * n}" '
                f'style="animation-delay:{at:.2f}s">{html.escape(line)}</text>'
            )
    return "\n".join(parts + ["</svg>", ""])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    target = Path("docs/images/recording.svg")
    target.write_text(svg(record(sys.argv[1])))
    print(f"wrote {target}, {target.stat().st_size} bytes")
