"""What people put into uns and into frames of obsm is stored in a simpler form, with a
warning, or raises an error that names the entry, before X is read."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import json
import pathlib
import re
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from slaf import SlafError
from slaf.data import SLAFConverter
from slaf.data.source_check import check
from slaf.data.sources.base import Source, SparseRows
from slaf.data.sources.joined_inputs import many
from slaf.integrations import read_slaf

N = 4
DAY = pd.Timestamp("2024-01-02")
Kind = enum.Enum("Kind", {"A": "first"})


def adata_of(**uns) -> ad.AnnData:
    x = sparse.csr_matrix(np.eye(N, 2, dtype=np.float32))
    return ad.AnnData(x, obs=pd.DataFrame(index=[f"c{i}" for i in range(N)]), uns=uns)


def frame(**columns) -> pd.DataFrame:
    return pd.DataFrame(columns)


#: What goes in, what comes out, and what is said of it.
FORMS = {
    "int keys": ({0: "#f00", 1: {2: 3}}, {"0": "#f00", "1": {"2": 3}}, "name 0 as text"),
    "tuple keys": ({("a", "b"): 1, None: 2}, {"a_b": 1, "None": 2}, "as text"),
    "slash": ({"a/b": 1, "": 2, ".": 3}, {"a|b": 1, "_": 2, "__": 3}, "named"),
    "tuple": ((1, 2), np.array([1, 2]), "tuple as a list"),
    "set": ({"b", "a"}, np.array(["a", "b"]), "set as a list"),
    "range": (range(3), np.arange(3), "range as a list"),
    "defaultdict": (collections.defaultdict(int, a=1), {"a": 1}, None),
    "none": ({"x": None, "y": 1}, {"x": None, "y": 1}, None),
    "mixed list": (["a", 1], np.array(["a", "1"]), "as text"),
    "list with a gap": ([1, None], pd.array([1, None], dtype="Int64"), None),
    "texts with a gap": (np.array(["a", None], object), pd.Categorical(["a", None]), None),
    "bools with a gap": (
        np.array([True, None], object),
        pd.array([True, None], dtype="boolean"),
        None,
    ),
    "ints as objects": (np.array([1, 2], object), np.array([1, 2]), None),
    "numpy scalars": ({"a": np.float16(1.5), "b": np.bool_(True)}, {"a": 1.5, "b": True}, None),
    "complex": (1 + 2j, np.complex128(1 + 2j), None),
    "bytes": (b"abc", "abc", "bytes as text"),
    "array of bytes": (np.array([b"a", b"b"]), np.array(["a", "b"]), "bytes as text"),
    "masked": (np.ma.masked_array([1, 2], [0, 1]), pd.array([1, None], dtype="Int64"), None),
    "masked floats": (np.ma.masked_array([1.0, 2], [0, 1]), np.array([1, np.nan]), "masked"),
    "Index": (pd.Index(["x", "y"]), np.array(["x", "y"]), "Index as an array"),
    "RangeIndex": (pd.RangeIndex(2), np.arange(2), "RangeIndex as an array"),
    "days": (pd.DatetimeIndex([DAY, DAY]), np.array(["2024-01-02"] * 2), "as text"),
    "datetime64": (np.array([DAY], "datetime64[s]"), np.array(["2024-01-02"]), "as text"),
    "moment": (DAY, "2024-01-02T00:00:00", "Timestamp as text"),
    "date": (dt.date(2024, 1, 2), "2024-01-02", "date as text"),
    "duration": (dt.timedelta(hours=1), "P0DT1H0M0S", "as text"),
    "np duration": (np.timedelta64(1, "h"), "P0DT1H0M0S", "as text"),
    "decimal": (decimal.Decimal("1.10"), "1.10", "Decimal as text"),
    "path": (pathlib.PurePosixPath("/a/b"), "/a/b", "as text"),
    "enum": (Kind.A, "first", None),
    "Series": (
        pd.Series([1, 2], ["a", "b"]),
        pd.DataFrame({"values": [1, 2]}, ["a", "b"]),
        "one column",
    ),
    "int columns": (
        pd.DataFrame(np.ones((2, 2))),
        pd.DataFrame({"0": [1.0, 1], "1": [1.0, 1]}),
        "as text",
    ),
    "columns of levels": (
        pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")])),
        frame(a_b=[1], a_c=[2]),
        "as text",
    ),
    "index of levels": (
        pd.DataFrame({"x": [1]}, pd.MultiIndex.from_tuples([("a", 2)], names=["p", "q"])),
        frame(p=["a"], q=[2], x=[1]),
        "levels of the index as columns",
    ),
    "index of days": (
        pd.DataFrame({"x": [1]}, pd.DatetimeIndex([DAY])),
        pd.DataFrame({"x": [1]}, ["2024-01-02"]),
        "as text",
    ),
    "frame of days": (
        frame(d=[DAY, pd.NaT]),
        frame(d=pd.Categorical(["2024-01-02", None])),
        "as text",
    ),
    "frame of pyarrow": (
        frame(i=[1, None], s=["a", "b"]).astype({"i": "int64[pyarrow]", "s": "string[pyarrow]"}),
        frame(i=pd.array([1, None], dtype="Int64"), s=["a", "b"]),
        None,
    ),
    "polars": (
        pl.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
        frame(a=[1, 2], b=["x", "y"]),
        "as pandas has it",
    ),
    "int categories": (pd.Categorical([1, 2]), pd.Categorical([1, 2]), None),
    "mixed categories": (
        pd.Categorical(["0", 0, 1]),
        pd.Categorical(["0", "0", "1"]),
        "categories: ",
    ),
    "coo": (sparse.coo_matrix(np.eye(2)), np.eye(2), "coo as csr"),
    "records": (
        np.rec.fromarrays([np.array(["A", np.nan], object), np.array([1.0, 2])], names="x,y"),
        np.array([("A", 1.0), ("nan", 2.0)], dtype=[("x", object), ("y", float)]),
        "all as text",
    ),
}


def check_equal(got, want) -> None:
    if isinstance(want, dict):
        assert got.keys() == want.keys()
        for key in want:
            check_equal(got[key], want[key])
    elif isinstance(want, pd.DataFrame):
        index = want.index.astype(str)
        pd.testing.assert_frame_equal(got.set_axis(got.index.astype(str)), want.set_axis(index))
    elif isinstance(want, pd.api.extensions.ExtensionArray):
        pd.testing.assert_series_equal(pd.Series(got), pd.Series(want))
    elif want is None:
        assert got is None
    elif getattr(want, "dtype", np.dtype(int)).names:
        assert got.tolist() == want.tolist()
    else:
        got = got.toarray() if sparse.issparse(got) else got
        np.testing.assert_array_equal(got, want)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uns")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        uns = {name: value for name, (value, _, _) in FORMS.items()}
        SLAFConverter().convert_anndata(adata_of(**uns), folder / "x.slaf")
        read_slaf(folder / "x.slaf").write_h5ad(folder / "x.h5ad")
    return folder, [str(w.message) for w in said if "another form" in str(w.message)]


@pytest.mark.parametrize("name", FORMS)
def test_what_has_an_obvious_form_is_stored_in_it(stored, name):
    """scverse/squidpy#409, scverse/anndata#498, #2009, #493, #679, scverse/scanpy#1651."""
    folder, said = stored
    _, want, how = FORMS[name]
    check_equal(read_slaf(folder / "x.slaf").uns[name], want)
    check_equal(ad.read_h5ad(folder / "x.h5ad").uns[name], want)
    assert len(said) == 1
    entries = [e for e in said[0].split("; ") if re.search(f"`uns/{name}[`/:]", e)]
    assert bool(entries) == (how is not None)
    assert how is None or how in " ".join(entries)


