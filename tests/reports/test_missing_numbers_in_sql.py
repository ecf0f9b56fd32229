"""A missing number of a cell or gene is missing everywhere: NULL in SQL with both engines,
in Polars and in filters, however it was stored."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import make_counts
from inside import engine_of
from slaf import SLAFArray, _slaf
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf

SCORES = np.array([0.9, np.nan, 0.1, np.nan, -np.inf, 0.7] * 10)

QUESTIONS = [
    "SELECT COUNT(*) AS n FROM cells WHERE score > 0.5",
    "SELECT COUNT(*) AS n FROM cells WHERE NOT score > 0.5",
    "SELECT COUNT(*) AS n FROM cells WHERE score <> 0.7",
    "SELECT COUNT(*) AS n FROM cells WHERE score IS NULL",
    "SELECT COUNT(*) AS n FROM cells WHERE score IS NULL OR score < 0.5",
    "SELECT COUNT(score) AS n, MAX(score) AS high, MIN(score) AS low FROM cells",
    "SELECT ROUND(AVG(score), 9) AS mean FROM cells WHERE score > -1",
    "SELECT cell_id FROM cells ORDER BY score DESC NULLS LAST, cell_id LIMIT 3",
    "SELECT score, COUNT(*) AS n FROM cells GROUP BY score ORDER BY n, score",
]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """As we write it, and with NaN in the table, as slafdb does."""
    folder = tmp_path_factory.mktemp("missing")
    adata = make_counts()
    adata.obs["score"] = SCORES
    adata.var["weight"] = np.where(np.arange(40) % 3 == 0, np.nan, 1.5).astype(np.float32)
    SLAFConverter().convert_anndata(adata, folder / "null.slaf")
    SLAFConverter().convert_anndata(adata, folder / "nan.slaf")
    revision = _slaf.Revision(_slaf.Dataset(str(folder / "nan.slaf"), None))
    scores = pa.array(SCORES, from_pandas=False)
    assert scores.null_count == 0
    revision.put("cells", pa.table({"score": scores}).to_reader())
    revision.publish(engine_of(SLAFArray(folder / "nan.slaf")).config, "test")
    return folder


@pytest.mark.parametrize("engine", ["datafusion", "polars"])
@pytest.mark.parametrize("name", ["null", "nan"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_nan_counted_as_more_than_any_number(written, question, name, engine):
    """pola-rs/polars#21494 NaN >= 20 is true; duckdb/duckdb#2610 NaN is NULL on import"""
    array = SLAFArray(written / f"{name}.slaf")
    ids = array.obs["cell_id"].to_list()
    cells = pd.DataFrame({"cell_id": ids, "score": pd.array(SCORES, dtype="Float64")})
    cells.loc[np.isnan(SCORES), "score"] = pd.NA
    with duckdb.connect() as oracle:
        want = oracle.register("cells", pa.Table.from_pandas(cells)).sql(question).fetchall()
    try:
        got = array.query(question, engine=engine)
    except _slaf.SlafError as refused:
        # Polars answers a part of SQL.
        assert engine == "polars" and "polars" in str(refused).lower()
        return
    assert got.rows() == want


@pytest.mark.parametrize("name", ["null", "nan"])
def test_pandas_sees_the_nan_that_it_wrote(written, name):
    """duckdb/duckdb#2610 NaN is NULL on import"""
    handle = read_slaf(written / f"{name}.slaf")
    np.testing.assert_array_equal(handle.obs["score"], SCORES)
    np.testing.assert_array_equal(handle[[1, 0, 4]].obs["score"], SCORES[[1, 0, 4]])
    assert handle.obs["score"].dtype == np.float64
    assert handle.var["weight"].dtype == np.float32
    array = SLAFArray(written / f"{name}.slaf")
    assert array.obs["score"].null_count() == 20 and not array.obs["score"].is_nan().any()
    assert array.filter_cells(score="> 0.5").height == (SCORES > 0.5).sum()
    assert array.filter_cells(score=None).height == np.isnan(SCORES).sum()
