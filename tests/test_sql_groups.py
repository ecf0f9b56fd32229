"""Queries on metadata: groups by columns of few values, whose codes are kept, and
comparisons with zeros. The answers are DuckDB's."""

from __future__ import annotations

import anndata as ad
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
from inside import answer
from IPython.core.interactiveshell import InteractiveShell
from scipy import sparse
from slaf import SLAFArray, read_slaf
from slaf.data import SLAFConverter
from sql_answers import compare

N = 70_000
ENGINES = (None, "polars", "datafusion")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SLAFArray:
    rng = np.random.default_rng(11)
    pick = lambda values: rng.choice(np.array(values, dtype=object), N)  # noqa: E731
    obs = pd.DataFrame(
        {
            "cell_type": pick(["T", "B", "", "NK cells", None]),
            "batch": pd.Categorical(pick(["b1", "b2", "b3"])),
            "plate": rng.integers(-3, 4, N).astype(np.int16),
            "doublet": pick([True, False]).astype(bool),
            "score": rng.choice([-1.5, -0.0, 0.0, 2.25, np.nan], N),
            "n": rng.integers(0, 1000, N),
            "barcode": [f"bar{i}" for i in range(N)],
        },
        index=[f"c{i}" for i in range(N)],
    )
    adata = ad.AnnData(sparse.eye(N, 5, format="csr", dtype=np.float32), obs=obs)
    target = tmp_path_factory.mktemp("groups") / "made.slaf"
    SLAFConverter().convert_anndata(adata, target)
    return SLAFArray(target)


@pytest.fixture(scope="module")
def duck(made):
    connection = duckdb.connect()
    connection.register("cells", made.scan("cells").collect().to_arrow())
    return connection


GROUPS = [
    "SELECT cell_type, COUNT(*) FROM cells GROUP BY cell_type",
    "SELECT DISTINCT cell_type, batch FROM cells",
    "SELECT batch, cell_type, plate, doublet, COUNT(*), SUM(n) FROM cells GROUP BY ALL",
    "SELECT doublet, AVG(score), MIN(score), MAX(score), STDDEV(score), COUNT(score) FROM cells GROUP BY doublet",
    "SELECT plate, SUM(n), MIN(n), MAX(n), AVG(n), VAR_POP(n) FROM cells GROUP BY plate",
    "SELECT cell_type, SUM(n * 2 + plate) FROM cells WHERE n > 500 AND batch <> 'b2' GROUP BY cell_type",
    "SELECT cell_type, COUNT(*) FILTER (WHERE score > 0), SUM(n) FILTER (WHERE doublet) FROM cells GROUP BY cell_type",
    "SELECT cell_type, COUNT(*) FROM cells WHERE n < 0 GROUP BY cell_type",
    "SELECT cell_type, COUNT(DISTINCT batch), COUNT(DISTINCT plate) FROM cells GROUP BY cell_type",
    "SELECT batch, AVG(n) AS m FROM cells GROUP BY batch HAVING COUNT(*) > 10 ORDER BY m DESC",
    "SELECT k, MAX(m) FROM (SELECT batch AS k, cell_type, AVG(n) AS m FROM cells GROUP BY 1, 2) GROUP BY k",
    "SELECT c.batch, COUNT(*), MAX(g.m) FROM cells c JOIN (SELECT batch, MAX(n) AS m FROM cells GROUP BY batch) g ON c.batch = g.batch GROUP BY c.batch",
    "SELECT COUNT(*) FROM cells WHERE batch IN (SELECT batch FROM cells GROUP BY batch HAVING SUM(n) > 0)",
    "SELECT batch || '!' AS b, COUNT(*) FROM cells GROUP BY b",
    "SELECT COUNT(*), SUM(s) FROM (SELECT barcode, SUM(n) AS s FROM cells GROUP BY barcode)",
    "SELECT score, COUNT(*) FROM cells WHERE score <> 0 GROUP BY score",
]


@pytest.mark.parametrize("sql", GROUPS)
def test_groups_of_metadata_are_duckdbs(made, duck, sql):
    for _ in range(2):  # The codes are made, and kept.
        compare(made, duck, sql, engines=ENGINES)


@pytest.mark.parametrize("sign", ["=", "<>", "<", "<=", ">", ">="])
@pytest.mark.parametrize("zero", ["0", "0.0", "-0.0"])
def test_a_zero_has_no_sign(made, duck, sign, zero):
    for condition in (f"score {sign} {zero}", f"{zero} {sign} score"):
        compare(
            made, duck, f"SELECT COUNT(*), SUM(n) FROM cells WHERE {condition}", engines=ENGINES
        )
        compare(
            made,
            duck,
            f"SELECT cell_type, COUNT(*) FROM cells WHERE {condition} GROUP BY cell_type",
            engines=ENGINES,
        )


@pytest.mark.parametrize(
    "condition",
    [
        "score BETWEEN 0 AND 3",
        "score BETWEEN -3 AND -0.0",
        "score NOT BETWEEN 0 AND 0",
        "score IN (0, 7)",
        "score NOT IN (0, 7)",
        "NOT score = 0",
        "score >= 0 AND score <= 0",
        "CASE WHEN score = 0 THEN n > 3 ELSE n < 3 END",
    ],
)
def test_ranges_and_lists_hold_both_zeros(made, duck, condition):
    compare(made, duck, f"SELECT COUNT(*), SUM(n) FROM cells WHERE {condition}", engines=ENGINES)


def test_a_comparison_with_zero_keeps_its_columns_name(made):
    assert made.query("SELECT score >= 0 FROM cells LIMIT 1", engine="datafusion").columns == [
        "score >= 0"
    ]


def test_of_a_slice_only_its_cells_are_grouped(made, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "slaf")
    shell.user_ns["part"] = read_slaf(made.slaf_path)[5_000:23_000:3]
    sql = "SELECT cell_type, COUNT(*) AS k, SUM(n) AS s FROM part.cells GROUP BY 1"
    got = pl.DataFrame(shell.run_cell_magic("sql", "", sql))
    of_part = made.obs[5_000:23_000:3].group_by("cell_type")
    want = of_part.agg(pl.len(), pl.col("n").sum())
    assert {row[0]: row[1:] for row in got.rows()} == {row[0]: row[1:] for row in want.rows()}


def test_the_plan_says_that_codes_are_used(made):
    told = lambda sql: str(pl.DataFrame(answer(made, f"EXPLAIN {sql}"))["plan"].to_list())  # noqa: E731
    assert "groups of cells by batch, cell_type" in told(
        "SELECT batch, cell_type, COUNT(*) FROM cells GROUP BY 1, 2"
    )
    assert "groups of cells" not in told("SELECT barcode, SUM(n) FROM cells GROUP BY barcode")
    assert "groups of cells" not in told("SELECT score, COUNT(*) FROM cells GROUP BY score")