def test_slafdb_sees_what_json_can_say(stored):
    """scverse/anndata#493."""
    told = json.loads((stored[0] / "x.slaf" / "uns.json").read_text())
    assert told["int keys"] == {"0": "#f00", "1": {"2": 3}}
    assert told["set"] == ["a", "b"]


class Thing:
    pass


REFUSED = {
    "function": len,
    "lambda": lambda: 0,
    "class": Thing,
    "object": Thing(),
    "generator": (i for i in ()),
    "ragged": [[1, 2], [3]],
    "dicts": [{"a": 1}, {"b": 2}],
    "huge": 2**70,
    "zero byte": "a\0b",
    "surrogate": "\ud800",
    "not UTF-8": b"\xff",
    "arrays in an array": np.array([np.ones(2), np.ones(3)], object),
    "same key twice": {1: "a", "1": "b"},
    "frame of functions": pd.DataFrame({"f": [len, max]}),
    "frame of one name": pd.DataFrame([[1, 2]], columns=["a", "a"]),
}


@pytest.fixture
def unread(monkeypatch):
    """X that must not be read."""

    def blocks(self, start=0):
        raise AssertionError("X was read")

    monkeypatch.setattr(SparseRows, "blocks", blocks)


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_none_is_refused_before_x_is_read(tmp_path, unread, name):
    """scverse/anndata#898, #912, #1052; scverse/scanpy#3070."""
    adata = adata_of(thing={"deep": REFUSED[name]})
    with pytest.raises(SlafError, match="`uns/thing/deep") as said:
        SLAFConverter().convert_anndata(adata, tmp_path / "x.slaf")
    assert "\n" not in str(said.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("column", "section"),
    [
        ([len] * N, "obs"),
        ([np.ones(2)] * N, "obs"),
        ([b"\xff"] * N, "obs"),
        (pd.Series(["\ud800"] * N, [f"c{i}" for i in range(N)], dtype=object), "obs"),
        (np.array(["1.1", "2"] * 2).astype("longdouble") / 3, "obs"),
        ([len] * N, "obsm"),
    ],
)
def test_a_column_that_cannot_be_stored_is_named_before_x_is_read(
    tmp_path, unread, column, section
):
    """scverse/anndata#558, #1052; pandas-dev/pandas#10743."""
    adata = adata_of()
    if section == "obs":
        adata.obs["bad"] = column
    else:
        adata.obsm["frame"] = pd.DataFrame({"bad": column}, index=adata.obs_names)
    where = "obs/bad" if section == "obs" else "obsm/frame/bad"
    with pytest.raises(SlafError, match=f"`{where}`") as said:
        SLAFConverter().convert_anndata(adata, tmp_path / "x.slaf")
    assert "\n" not in str(said.value)
    assert list(tmp_path.iterdir()) == []


