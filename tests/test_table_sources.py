"""What `slaf.table` accepts, and what a saved notebook shows of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import slaf
from slaf import SlafError, read_slaf
from slaf.sql.session import SqlSession
from tables import FRAME, Browser, made, same_as

# Sources -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "of",
    [
        lambda f: f,
        lambda f: f.lazy(),
        lambda f: f.to_arrow(),
        lambda f: f.to_pandas(),
        lambda f: SqlSession({"f": f}, lambda on: ([], None)).run("SELECT * FROM f"),
    ],
    ids=["polars", "lazy", "pyarrow", "pandas", "answer"],
)
def test_anything_that_is_a_table(of):
    frame = made(500).select("count", "text", "flag", "day")
    table = slaf.table(of(frame))
    table.filter(count="> 3", text="cells")
    table.sort("text", descending=True)
    left = frame.filter((pl.col("count") > 3) & pl.col("text").str.contains("cells"))
    found = table.frame()
    assert found["text"].to_list() == sorted(left["text"], reverse=True)
    assert sorted(map(repr, found["count"])) == sorted(
        map(repr, left["count"].cast(found["count"].dtype))
    )


def test_what_is_no_table():
    with pytest.raises(SlafError, match=r"`slaf.table` takes .*, not `int`\."):
        slaf.table(3)


def test_obs_is_read_where_it_lies(pbmc_slaf, pbmc):
    handle = read_slaf(pbmc_slaf)
    table = slaf.table(handle.obs)
    assert 'FROM "obs"' in table.sql and '"louvain"' in table.sql
    table.filter(n_genes="> 1000", louvain=["1", "2"])
    expected = pbmc.obs[(pbmc.obs.n_genes > 1000) & pbmc.obs.louvain.isin(["1", "2"])]
    assert table.frame()["cell_id"].to_list() == expected.index.tolist()
    assert slaf.table(handle.var).frame()["gene_id"].to_list() == pbmc.var_names.tolist()


@pytest.mark.parametrize(
    "part",
    [slice(50, 300), slice(None, None, 3), slice(None, None, -1), [5, 3, 3], np.arange(0, 700, 7)],
    ids=["range", "steps", "backwards", "again", "some"],
)
def test_obs_of_a_sliced_handle(part, pbmc_slaf, pbmc):
    view = read_slaf(pbmc_slaf)[part, :]
    table = slaf.table(view.obs)
    expected = pbmc.obs.iloc[part]
    assert table.frame()["cell_id"].to_list() == expected.index.tolist()
    browser = Browser(table)
    assert browser.page["count"] == len(expected)
    assert [row[0] for row in browser.page["rows"]] == expected.index[:50].tolist()
    table.filter(n_genes="> 1000")
    assert table.frame()["cell_id"].to_list() == expected.index[expected.n_genes > 1000].tolist()


def test_obs_with_what_is_not_saved(pbmc_slaf):
    handle = read_slaf(pbmc_slaf)
    handle.obs["mine"] = np.arange(len(handle.obs))
    handle.obs["n_genes"] = 7
    table = slaf.table(handle.obs)
    table.filter(mine="10..12", n_genes=7)
    assert table.frame()["mine"].to_list() == [10, 11, 12]
    assert table.frame()["cell_id"].to_list() == handle.obs_names[10:13].tolist()


def test_a_statement_is_asked_from():
    answer = SqlSession({"f": FRAME}, lambda on: ([], None)).run("SELECT text, count FROM f")
    table = slaf.table(answer, statement="SELECT text, count FROM f;")
    table.filter(count="> 3")
    assert table.sql == (
        'SELECT *\nFROM (SELECT text, count FROM f\n) AS "answer"\nWHERE "count" > 3'
    )
    again = SqlSession({"f": FRAME}, lambda on: ([], None)).run(table.sql)
    same_as(pl.DataFrame(again), table.frame())


# Displays, mistakes ------------------------------------------------------------------


def test_a_saved_notebook_shows_the_first_rows():
    frame = pl.DataFrame({"<script>": ["<b>bold</b>"] * 50, "n": range(50)})
    data, _ = slaf.table(frame)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    html = data["text/html"]
    assert "The first 20 of 50 rows" in html and "&lt;b&gt;bold" in html
    assert "<script>" not in html and "<b>" not in html
    assert "The first 20 of 50 rows" in data["text/plain"]


def test_a_source_that_fails_is_told_in_a_sentence(tmp_path):
    path = tmp_path / "x.parquet"
    FRAME.write_parquet(path)
    table = slaf.table(pl.scan_parquet(path))
    browser = Browser(table)
    path.unlink()
    message = browser.asks(browser.state(filters={"count": {"typed": "> 4"}}))
    assert message["type"] == "error" and "\n" not in message["message"]


def test_pandas_with_an_index_that_says_something():
    frame = pd.DataFrame({"x": [1, 2]}, index=pd.Index(["a", "b"], name="cell"))
    assert sorted(slaf.table(frame).frame().columns) == ["cell", "x"]
    assert slaf.table(pa.table({"x": [1]})).frame()["x"].to_list() == [1]
