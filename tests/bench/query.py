"""Measures queries: ours, slafdb's `query`, and DuckDB over Parquet copies.

    python tests/bench/query.py DATASET.slaf --slafdb SLAFDB_PYTHON
    python tests/bench/query.py DATASET.slaf --memory 268435456
    python tests/bench/query.py DATASET.slaf --cells

Run it with a Python that has this package and duckdb; SLAFDB_PYTHON is a Python that
has slafdb. DATASET is a converted file of `slaf.datasets.write_synthetic`. Do not use
the machine meanwhile.

Each side answers all queries in its own process, as a Polars DataFrame. "Cold" is the
first run of a query, after the dataset's files were dropped from the page cache and it
was opened again. "Warm" is the best of three more runs. The report has milliseconds,
each tool's time divided by ours, the geometric mean of these ratios, and the peak
resident memory of the processes. DuckDB has as many threads as we have; its copies are
Parquet files (zstd) of the same tables in the same order, without embeddings. A dash
means that the tool cannot run the query.

--cells measures whole `%%sql` cells in an IPython shell instead: ours, and jupysql's
over the same DuckDB; jupysql must be installed.

--memory runs our queries that need more than this memory limit (in bytes), and reports
the peak memory."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

MARKERS = list(range(100, 5000, 100))
JOIN = "JOIN cells c ON e.cell_integer_id = c.cell_integer_id"
GENES = "JOIN genes g ON e.gene_integer_id = g.gene_integer_id"
QUESTIONS = {
    "cells by a filter": "SELECT cell_id, n_genes FROM cells WHERE cell_type = 'type03' AND n_genes > 1000",
    "mean by cell type": "SELECT cell_type, AVG(total_counts) AS m, COUNT(*) AS n FROM cells GROUP BY cell_type ORDER BY m DESC",
    "top cells": "SELECT cell_id, total_counts FROM cells ORDER BY total_counts DESC LIMIT 10",
    "batches and types": "SELECT batch, cell_type, COUNT(*) AS n FROM cells GROUP BY batch, cell_type",
    "totals of genes": "SELECT gene_integer_id, COUNT(*) AS n, AVG(value) AS m FROM expression GROUP BY gene_integer_id",
    "totals of cells": "SELECT cell_integer_id, SUM(value) AS s FROM expression GROUP BY cell_integer_id",
    "variance of genes": "SELECT gene_integer_id, STDDEV(value) AS s FROM expression GROUP BY gene_integer_id",
    "one gene": f"SELECT c.cell_id, e.value FROM expression e {JOIN} {GENES} WHERE g.gene_id = 'MT-CO1'",
    "three genes by type": f"SELECT c.cell_type, g.gene_id, AVG(e.value) AS m FROM expression e {JOIN} {GENES} WHERE g.gene_id IN ('MT-CO1', 'MT-CO2', 'MT-CO3') GROUP BY c.cell_type, g.gene_id",
    "one cell": "SELECT gene_integer_id, value FROM expression WHERE cell_integer_id = 4321",
    "type by gene": f"SELECT c.cell_type, e.gene_integer_id, SUM(e.value) AS s, COUNT(*) AS n FROM expression e {JOIN} GROUP BY c.cell_type, e.gene_integer_id",
    "top markers": f"WITH m AS (SELECT c.cell_type, e.gene_integer_id, SUM(e.value) AS s FROM expression e {JOIN} GROUP BY 1, 2) SELECT * FROM (SELECT cell_type, gene_integer_id, s, ROW_NUMBER() OVER (PARTITION BY cell_type ORDER BY s DESC, gene_integer_id) AS r FROM m) AS t WHERE r <= 5",
    "two genes together": "SELECT COUNT(*) AS n, CORR(a.value, b.value) AS r FROM expression a JOIN expression b ON a.cell_integer_id = b.cell_integer_id WHERE a.gene_integer_id = 700 AND b.gene_integer_id = 701",
    "with a frame": f"SELECT c.cell_type, m.program, SUM(e.value) AS s FROM expression e JOIN markers m ON e.gene_integer_id = m.gene {JOIN} GROUP BY c.cell_type, m.program",
    "log-normalized mean": f"SELECT c.cell_type, AVG(LN(1 + e.value / c.total_counts * 10000.0)) AS m FROM expression e {JOIN} GROUP BY c.cell_type",
}
BOUNDED = {
    "sorted": "SELECT * FROM expression ORDER BY value DESC, cell_integer_id, gene_integer_id",
    "grouped by all columns": "SELECT COUNT(*) FROM (SELECT cell_integer_id, gene_integer_id, value FROM expression GROUP BY 1, 2, 3)",
    "all rows": "SELECT * FROM expression",
    "histogram": "SELECT value, COUNT(*) FROM expression GROUP BY value",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--slafdb", default=os.environ.get("SLAFDB_PYTHON"))
    parser.add_argument("--memory", type=int)
    parser.add_argument("--cells", action="store_true")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(SIDES[options.side](options)))
    elif options.memory:
        bounded(options)
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    parquet(options.dataset)
    sides = ["cell", "jupysql"] if options.cells else ["ours", "duckdb"]
    if options.slafdb and not options.cells:
        sides.append("slafdb")
    told = {}
    for side in sides:
        python = options.slafdb if side == "slafdb" else sys.executable
        told[side] = child(python, options.dataset, side)
    first, *rivals = sides
    for state in ("cold", "warm"):
        print(f"\n{options.dataset.name}, {state}, ms")
        print(f"{'':22}{first:>10}" + "".join(f"{r:>12}{'':8}" for r in rivals))
        ratios = {rival: [] for rival in rivals}
        for name in QUESTIONS:
            ours = told[first]["times"][name][state]
            line = f"{name:22}{ours:10.1f}"
            for rival in rivals:
                theirs = told[rival]["times"].get(name)
                if theirs is None:
                    line += f"{'-':>12}{'':8}"
                    continue
                ratios[rival].append(theirs[state] / ours)
                line += f"{theirs[state]:12.1f}{ratios[rival][-1]:7.2f}×"
            print(line)
        means = [math.exp(sum(map(math.log, r)) / len(r)) for r in ratios.values()]
        print(f"{'geometric mean':32}" + "".join(f"{'':12}{m:7.2f}×" for m in means))
    print("\npeak RSS, MiB: " + ", ".join(f"{s} {told[s]['peak'] / 2**20:,.0f}" for s in sides))


def child(python: str, dataset: Path, side: str, *more: str) -> dict:
    command = [python, __file__, str(dataset), "--side", side, *more]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    (told,) = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return json.loads(told)


def measure(opened, ask) -> dict:
    """Times of all queries; `opened()` returns a session for `ask(session, sql)`."""
    times = {}
    for name, sql in QUESTIONS.items():
        session = opened()
        try:
            cold = clock(lambda session=session, sql=sql: ask(session, sql))
        except Exception as error:
            print(f"{name}: {str(error)[:100]}", file=sys.stderr)
            continue
        warm = min(clock(lambda session=session, sql=sql: ask(session, sql)) for _ in range(3))
        times[name] = {"cold": cold, "warm": warm}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"times": times, "peak": peak}


def clock(work) -> float:
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1e3


def forget(folder: Path) -> None:
    """Drops the files in a folder from the page cache."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def frame():
    import polars as pl

    programs = [f"program{gene % 7}" for gene in MARKERS]
    return pl.DataFrame({"gene": MARKERS, "program": programs})


