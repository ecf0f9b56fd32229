"""SQL on workers: statements whose plan has a dense aggregate have the same answer as
without workers, to the last bit. All others run in the calling process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import make_counts
from fixtures_workers import of_some
from slaf.data import SLAFConverter
from slaf.dataset import Dataset
from slaf.datasets import synthetic
from slaf.ground.axes import argument
from slaf.ground.workers import working
from slaf.integrations import read_slaf
from slaf.sql.session import SqlSession, ask

CELLS = "JOIN cells c ON e.cell_integer_id = c.cell_integer_id"
GENES = "JOIN genes g ON e.gene_integer_id = g.gene_integer_id"

#: Each has at least one dense aggregate that no stored sum answers.
STATEMENTS = {
    "of types": f"SELECT cell_type, SUM(value) AS s, AVG(value) AS a, MIN(value) AS low, "
    f"MAX(value) AS high, STDDEV(value) AS d, COUNT(*) AS n FROM expression e {CELLS} "
    "GROUP BY cell_type ORDER BY cell_type",
    "of types and genes": f"SELECT cell_type, e.gene_integer_id, SUM(value) AS s, "
    f"VAR_POP(value) AS v FROM expression e {CELLS} GROUP BY 1, 2 ORDER BY 1, 2",
    "of cells": "SELECT cell_integer_id, SUM(LN(1 + value)) AS s FROM expression "
    "GROUP BY cell_integer_id ORDER BY cell_integer_id",
    "of one group": "SELECT SUM(value * value) AS s, COUNT(*) FILTER (WHERE value > 1) AS n "
    "FROM expression",
    "of no row": "SELECT SUM(value * 2) AS s FROM expression WHERE value > 1e9",
    "of some genes": f"SELECT cell_type, AVG(value) AS a FROM expression e {CELLS} {GENES} "
    "WHERE g.gene_integer_id < 40 GROUP BY cell_type ORDER BY cell_type",
    "with parameters": f"SELECT batch, SUM(value) AS s FROM expression e {CELLS} "
    "WHERE cell_type = $kind AND value > $least GROUP BY batch ORDER BY batch",
    "twice": "SELECT 'types' AS what, cell_type AS key, SUM(value * 2) AS s FROM expression e "
    f"{CELLS} GROUP BY cell_type UNION ALL SELECT 'batches', batch, AVG(value / 3) FROM "
    f"expression e {CELLS} GROUP BY batch ORDER BY 1, 2",
    "in a window": "SELECT * FROM (SELECT cell_type, gene_integer_id, s, ROW_NUMBER() OVER "
    "(PARTITION BY cell_type ORDER BY s DESC, gene_integer_id) AS r FROM (SELECT cell_type, "
    f"e.gene_integer_id, SUM(value) AS s FROM expression e {CELLS} GROUP BY 1, 2) AS m) AS t "
    "WHERE r <= 3 ORDER BY cell_type, r",
}
#: Others have four tasks.
TASKS = {"of some genes": 1, "with parameters": 1, "twice": 8}
PARAMS = {"with parameters": {"kind": "type01", "least": 0.5}}

#: These have none.
OTHERS = {
    "no values": "SELECT cell_type, COUNT(*) AS n FROM cells GROUP BY cell_type",
    "rows": "SELECT * FROM expression WHERE cell_integer_id = 7",
    "stored sums": "SELECT gene_integer_id, SUM(value) AS s FROM expression "
    "GROUP BY gene_integer_id",
    "no query": "SHOW TABLES",
    "a subquery": "SELECT COUNT(*) AS n FROM cells WHERE total_counts > "
    "(SELECT AVG(value * 3) FROM expression)",
}


@pytest.fixture(scope="session")
def path(tmp_path_factory) -> Path:
    """About 290,000 values, which are fractions."""
    adata = synthetic(1_000, 6_000)
    adata.X.data /= np.float32(3)
    path = tmp_path_factory.mktemp("sql") / "x.slaf"
    SLAFConverter().convert_anndata(adata, path)
    return path


def same(got: pl.DataFrame, want: pl.DataFrame) -> None:
    assert got.schema == want.schema and got.height == want.height
    for name in got.columns:
        ours, theirs = got[name], want[name]
        if ours.dtype.is_float():
            assert ours.is_null().equals(theirs.is_null())
            ours, theirs = (column.fill_null(0.0).to_numpy() for column in (ours, theirs))
            assert ours.tobytes() == theirs.tobytes(), name
        else:
            assert ours.equals(theirs), name


def sql(path: Path, name: str, prefix: str = "") -> pl.DataFrame:
    statement = prefix + {**STATEMENTS, **OTHERS}[name]
    return ask(Dataset.open(str(path)), statement, **PARAMS.get(name, {}))


_ALONE: dict[str, pl.DataFrame] = {}


@of_some
@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement(workers, path, name):
    if name not in _ALONE:
        with working(None):
            _ALONE[name] = sql(path, name)
    before = workers.tally.tasks
    got = sql(path, name)
    assert workers.tally.tasks - before == TASKS.get(name, 4)
    same(got, _ALONE[name])


def test_the_answers_are_right(path):
    """Pandas has the same, up to the order of sums."""
    handle = read_slaf(path)
    x = handle.X.compute().astype(np.float64).tocoo()
    kinds = np.asarray(handle.obs["cell_type"]).astype(str)
    values = pd.DataFrame({"kind": kinds[x.row], "gene": x.col, "value": x.data})
    want = values.groupby("kind")["value"].agg(["sum", "mean", "min", "max", "std", "count"])
    got = sql(path, "of types")
    assert got["cell_type"].to_list() == list(want.index)
    np.testing.assert_allclose(got.select(pl.exclude("cell_type")).to_numpy(), want.to_numpy())
    want = values.groupby(["kind", "gene"])["value"].agg(["sum", lambda v: v.var(ddof=0)])
    got = sql(path, "of types and genes")
    np.testing.assert_allclose(got[["s", "v"]].to_numpy(), want.to_numpy(), atol=1e-12)


@pytest.mark.parametrize("name", OTHERS)
def test_other_statements_run_here(two, path, name):
    before = two.tally.tasks
    with working(two):
        got = sql(path, name)
    assert two.tally.tasks == before
    same(got, sql(path, name))


def plan(path: Path, name: str, prefix: str = "EXPLAIN ") -> str:
    return "\n".join(sql(path, name, prefix)["plan"])


@pytest.mark.parametrize("name", STATEMENTS)
def test_explain_says_so(two, path, name):
    before = two.tally.tasks
    assert "distributed over" not in plan(path, name)
    with working(two):
        told = plan(path, name)
    # Nothing has run.
    assert two.tally.tasks == before
    tasks = [int(part.split()[0]) for part in told.split("distributed over ")[1:]]
    assert sum(tasks) == TASKS.get(name, 4)


def test_explain_of_others_says_nothing(two, path):
    with working(two):
        assert "distributed" not in plan(path, "stored sums")
        analyzed = plan(path, "of types", "EXPLAIN ANALYZE ")
    assert "distributed over" in analyzed and "answered: " in analyzed


def test_a_frame_and_a_dataset_in_memory_stay_here(two, path):
    SLAFConverter().convert_anndata(make_counts(), "memory://sql/x.slaf")
    statement = f"SELECT batch, SUM(value + 1) AS s FROM expression e {CELLS} GROUP BY 1 ORDER BY 1"
    in_memory = Dataset.open("memory://sql/x.slaf")
    markers = pl.DataFrame({"gene": [1, 2, 3]})
    named = "SELECT SUM(value * 2) AS s FROM expression JOIN markers ON gene_integer_id = gene"
    stored = Dataset.open(str(path))
    want = ask(in_memory, statement), ask(stored, named, markers=markers)
    before = two.tally.tasks
    with working(two):
        got = ask(in_memory, statement), ask(stored, named, markers=markers)
    assert two.tally.tasks == before
    for ours, theirs in zip(got, want, strict=True):
        same(ours, theirs)


def test_a_part_of_a_dataset(two, path):
    """The tables of a sliced handle, and a view."""
    handle = read_slaf(path)[100:900:3, 5:]

    def answers() -> list[pl.DataFrame]:
        part = ("part", Dataset.open(str(path)).engine, *map(argument, rows))
        session = SqlSession({}, lambda on: ([part], 0))
        session.run(f"CREATE VIEW v AS SELECT batch, value FROM expression e {CELLS}")
        sums = session.run("SELECT batch, SUM(value * 2) AS s FROM v GROUP BY batch ORDER BY batch")
        session.run("CREATE TABLE t AS SELECT SUM(value / 3) AS s FROM expression")
        return [pl.DataFrame(sums), session.namespace["t"]]

    rows = range(100, 900, 3), range(5, handle.n_vars + 5)
    want = answers()
    before = two.tally.tasks
    with working(two):
        got = answers()
    assert two.tally.tasks > before
    for ours, theirs in zip(got, want, strict=True):
        same(ours, theirs)
    total = handle.X.compute().astype(np.float64).sum()
    np.testing.assert_allclose(got[1]["s"].item(), total / 3)


def test_an_answer_without_rows_is_asked_once(two, path):
    statement = (
        f"SELECT batch, SUM(value * 2) AS s FROM expression e {CELLS} WHERE value > 1e9 GROUP BY 1"
    )
    before = two.tally.tasks
    with working(two):
        assert ask(Dataset.open(str(path)), statement).is_empty()
    assert two.tally.tasks > before
