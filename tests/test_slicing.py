"""Slicing with any key, on each axis, chained: the results are AnnData's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import dense, make_counts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inside import answer
from slaf.data import SLAFConverter
from slaf.dataset import Dataset
from slaf.integrations import read_slaf

CELLS, GENES = 60, 40


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    adata = make_counts(CELLS, GENES)
    target = tmp_path_factory.mktemp("slices") / "made.slaf"
    SLAFConverter().convert_anndata(adata, target)
    # scipy cannot slice every sparse matrix that has one value.
    adata.X = adata.X.toarray()
    return read_slaf(target), adata


def keys(length: int, name):
    """Keys on an axis of `length` whose i-th name is `name(i)`."""
    position = st.integers(-length, length - 1)
    positions = st.lists(position, max_size=12)
    names = st.lists(st.integers(0, length - 1).map(name), min_size=1, max_size=6)
    masks = st.lists(st.booleans(), min_size=length, max_size=length)
    bound = st.none() | st.integers(-length - 3, length + 3)
    step = st.none() | st.sampled_from([-3, -1, 1, 2, 5])
    return st.one_of(
        position,
        positions,
        positions.map(lambda p: np.array(p, dtype=np.int64)),
        names,
        names.map(lambda n: pd.Index(n)),
        st.integers(0, length - 1).map(name),
        masks,
        masks.map(np.array),
        st.builds(slice, bound, bound, step),
    )


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=keys(CELLS, lambda i: f"cell-{i}"),
    columns=keys(GENES, lambda i: f"ENSG{i:05d}"),
)
def test_one_key(pair, rows, columns):
    lazy, adata = pair
    want = adata[rows, columns]
    got = lazy[rows, columns]
    assert got.shape == want.shape
    np.testing.assert_array_equal(got.X.toarray(), dense(want.X))
    assert list(got.obs_names) == list(want.obs_names)
    assert list(got.var_names) == list(want.var_names)
    np.testing.assert_array_equal(got.obs["n_genes"], want.obs["n_genes"])


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_chained_keys(pair, data):
    lazy, adata = pair
    for _ in range(3):
        n, m = adata.shape
        if 0 in (n, m):
            break
        bound = lambda k: st.none() | st.integers(-k - 2, k + 2)  # noqa: E731
        index = lambda k: st.lists(st.integers(-k, k - 1), min_size=1, max_size=9)  # noqa: E731
        step = st.sampled_from([None, 1, 2, -1, -2])
        rows = data.draw(st.builds(slice, bound(n), bound(n), step) | index(n))
        columns = data.draw(st.builds(slice, bound(m), bound(m), step) | index(m))
        # A copy: AnnData cannot chain every view.
        lazy, adata = lazy[rows, columns], adata[rows, columns].copy()
    np.testing.assert_array_equal(lazy.X.toarray(), dense(adata.X))
    assert list(lazy.obs_names) == list(adata.obs_names)


def test_boolean_series_and_frames(pair):
    lazy, adata = pair
    mask = adata.obs.cell_type == "T cells"
    want = adata[mask, :]
    assert list(lazy[lazy.obs.cell_type == "T cells", :].obs_names) == list(want.obs_names)
    frame = pl.DataFrame({"cell_id": list(want.obs_names), "n": range(want.n_obs)})
    assert list(lazy[frame].obs_names) == list(want.obs_names)
    sql = "SELECT cell_integer_id FROM cells WHERE cell_type = 'T cells' ORDER BY 1"
    assert list(lazy[answer(lazy.slaf, sql)].obs_names) == list(want.obs_names)


@pytest.mark.parametrize(
    ("key", "error"),
    [
        (60, IndexError),
        (-61, IndexError),
        ([0, 60], IndexError),
        ("cell-60", KeyError),
        (["cell-1", "nobody"], KeyError),
        ([True, False], IndexError),
        ([0.5], IndexError),
    ],
)
def test_a_wrong_key_is_anndatas_error(pair, key, error):
    lazy, adata = pair
    with pytest.raises(error):
        adata[key].X.sum()  # noqa: B018
    with pytest.raises(error):
        lazy[key]


def test_a_near_miss_is_suggested(pair):
    with pytest.raises(KeyError, match="Did you mean `cell-1`"):
        pair[0]["cell_1"]


def test_slicing_reads_nothing(pair, monkeypatch):
    lazy, _ = pair
    monkeypatch.setattr(Dataset, "csr", lambda *_: pytest.fail("X was read"))
    assert lazy[10:50][::2, :7][5:].shape == (15, 7)


def test_reductions_are_numpys(pair):
    lazy, adata = pair
    x = dense(adata.X).astype(np.float64)
    for axis in (None, 0, 1):
        np.testing.assert_allclose(lazy.X.sum(axis), x.sum(axis))
        np.testing.assert_allclose(lazy[3:40].X.mean(axis), x[3:40].mean(axis))
