"""The Python module against the program that ATOLL names.

    ATOLL=target/debug/atoll PYTHONPATH=python python3 -m unittest discover python/tests

Needs adbc-driver-flightsql, pyarrow, pandas, polars and ipython, and no network.
"""

import os
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import atoll
import pandas
import polars
import pyarrow
from IPython.core.interactiveshell import InteractiveShell

POINTS = {"x": [1.0, 2.0, 3.0], "name": ["a", None, "c"]}


class Connected(unittest.TestCase):
    """Tests that share a server and its storage."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory()
        cls.storage = Path(cls.folder.name) / "storage"
        cls.con = atoll.connect(storage=cls.storage)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.con.close()
        cls.folder.cleanup()

    def fails(self, statement: str, *parts: str) -> None:
        with self.assertRaises(atoll.Error) as caught:
            self.con.sql(statement)
        for part in parts:
            self.assertIn(part, str(caught.exception))
        # What the driver adds to a message is no part of it.
        self.assertNotIn("FlightSQL", str(caught.exception))
        self.assertNotIn("DoGet", str(caught.exception))


class Rows(Connected):
    def test_rows_in_every_form(self) -> None:
        rows = self.con.sql("SELECT 1 AS n, 'x' AS s UNION ALL SELECT 2, NULL ORDER BY n")
        self.assertEqual(rows.fetchall(), [(1, "x"), (2, None)])
        self.assertEqual(list(rows), rows.fetchall())
        self.assertEqual((len(rows), rows.columns), (2, ["n", "s"]))
        self.assertEqual(rows.arrow().column("n").to_pylist(), [1, 2])
        self.assertEqual(rows.pandas()["n"].tolist(), [1, 2])
        self.assertEqual(rows.df().shape, (2, 2))
        self.assertEqual(rows.polars()["n"].to_list(), [1, 2])
        self.assertEqual(polars.DataFrame(rows).shape, (2, 2))

    def test_numbers_are_aligned_and_null_is_shown(self) -> None:
        rows = self.con.sql("SELECT 1 AS number, 'x' AS s UNION ALL SELECT 200, NULL ORDER BY 1")
        self.assertEqual(repr(rows), "number  s\n     1  x\n   200  NULL")

    def test_parameters(self) -> None:
        rows = self.con.sql("SELECT ? + 1 AS n, ? AS s", (41, "it's"))
        self.assertEqual(rows.fetchall(), [(42, "it's")])

    def test_statements_without_rows(self) -> None:
        self.assertEqual(len(self.con.sql("CREATE VIEW no_rows AS SELECT 1 AS a")), 0)
        self.assertEqual(self.con.sql("SELECT a FROM no_rows").fetchall(), [(1,)])

    def test_more_rows_than_memory_holds_come_in_batches(self) -> None:
        reader = self.con.batches("SELECT value FROM generate_series(1, 300000)")
        sizes = [batch.num_rows for batch in reader]
        self.assertEqual(sum(sizes), 300_000)
        self.assertGreater(len(sizes), 1)
        # The cursor behind it closes when nobody holds the reader.
        del reader

    def test_html_is_escaped_and_shows_pictures(self) -> None:
        photo = Path(__file__).parents[2] / "sql/data/photos/horse.png"
        rows = self.con.sql(f"SELECT '<b>' AS text, content FROM read_blob('{photo}')")
        text = rows._repr_html_()
        self.assertIn("&lt;b&gt;", text)
        self.assertNotIn("<b>", text)
        self.assertIn('src="data:image/png;base64,', text)


class Errors(Connected):
    def test_a_message_is_the_programs(self) -> None:
        self.fails("SELECT no_such FROM (SELECT 1 AS a)", "no_such", "line 1, column 8")
        # This one fails while rows are fetched.
        self.fails(
            "SELECT image_decode(arrow_cast(s, 'Binary')) FROM (VALUES ('a')) AS t(s)",
            "not an image",
            "try_image_decode",
        )

    def test_a_closed_connection_says_so(self) -> None:
        with atoll.connect(storage=self.storage) as con:
            pass
        self.assertTrue(con.closed)
        with self.assertRaisesRegex(atoll.Error, "connect again"):
            con.sql("SELECT 1")
        con.close()

    def test_what_the_server_says_at_its_start_is_the_error(self) -> None:
        with self.assertRaisesRegex(atoll.Error, "nope://x"):
            atoll.connect(storage="nope://x")
        with self.assertRaisesRegex(atoll.Error, "/no/such/program"):
            atoll.connect(binary="/no/such/program")

    def test_a_program_that_is_not_there(self) -> None:
        before = os.environ["ATOLL"]
        os.environ["ATOLL"] = "/no/such/program"
        try:
            with self.assertRaisesRegex(atoll.Error, "ATOLL names no program"):
                atoll.find_binary()
        finally:
            os.environ["ATOLL"] = before


class Frames(Connected):
    def test_frames_of_every_kind_become_tables(self) -> None:
        frames = {
            "pandas": pandas.DataFrame(POINTS),
            "polars": polars.DataFrame(POINTS),
            "arrow": pyarrow.table(POINTS),
            "batch": pyarrow.RecordBatch.from_pydict(POINTS),
            "rows": self.con.sql("SELECT 1.0 AS x, 'a' AS name"),
        }
        for kind, frame in frames.items():
            with self.subTest(kind):
                self.con.register("points", frame)
                rows = self.con.sql("SELECT x, name FROM points ORDER BY x").fetchall()
                self.assertEqual(rows[0], (1.0, "a"))
                if kind != "rows":
                    self.assertEqual(rows[1], (2.0, None))
        self.con.unregister("points")
        self.fails("SELECT * FROM points", "points")

    def test_a_frame_without_rows(self) -> None:
        empty = pyarrow.table({"x": pyarrow.array([], pyarrow.int64())})
        self.con.register("empty", empty)
        self.assertEqual(self.con.sql("SELECT * FROM empty").columns, ["x"])

    def test_an_index_with_a_name_is_a_column(self) -> None:
        frame = pandas.DataFrame(POINTS).set_index("name")
        self.con.register("indexed", frame)
        columns = self.con.sql("SELECT * FROM indexed").columns
        self.assertEqual(sorted(columns), ["name", "x"])

    def test_a_table_of_somebody_else_is_not_replaced(self) -> None:
        self.con.sql("CREATE TABLE theirs AS SELECT 1 AS a")
        with self.assertRaisesRegex(atoll.Error, "replace=True"):
            self.con.register("theirs", polars.DataFrame(POINTS))
        self.assertEqual(self.con.sql("SELECT * FROM theirs").fetchall(), [(1,)])
        self.con.register("theirs", polars.DataFrame(POINTS), replace=True)
        self.assertEqual(len(self.con.sql("SELECT * FROM theirs")), 3)

    def test_what_is_no_frame(self) -> None:
        with self.assertRaisesRegex(atoll.Error, "a int is no frame"):
            self.con.register("number", 3)

    def test_registered_tables_go_with_the_connection_unless_kept(self) -> None:
        with atoll.connect(storage=self.storage) as con:
            con.register("goes", polars.DataFrame(POINTS))
            con.register("stays", polars.DataFrame(POINTS))
            con.keep("stays")
        self.assertEqual(len(self.con.sql("SELECT * FROM stays")), 3)
        self.fails("SELECT * FROM goes", "goes")


class Servers(unittest.TestCase):
    def test_the_server_ends_with_its_process(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            program = (
                "import atoll, os, sys\n"
                f"con = atoll.connect(storage={folder!r})\n"
                "print(con._server.process_id, flush=True)\n"
                # No clean end: neither close nor an exit handler runs.
                "os.kill(os.getpid(), 9)\n"
            )
            killed = subprocess.run(
                [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
            )
            process = int(killed.stdout)
            deadline = time.monotonic() + 60
            while Path(f"/proc/{process}").exists() and not is_zombie(process):
                self.assertLess(time.monotonic(), deadline, "the server still runs")
                time.sleep(0.05)

    def test_the_module_runs_the_program(self) -> None:
        said = subprocess.run(
            [sys.executable, "-m", "atoll", "--version"], capture_output=True, text=True
        )
        self.assertRegex(said.stdout, r"\Aatoll \d+\.\d+\.\d+\n\Z")


def is_zombie(process: int) -> bool:
    """Whether a process has ended and nobody has asked how."""
    try:
        return ") Z " in Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return True


class Notebooks(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.shell = InteractiveShell.instance()
        self.shell.run_line_magic("load_ext", "atoll")
        self.con = self.shell.run_line_magic("atoll", f"--storage {self.folder.name}")

    def tearDown(self) -> None:
        self.con.close()
        self.shell.run_line_magic("unload_ext", "atoll")
        self.folder.cleanup()

    def test_cells_are_statements(self) -> None:
        rows = self.shell.run_cell_magic("sql", "", "SELECT 1 AS a\nUNION ALL SELECT 2")
        self.assertEqual(len(rows), 2)
        self.assertEqual(self.shell.run_line_magic("sql", "SELECT 3").fetchall(), [(3,)])
        self.assertIsNone(self.shell.run_cell_magic("sql", "kept", "SELECT 4 AS b"))
        self.assertEqual(self.shell.user_ns["kept"].fetchall(), [(4,)])

    def test_a_mistake_says_how_it_is_written(self) -> None:
        with self.assertRaisesRegex(atoll.Error, "--storage FOLDER"):
            self.shell.run_line_magic("atoll", "--storge x")
        with self.assertRaisesRegex(atoll.Error, "name of a variable"):
            self.shell.run_cell_magic("sql", "a b", "SELECT 1")


if __name__ == "__main__":
    unittest.main()