def test_values_of_many_kinds_become_text_and_equal_categories_one(tmp_path):
    """scverse/anndata#761, #33; scverse/scanpy#1747."""
    adata = adata_of()
    adata.obs["mixed"] = ["a", 1, 2.5, None]
    adata.obs["both"] = pd.Categorical(["0", 0, 1, None], [1, 0, "0"])
    with pytest.warns(UserWarning) as said:
        SLAFConverter().convert_anndata(adata, tmp_path / "x.slaf")
    (text,) = [str(w.message) for w in said if "another form" in str(w.message)]
    assert "`obs/mixed`: float, int, str as text" in text
    assert "`obs/both`: categories: int, str as text" in text
    got = read_slaf(tmp_path / "x.slaf").obs
    assert got["mixed"].where(got["mixed"].notna(), None).tolist() == ["a", "1", "2.5", None]
    want = pd.Categorical(["0", "0", "1", None], ["1", "0"])
    pd.testing.assert_series_equal(got["both"].reset_index(drop=True), pd.Series(want, name="both"))


def test_of_many_inputs_the_one_is_named(tmp_path):
    """scverse/anndata#1052."""
    sources = []
    for name in "ab":
        adata = adata_of(thing=len if name == "b" else 1)
        adata.obs_names = name + adata.obs_names
        metadata = adata.copy
        sources.append(Source(name=name, x=SparseRows(adata.X, adata.shape), metadata=metadata))
    with pytest.raises(SlafError, match="`b`: `uns/thing`"):
        check(many(sources))


def test_save_says_what_it_cannot_store(tmp_path):
    """scverse/anndata#1052."""
    SLAFConverter().convert_anndata(adata_of(), tmp_path / "x.slaf")
    handle = read_slaf(tmp_path / "x.slaf")
    handle.uns["fine"] = {0: (1, 2)}
    with pytest.warns(UserWarning, match="`uns/fine/0`"):
        handle.save()
    check_equal(read_slaf(tmp_path / "x.slaf").uns["fine"], {"0": np.array([1, 2])})
    handle.uns["thing"] = len
    with pytest.raises(SlafError, match="`uns/thing`"):
        handle.save()
    assert "thing" not in read_slaf(tmp_path / "x.slaf").uns
