"""What stored tables promise: races, kills, many commits, and the speed of plain files.

    python3 benches/tables/run.py ATOLL [--part creators ..] [--kills 200] [--seed 1]
        [--save benches/runs/DATE-MACHINE]

ATOLL is the binary. Needs Linux and nothing beside Python. The parts:

    creators  4 processes create one table, 2 overwrite an empty one: one set of rows
    writers   8 processes insert, INSERT beside CREATE OR REPLACE, 4 merge the same keys
    kills     SIGKILL around the commits of INSERT, CREATE OR REPLACE and MERGE, half of
              them where the log gets a checkpoint; each is run again under its write_id
    commits   300 INSERTs of a row, in one session and by a process each
    speed     200 files of a table against the same files as a folder, one file on all
              cores, 10^6 rows of a table against a folder

Every line is a JSON object; the first of a part says machine, versions and command, and
one with `good` false is a broken promise. --save writes the lines to tables_PART.jsonl in
that folder, too. Exit code 1 if a promise was broken. The speeds of a development build mean something
only against each other, and anything else on the machine disturbs them.
"""

import argparse
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHECKPOINT_INTERVAL = 10


class Report:
    """The lines of a part."""

    def __init__(self, part, options):
        self.file = open(f"{options.save}/tables_{part}.jsonl", "w") if options.save else None
        self.broken = 0
        command = [options.atoll, "--version"]
        version = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        self.line(
            machine=f"{processor()}, {os.cpu_count()} cores, Linux {platform.release()}",
            atoll=version.strip(), python=platform.python_version(),
            command=f"run.py ATOLL --part {part} --races {options.races} --kills "
            f"{options.kills} --seed {options.seed}",
            date=time.strftime("%Y-%m-%d %H:%M"), load=round(os.getloadavg()[0], 1),
        )

    def line(self, **fields):
        self.broken += fields.get("good") is False
        text = json.dumps(fields)
        print(text, flush=True)
        if self.file:
            print(text, file=self.file, flush=True)