def copies(dataset: Path) -> Path:
    return dataset.with_suffix(".parquet")


def parquet(dataset: Path) -> None:
    """Copies of the tables for DuckDB."""
    target = copies(dataset)
    if target.exists():
        return
    import pyarrow as pa
    import pyarrow.parquet as pq
    from slaf import SLAFArray

    array = SLAFArray(dataset)
    target.mkdir()
    for table, frame in (("cells", array.obs), ("genes", array.var)):
        pq.write_table(frame.to_arrow(), target / f"{table}.parquet", compression="zstd")
    step, writer = 50_000, None
    for start in range(0, array.shape[0], step):
        part = array.query(
            f"SELECT * FROM expression WHERE cell_integer_id >= {start} "
            f"AND cell_integer_id < {start + step} ORDER BY cell_integer_id, gene_integer_id"
        ).to_arrow()
        writer = writer or pq.ParquetWriter(
            target / "expression.parquet", part.schema, compression="zstd"
        )
        writer.write_table(pa.table(part), row_group_size=1 << 20)
    writer.close()


def ours(options: argparse.Namespace) -> dict:
    from slaf import SLAFArray

    def opened():
        forget(options.dataset)
        return SLAFArray(options.dataset)

    return measure(opened, lambda array, sql: array.query(sql, markers=frame()))


