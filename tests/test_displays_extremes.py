"""Displays of hostile and extreme data: short, escaped, and as `snapshots` keeps them."""

from __future__ import annotations

import datetime as dt
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import make_counts
from display_checks import checked, info_of, made, same_as_kept
from scipy import sparse
from slaf import SLAFArray, _slaf, read_slaf
from slaf.ground.sparse_display import sparse_display

NASTY = [
    "<script>alert(1)</script>",
    "\"quoted\" & 'single'",
    "\x1b[31mred\x1b[0m",
    "\u202egnp.exe",
    "</details></table></div>",
    "x" * 10_000,
]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> str:
    adata = make_counts()
    names = NASTY
    for at, name in enumerate(names):
        adata.obs[name] = pd.Categorical([names[(at + i) % len(names)] for i in range(60)])
        adata.obsm[name] = np.zeros((60, 2), np.float32)
        adata.uns[name.replace("/", "|")] = {"inside": name, "list": names}
    adata.uns[f"{names[0]}_colors".replace("/", "|")] = ["red;background:url(x)"] * len(names)
    adata.obs_names = [f"{names[i % len(names)]}{i}" for i in range(60)]
    adata.var_names = [f"{names[i % len(names)]}{i}" for i in range(40)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return made(tmp_path_factory.mktemp("hostile"), adata, "a'b\"<i>.slaf")


def test_hostile_names_stay_text(hostile):
    handle = read_slaf(hostile)
    found = handle.obsm.search(NASTY[0], handle.obs_names[0], k=3)
    matrix = handle.X[:30].compute()
    frame = pa.table({name: NASTY for name in NASTY})
    drawn = [
        handle._repr_html_(),
        handle[:9]._repr_html_(),
        handle.X._repr_html_(),
        handle.obs._repr_html_(),
        SLAFArray(hostile)._repr_html_(),
        found._repr_html_(),
        sparse_display(matrix)[0],
        _slaf.draw_table(frame, NASTY[0])[0],
        _slaf.draw_plan(NASTY)[0],
    ]
    for html in drawn:
        checked(html)
        assert "<script" not in html and "background:red" not in html
    assert "&lt;script&gt;" in drawn[0]
    for text in (repr(handle), repr(found), _slaf.draw_table(frame, "")[1], info_of(handle.slaf)):
        assert "\x1b" not in text and "\u202e" not in text


def test_long_texts_are_cut_and_whole_in_a_tooltip():
    long = "start " + "y" * 500 + " end"
    html, text = _slaf.draw_table(pa.table({"t": [long, "short"]}), "")
    assert f'title="{long}"' in html
    assert "start yy" in text and "end" not in text


def _extremes() -> dict[str, ad.AnnData]:
    def over(x, **more):
        x = np.asarray(x, np.float32)
        obs = pd.DataFrame(index=[f"c{i}" for i in range(x.shape[0])])
        var = pd.DataFrame(index=[f"g{i}" for i in range(x.shape[1])])
        return ad.AnnData(sparse.csr_matrix(x), obs=obs, var=var, **more)

    wide = over(np.eye(30, 20))
    wide.obs = pd.DataFrame(
        {f"column_{i}": np.arange(30) + i for i in range(1500)}, index=wide.obs_names
    )
    many = over(np.eye(600, 5))
    many.obs["kind"] = pd.Categorical([f"kind {i % 300}" for i in range(600)])
    gaps = over([[np.nan, 1], [0, np.inf]])
    gaps.obs["all_missing"] = [np.nan, np.nan]
    return {
        "one_row": over([[1, 0, 2]]),
        "all_zero": over(np.zeros((5, 4))),
        "nan": gaps,
        "1500_columns": wide,
        "300_categories": many,
    }


@pytest.mark.parametrize("name", ["one_row", "all_zero", "nan", "1500_columns", "300_categories"])
def test_extremes(tmp_path, name):
    target = made(tmp_path, _extremes()[name], f"{name}.slaf")
    handle = read_slaf(target)
    same_as_kept(f"{name}_handle", handle._repr_html_(), repr(handle), target)
    matrix = handle.X.compute()
    same_as_kept(f"{name}_sparse", *sparse_display(matrix))
    for html in (
        handle.obs._repr_html_(),
        handle[:0]._repr_html_(),
        handle[:0].obs._repr_html_(),
        SLAFArray(target)._repr_html_(),
        sparse_display(matrix[:0])[0],
        sparse_display(matrix[:, :0].tocsc())[0],
    ):
        checked(html)


def test_kinds_of_columns_in_an_answer():
    """Every kind of column that an answer can have, with missing values."""
    table = pa.table(
        {
            "day": [dt.date(2024, 1, 1), None, dt.date(2024, 3, 1)],
            "moment": [dt.datetime(2024, 1, 1, 12), None, dt.datetime(2024, 1, 2)],
            "list": [[1, 2, 3, 4, 5], None, []],
            "vector": pa.array([[0.5, 1], None, [2, 3]], pa.list_(pa.float32(), 2)),
            "struct": [{"a": 1, "b": "x"}, None, {"a": 2, "b": "y"}],
            "flag": [True, None, False],
            "null": pa.nulls(3),
            "big": pa.array([2**63, None, 0], pa.uint64()),
            "odd": [float("nan"), float("inf"), 1.5],
            "word": pa.array(["a", None, "a"]).dictionary_encode(),
            "bytes": [b"\x00\xff", None, b""],
        }
    )
    same_as_kept("kinds", *_slaf.draw_table(table, ""))


def test_a_picture_of_many_values_is_of_some():
    matrix = sparse.random(4000, 1000, 0.1, "csr", random_state=0)
    html, text = sparse_display(matrix)
    checked(html)
    assert f"{matrix.nnz:,} stored (10 %)" in text
    assert "of 2,000 of the rows" in text
    turned = sparse_display(matrix.tocsc())[1]
    assert f"{matrix.nnz:,} stored (10 %)" in turned and "of the columns" in turned