class Atoll:
    """The binary with a storage."""

    def __init__(self, binary, storage):
        self.binary, self.storage = binary, str(storage)

    def command(self, *arguments):
        return [self.binary, "--storage", self.storage, "--format", "ndjson", "-q", *arguments]

    def start(self, *arguments, **options):
        return subprocess.Popen(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def rows(self, sql):
        """The rows of some statements, in one process."""
        done = subprocess.run(
            self.command("-f", "-"), input=sql, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{sql[:300]}: {done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def log(self, table):
        return Path(self.storage, "tables", table, "_delta_log")

    def version(self, table):
        """The newest version, by the names in the log."""
        return max(int(f.stem) for f in self.log(table).glob("*.json") if f.stem.isdigit())


class Session:
    """A process that is given one statement after the other, each with a row as answer."""

    def __init__(self, atoll):
        self.process = subprocess.Popen(
            atoll.command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.ask("SELECT 1 AS ready")

    def send(self, sql):
        self.process.stdin.write(sql + ";\n")
        self.process.stdin.flush()

    def ask(self, sql):
        """The first row of the answer; None if the statement failed, which ends all."""
        self.send(sql)
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def seconds(self, sql):
        start = time.perf_counter()
        answer = self.ask(sql)
        assert answer is not None, sql
        return time.perf_counter() - start

    def close(self):
        out, err = self.process.communicate()
        return self.process.returncode, out, err


def at_once(atoll, statements):
    """Runs a statement in a session each, all of which are open before the first starts."""
    sessions = [Session(atoll) for _ in statements]
    for session, sql in zip(sessions, statements):
        session.send(sql)
    return [session.close() for session in sessions]


def creators(atoll, report, options):
    columns = "{who} AS who, value AS n FROM generate_series(1, 1000)"
    for number in range(options.races):
        name = f"race_{number}"
        ended = at_once(
            atoll, [f"CREATE TABLE {name} AS SELECT {columns.format(who=w)}" for w in range(4)]
        )
        won = [who for who, (code, _, _) in enumerate(ended) if code == 0]
        said = sorted({err.strip() for code, _, err in ended if code})
        [found] = atoll.rows(f"SELECT count(*) AS rows, min(who) AS a, max(who) AS b FROM {name}")
        good = len(won) == 1 and found == {"rows": 1000, "a": won[0], "b": won[0]}
        good &= all("exists already" in text for text in said)
        report.line(part="creators", way="CREATE", won=won, **found, said=said[:1], good=good)
    for way in ["CREATE OR REPLACE TABLE", "CREATE TABLE IF NOT EXISTS"]:
        for number in range(options.races):
            name = f"{way.split()[-1].lower()}_{number}"
            sql = f"{way} {name} AS SELECT "
            ended = at_once(atoll, [sql + columns.format(who=w) for w in range(4)])
            codes = [code for code, _, _ in ended]
            said = sorted({err.strip() for code, _, err in ended if code})
            [found] = atoll.rows(f"SELECT count(*) AS rows, min(who) AS a, max(who) AS b FROM {name}")
            good = codes == [0] * 4 and found["rows"] == 1000 and found["a"] == found["b"]
            report.line(part="creators", way=way, codes=codes, **found, said=said[:1], good=good)
    for number in range(options.races):
        name = f"empty_{number}"
        atoll.rows(f"CREATE TABLE {name} (who BIGINT, n BIGINT)")
        sql = f"INSERT OVERWRITE {name} SELECT "
        ended = at_once(atoll, [sql + columns.format(who=w) for w in range(2)])
        codes = [code for code, _, _ in ended]
        [found] = atoll.rows(f"SELECT count(*) AS rows, min(who) AS a, max(who) AS b FROM {name}")
        good = codes == [0, 0] and found["rows"] == 1000 and found["a"] == found["b"]
        report.line(part="creators", way="INSERT OVERWRITE", codes=codes, **found, good=good)


def writers(atoll, report, options):
    atoll.rows("CREATE TABLE many (who BIGINT, n BIGINT)")
    start = time.perf_counter()
    inserts = ["; ".join(f"INSERT INTO many VALUES ({w}, {n})" for n in range(25)) for w in range(8)]
    ended = at_once(atoll, inserts)
    [found] = atoll.rows(
        "SELECT count(*) AS rows, count(DISTINCT who * 25 + n) AS different FROM many"
    )
    errors = [err.strip() for code, _, err in ended if code]
    report.line(
        part="writers", way="8 x 25 INSERT", **found, errors=errors, version=atoll.version("many"),
        seconds=round(time.perf_counter() - start, 1),
        good=found == {"rows": 200, "different": 200} and not errors,
    )
    for columns in ["the same columns", "other columns"]:
        beside_replace(atoll, report, columns)
    merges(atoll, report, options)


def beside_replace(atoll, report, columns):
    """Three processes insert while a fourth replaces the table again and again."""
    name = f"beside_{len(columns)}"
    other = columns == "other columns"
    base = f"CREATE OR REPLACE TABLE {name} AS SELECT -1 AS who, value AS n"
    source = "FROM generate_series(1, 100)"
    atoll.rows(f"{base} {source}")
    replacing = "; ".join(
        f"{base}{f', {turn} AS c{turn}' if other else ''} {source}" for turn in range(12)
    )
    sessions = [Session(atoll) for _ in range(4)]
    sessions[3].send(replacing)
    acknowledged, said, number = [], set(), 0
    open_sessions = dict(enumerate(sessions[:3]))
    for number in range(30):
        for who, session in list(open_sessions.items()):
            session.send(f"INSERT INTO {name} (who, n) VALUES ({who}, {number})")
        for who, session in list(open_sessions.items()):
            if session.process.stdout.readline():
                acknowledged.append((who, number))
                continue
            said.add(session.close()[2].strip())
            open_sessions[who] = Session(atoll)
    for session in open_sessions.values():
        session.close()
    replaced = sessions[3].close()
    # Each version is the one before it and a row, or the 100 rows of a replacement.
    count = atoll.version(name) + 1
    query = "SELECT count(*) AS rows, count(*) FILTER (WHERE who < 0) AS base, " \
        "string_agg(who || '/' || n, ' ' ORDER BY n, who) FILTER (WHERE who >= 0) AS added "
    versions = atoll.rows(";".join(f"{query} FROM {name} VERSION AS OF {v}" for v in range(count)))
    inserted, torn = [], 0
    before = set()
    for found in versions:
        added = (found["added"] or "").split()
        torn += found["base"] != 100 or len(added) != len(set(added))
        new = set(added) - before
        torn += len(new) > 1 or (not before <= set(added) and bool(added))
        inserted += new
        before = set(added)
    told = [f"{who}/{number}" for who, number in acknowledged]
    report.line(
        part="writers", way=f"INSERT beside CREATE OR REPLACE with {columns}", versions=count,
        replaced=replaced[0], acknowledged=len(told), inserted=len(inserted), torn=torn,
        refused=90 - len(told), said=sorted(said)[:2],
        good=sorted(told) == sorted(inserted) and not torn and replaced[0] == 0
        and (other or len(told) == 90) and (not other or len(told) > 0)
        and all("other columns" in text or "column" in text for text in said),
    )


def merges(atoll, report, options):
    for number in range(max(1, options.races // 2)):
        name = f"merged_{number}"
        atoll.rows(f"CREATE TABLE {name} (k BIGINT, merges BIGINT)")
        sql = (
            f"MERGE INTO {name} USING (SELECT value AS k FROM generate_series(1, 1000)) AS new "
            f"ON {name}.k = new.k WHEN MATCHED THEN UPDATE SET merges = {name}.merges + 1 "
            "WHEN NOT MATCHED THEN INSERT (k, merges) VALUES (new.k, 1)"
        )
        ended = at_once(atoll, ["; ".join([sql] * 3)] * 4)
        [found] = atoll.rows(
            "SELECT count(*) AS rows, count(DISTINCT k) AS keys, min(merges) AS least, "
            f"max(merges) AS most FROM {name}"
        )
        report.line(
            part="writers", way="4 x 3 MERGE of the same keys", **found,
            errors=[err.strip() for code, _, err in ended if code],
            good=found == {"rows": 1000, "keys": 1000, "least": 12, "most": 12},
        )


class Killed:
    """A kind of statement that is killed; `state` is what the table's rows come to."""

    def __init__(self, name, first):
        self.name, self.first = name, first


class Insert(Killed):
    check = "SELECT count(*) AS rows, sum(round) AS rounds, sum(n) AS sum FROM {t}"

    def sql(self, table, round, rows):
        return f"INSERT INTO {table} {values(round, rows)}"

    def after(self, state, round, rows):
        return {
            "rows": state["rows"] + rows,
            "rounds": state["rounds"] + round * rows,
            "sum": state["sum"] + rows * (rows + 1) // 2,
        }


class Replace(Insert):
    def sql(self, table, round, rows):
        return f"CREATE OR REPLACE TABLE {table} AS {values(round, rows)}"

    def after(self, state, round, rows):
        return {"rows": rows, "rounds": round * rows, "sum": rows * (rows + 1) // 2}


class Merge(Killed):
    """Keys up to the number of rows are there already or are added."""

    check = "SELECT count(*) AS rows, count(DISTINCT n) AS keys, sum(round) AS rounds FROM {t}"

    def sql(self, table, round, rows):
        return (
            f"MERGE INTO {table} USING ({values(round, rows)}) AS new ON {table}.n = new.n "
            f"WHEN MATCHED THEN UPDATE SET round = {table}.round + new.round "
            "WHEN NOT MATCHED THEN INSERT *"
        )

    def after(self, state, round, rows):
        most = max(state["rows"], rows)
        return {"rows": most, "keys": most, "rounds": state["rounds"] + round * rows}


def values(round, rows):
    return (
        f"SELECT {round} AS round, value AS n, sha256(CAST(value AS VARCHAR)) AS hash "
        f"FROM generate_series(1, {rows})"
    )


STATEMENTS = [Insert("INSERT", 1000), Replace("CREATE OR REPLACE", 1000), Merge("MERGE", 30_000)]


def kills(atoll, report, options):
    for statement in STATEMENTS:
        chance = random.Random(options.seed)
        kill_one_kind(atoll, report, options, statement, chance)


def kill_one_kind(atoll, report, options, statement, chance):
    table = "killed_" + statement.name.split()[-1].lower()
    check = statement.check.format(t=table)
    show = f"SELECT count(*) AS tables FROM information_schema.tables WHERE table_name = '{table}'"

    def script(round, rows, id):
        return f"SET atoll.write_id = '{id}'; {statement.sql(table, round, rows)}"

    def took(rows):
        atoll.rows(f"CREATE OR REPLACE TABLE timed AS {values(0, statement.first)}")
        start = time.perf_counter()
        atoll.rows(statement.sql("timed", 1, rows))
        return time.perf_counter() - start

    small, large = (min(took(rows) for _ in range(2)) for rows in [1000, 100_000])
    [state] = atoll.rows(f"CREATE TABLE {table} AS {values(0, statement.first)}; {check}")
    seen = {
        "killed": 0, "old": 0, "new": 0, "acknowledged": 0, "unheard": 0, "at_checkpoint": 0,
        "new_at_checkpoint": 0, "wrong": 0,
    }
    for round in range(1, options.kills + 1):
        if round % 20 == 0:
            atoll.rows(f"OPTIMIZE {table}")
        if chance.random() < 0.5:
            state = fill(atoll, statement, table, state)
        version = atoll.version(table)
        at_checkpoint = (version + 1) % CHECKPOINT_INTERVAL == 0
        rows = int(1000 * 100 ** chance.random())
        id = f"{table}-{round}"
        job = atoll.start("-c", script(round, rows, id))
        wait_to_kill(atoll, chance, job, table, version, small + (large - small) * rows / 1e5)
        killed = job.poll() is None
        job.send_signal(signal.SIGKILL)
        out, err = job.communicate()
        heard = job.returncode == 0 or "count" in out
        new = statement.after(state, round, rows)
        wrong = []
        try:
            found, shown = atoll.rows(f"{check}; {show}")
            committed = found == new
            if found not in (state, new) or (heard and not committed):
                wrong.append({"found": found, "old": state, "new": new})
            if shown != {"tables": 1}:
                wrong.append({"shown": shown})
            between = atoll.version(table)
            *_, count, again = atoll.rows(f"SHOW TABLES; {script(round, rows, id)}; {check}")
            if again != new:
                wrong.append({"again": again, "new": new})
            # A replacement that is run again replaces the rows by the same.
            if committed and statement.name != "CREATE OR REPLACE":
                if atoll.version(table) != between or count != {"count": 0}:
                    wrong.append({"twice": atoll.version(table), "count": count})
        except RuntimeError as error:
            wrong.append({"error": str(error)})
            committed = None
        seen["killed"] += killed
        seen["new" if committed else "old"] += 1
        seen["acknowledged"] += heard
        seen["unheard"] += bool(committed) and not heard
        seen["at_checkpoint"] += at_checkpoint
        seen["new_at_checkpoint"] += at_checkpoint and bool(committed) and killed
        seen["wrong"] += bool(wrong)
        for what in wrong:
            report.line(
                part="kills", way=statement.name, round=round, rows=rows, version=version,
                said=err.strip()[-300:], **what, good=False,
            )
        state = new
    checkpoints = len(list(atoll.log(table).glob("*.checkpoint*.parquet")))
    report.line(
        part="kills", way=statement.name, rounds=options.kills, **seen, checkpoints=checkpoints,
        good=seen["wrong"] == 0,
    )
    sweep(atoll, report, statement, table, check, state)


def fill(atoll, statement, table, state):
    """Commits until the next one gets a checkpoint."""
    missing = (CHECKPOINT_INTERVAL - 2 - atoll.version(table)) % CHECKPOINT_INTERVAL
    if missing == 0:
        return state
    inserts = []
    for _ in range(missing):
        if isinstance(statement, Merge):
            inserts.append(statement.sql(table, 0, 1))
            state = statement.after(state, 0, 1)
        else:
            inserts.append(f"INSERT INTO {table} {values(0, 1)}")
            state = Insert.after(statement, state, 0, 1)
    atoll.rows("; ".join(inserts))
    return state


def wait_to_kill(atoll, chance, job, table, version, seconds):
    """Returns at a moment from before the commit to after it."""
    way = chance.random()
    if way < 0.35:
        time.sleep(chance.uniform(0, 1.15 * seconds))
        return
    if way < 0.6:
        # As soon as there is a new file of rows, or one under a temporary name.
        folder = atoll.log(table).parent
        files = len(os.listdir(folder))
        is_there = lambda: len(os.listdir(folder)) > files
        later = chance.uniform(0, 0.01)
    else:
        # As soon as the commit is there, or later: within the checkpoint, or after all.
        commit = atoll.log(table) / f"{version + 1:020}.json"
        is_there = commit.exists
        later = 0 if way < 0.7 else chance.uniform(0, 0.03 if way < 0.85 else 0.15)
    while job.poll() is None and not is_there():
        time.sleep(0.0002)
    time.sleep(later)


def sweep(atoll, report, statement, table, check, state):
    folder = Path(atoll.storage, "tables", table)
    numbered = lambda: [f for f in folder.rglob("*#*") if f.is_file()]
    parquet = lambda: [f for f in folder.glob("*.parquet")]
    by_kills = len(numbered())
    (folder / "part-00000-left.parquet#1").write_bytes(b"PAR1")
    before = len(parquet())
    dry, vacuumed = atoll.rows(f"VACUUM {table} RETAIN 0 HOURS DRY RUN; VACUUM {table} RETAIN 0 HOURS")
    found, detail, again = atoll.rows(
        f"{check}; DESCRIBE DETAIL {table}; VACUUM {table} RETAIN 0 HOURS"
    )
    left, left_numbered = len(parquet()), len(numbered())
    report.line(
        part="kills", way=f"VACUUM after {statement.name}", files_before=before,
        numbered_by_kills=by_kills, dry_run=dry["files_deleted"], deleted=vacuumed["files_deleted"],
        files_after=left, files_of_table=detail["files"], numbered_after=left_numbered,
        rows_right=found == state, deleted_again=again["files_deleted"],
        good=left == detail["files"] and not left_numbered and found == state
        and dry == vacuumed and again["files_deleted"] == 0,
    )


def commits(atoll, report, options):
    atoll.rows("CREATE TABLE one_session (n BIGINT, name TEXT)")
    atoll.rows("CREATE TABLE processes (n BIGINT, name TEXT)")
    atoll.rows("CREATE TABLE single AS SELECT 1 AS n, 'a' AS name")
    session = Session(atoll)
    taken = [session.seconds(f"INSERT INTO one_session VALUES ({n}, 'a')") for n in range(300)]
    session.close()
    commits_line(atoll, report, "one_session", taken)
    taken = []
    for n in range(300):
        start = time.perf_counter()
        atoll.rows(f"INSERT INTO processes VALUES ({n}, 'a')")
        taken.append(time.perf_counter() - start)
    commits_line(atoll, report, "processes", taken)
    # What a statement costs that opens the table, less one that opens none.
    session = Session(atoll)
    best = {"processes": 9.0, "single": 9.0, "none": 9.0}
    for _ in range(20):
        for name in best:
            sql = "SELECT 1" if name == "none" else f"SELECT 1 FROM {name} LIMIT 0; SELECT 1"
            best[name] = min(best[name], session.seconds(sql))
    session.close()
    milliseconds = {name: round(1e3 * (best[name] - best["none"]), 1) for name in best}
    report.line(
        part="commits", way="open and plan", after_300_commits_ms=milliseconds["processes"],
        after_1_commit_ms=milliseconds["single"], good=milliseconds["processes"] < 20,
    )


def commits_line(atoll, report, table, taken):
    [found] = atoll.rows(f"SELECT count(*) AS rows, count(DISTINCT n) AS different FROM {table}")
    first, last = (sum(part) / 10 for part in (taken[1:11], taken[-10:]))
    checkpoints = len(list(atoll.log(table).glob("*.checkpoint*.parquet")))
    report.line(
        part="commits", way=table, **found, first_ms=round(first * 1e3, 1),
        last_ms=round(last * 1e3, 1), ratio=round(last / first, 2), checkpoints=checkpoints,
        good=last / first <= 3 and found == {"rows": 300, "different": 300} and checkpoints == 30,
    )


QUERIES = {
    "top 5": "SELECT * FROM {t} ORDER BY n DESC LIMIT 5",
    "top 5 by a shuffled column": "SELECT * FROM {t} ORDER BY shuffled LIMIT 5",
    "min and max": "SELECT min(n) AS a, max(n) AS b, min(shuffled) AS c, max(shuffled) AS d FROM {t}",
    "count": "SELECT count(*) FROM {t}",
    "one row by a filter": "SELECT * FROM {t} WHERE n = 777777",
    "sum": "SELECT sum(n) AS a, round(sum(x)) AS b FROM {t}",
}


def speed(atoll, report, options):
    home = Path(atoll.storage).parent
    rows = (
        "SELECT value AS n, (value * 7919) % 1000003 AS shuffled, value / 7.0 AS x, "
        "CAST(value AS VARCHAR) AS name FROM generate_series({a}, {b})"
    )
    part = lambda file: rows.format(a=file * 5000 + 1, b=file * 5000 + 5000)
    statements = [f"CREATE TABLE files AS {part(0)}"]
    statements += [f"INSERT INTO files {part(file)}" for file in range(1, 200)]
    atoll.rows("; ".join(statements))
    folder = Path(home, "folder")
    folder.mkdir()
    for file in Path(atoll.storage, "tables", "files").glob("*.parquet"):
        shutil.copy(file, folder)
    in_turns(report, atoll, "200 files", {"table": "files", "folder": f"'{folder}/*.parquet'"},
             QUERIES, 2.0)
    million = rows.format(a=1, b=1_000_000)
    atoll.rows(f"CREATE TABLE million AS {million}; "
               f"COPY ({million}) TO '{home}/million/' STORED AS PARQUET")
    reading = {"sum": "SELECT sum(n) AS a, sum(shuffled) AS b, round(sum(x)) AS c, max(name) AS d FROM {t}",
               "filter": "SELECT count(*) FROM {t} WHERE x > 1000 AND name LIKE '%7'"}
    in_turns(report, atoll, "10^6 rows", {"table": "million", "folder": f"'{home}/million/'"},
             reading, 1.2)
    one_file(atoll, report)


def in_turns(report, atoll, what, sources, queries, bar):
    """The best of 5 of each source, planning and running, in turns and in one session."""
    for query, sql in queries.items():
        first, best, answers = {}, {}, {}
        for _ in range(5):
            session = Session(atoll)
            for name, source in sources.items():
                # Ends with a row of its own, so that all rows of the answer have come.
                statement = sql.format(t=source) + "; SELECT 'end' AS is_end"
                for turn in range(4):
                    start = time.perf_counter()
                    session.send(statement)
                    answer = []
                    while (line := session.process.stdout.readline()) and "is_end" not in line:
                        answer.append(line)
                    took = time.perf_counter() - start
                    answers[name] = answer
                    place = best if turn else first
                    place[name] = min(took, place.get(name, 9e9))
            session.close()
        ratio = best["table"] / best["folder"]
        report.line(
            part="speed", way=f"{what}: {query}",
            table_ms=round(1e3 * best["table"], 1), folder_ms=round(1e3 * best["folder"], 1),
            first_table_ms=round(1e3 * first["table"], 1),
            first_folder_ms=round(1e3 * first["folder"], 1), ratio=round(ratio, 2),
            same=answers["table"] == answers["folder"], bar=bar,
            good=ratio <= bar and answers["table"] == answers["folder"],
        )


def one_file(atoll, report):
    atoll.rows(
        "SET datafusion.execution.target_partitions = 1; CREATE TABLE large AS SELECT value AS n, "
        "encode(sha256(CAST(value AS VARCHAR)), 'hex') AS hash FROM generate_series(1, 1100000); "
        "OPTIMIZE large"
    )
    detail = atoll.rows("DESCRIBE DETAIL large")[0]
    file = Path(atoll.storage).parent / "large.parquet"
    atoll.rows(f"COPY (SELECT * FROM large) TO '{file}'")
    best = {"large": 0.0, f"'{file}'": 0.0}
    for _ in range(5):
        for name in best:
            sql = f"SELECT count(DISTINCT left(hash, 4)), max(sha256(hash)) FROM {name}"
            best[name] = max(best[name], cpu_by_wall(atoll.command("-c", sql)))
    table, plain = best.values()
    cores = os.cpu_count()
    report.line(
        part="speed", way="one file on all cores", files=detail["files"],
        mb=round(detail["bytes"] / 1e6), cpu_by_wall=round(table, 2), of_a_plain_file=round(plain, 2),
        cores=cores, good=table > min(0.75 * cores, 0.9 * plain) and detail["files"] == 1,
    )


def cpu_by_wall(command):
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    return (usage.ru_utime + usage.ru_stime) / (time.perf_counter() - start)


PARTS = {"creators": creators, "writers": writers, "kills": kills, "commits": commits, "speed": speed}


def processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("atoll")
    parser.add_argument("--part", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--races", type=int, default=20)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", help="the folder of the run")
    options = parser.parse_args()
    broken = 0
    with tempfile.TemporaryDirectory() as home:
        for name in options.part:
            report = Report(name, options)
            PARTS[name](Atoll(options.atoll, Path(home, name)), report, options)
            report.line(part="end", broken=report.broken, load=round(os.getloadavg()[0], 1))
            broken += report.broken
            shutil.rmtree(Path(home, name), ignore_errors=True)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