def connection(dataset: Path):
    import duckdb

    forget(copies(dataset))
    connection = duckdb.connect()
    connection.execute(f"SET threads = {os.cpu_count()}")
    for table in ("cells", "genes", "expression"):
        connection.execute(
            f"CREATE VIEW {table} AS SELECT * FROM '{copies(dataset)}/{table}.parquet'"
        )
    connection.register("markers", frame().to_arrow())
    return connection


def duckdb(options: argparse.Namespace) -> dict:
    return measure(lambda: connection(options.dataset), lambda con, sql: con.sql(sql).pl())


def slafdb(options: argparse.Namespace) -> dict:
    from slaf import SLAFArray

    def opened():
        forget(options.dataset)
        return SLAFArray(str(options.dataset))

    def ask(array, sql):
        if "markers" in sql:
            raise ValueError("it has no frames")
        return array.query(sql)

    return measure(opened, ask)


def shell():
    from IPython.core.interactiveshell import InteractiveShell

    return InteractiveShell()


def cell(options: argparse.Namespace) -> dict:
    from slaf import SLAFArray

    ip = shell()
    ip.run_line_magic("load_ext", "slaf")

    def opened():
        forget(options.dataset)
        ip.user_ns |= {"markers": frame(), "array": SLAFArray(options.dataset)}
        return ip

    return measure(opened, run_cell)


def jupysql(options: argparse.Namespace) -> dict:
    ip = shell()
    with contextlib.redirect_stdout(io.StringIO()):
        ip.run_line_magic("load_ext", "sql")
        ip.run_line_magic("config", "SqlMagic.autopolars = True")
        ip.run_line_magic("config", "SqlMagic.feedback = 0")

    def opened():
        ip.user_ns["con"] = connection(options.dataset)
        with contextlib.redirect_stdout(io.StringIO()):
            ip.run_line_magic("sql", "con --alias duck")
        return ip

    return measure(opened, run_cell)


def run_cell(ip, sql: str) -> None:
    """The cell and its display, as a notebook would have it."""
    with contextlib.redirect_stdout(io.StringIO()):
        answer = ip.run_cell_magic("sql", "", sql)
        ip.display_formatter.format(answer)


def bounded(options: argparse.Namespace) -> None:
    rows = child(sys.executable, options.dataset, "bounded", "--memory", str(options.memory))
    size = rows.pop("bytes")
    print(f"{options.dataset.name}: expression is {size / 2**20:,.0f} MiB in memory")
    print(
        f"budget {options.memory / 2**20:,.0f} MiB\n{'':26}{'s':>8}{'peak RSS, MiB':>16}{'rows':>16}"
    )
    for name in BOUNDED:
        told = child(
            sys.executable, options.dataset, f"bounded:{name}", "--memory", str(options.memory)
        )
        peak = told["peak"] / 2**20
        print(f"{name:26}{told['seconds']:8.2f}{peak:16,.0f}{told['rows']:16,}")


def bounded_size(options: argparse.Namespace) -> dict:
    from slaf import SLAFArray

    rows = SLAFArray(options.dataset).query("SELECT COUNT(*) FROM expression").item()
    return {"bytes": rows * 8}


def bounded_one(options: argparse.Namespace) -> dict:
    from slaf.dataset import Dataset
    from slaf.sql import session_of

    session = session_of(Dataset.open(options.dataset))
    begun = time.perf_counter()
    answer = session.run(BOUNDED[options.side.partition(":")[2]], memory=options.memory)
    seconds = time.perf_counter() - begun
    # Pages of the file with a large answer do not count, because the system can reclaim
    # them.
    with open("/proc/self/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    anonymous = int(fields["RssAnon"].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "rows": len(answer), "peak": peak, "anonymous": anonymous}


SIDES = {
    "ours": ours,
    "duckdb": duckdb,
    "slafdb": slafdb,
    "cell": cell,
    "jupysql": jupysql,
    "bounded": bounded_size,
    **{f"bounded:{name}": bounded_one for name in BOUNDED},
}

if __name__ == "__main__":
    main()
