"""The lazy matrix compared with numpy."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import make_counts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slaf.lazy import stream
from slaf.scanpy import pp

CELLS, GENES = 60, 40


@pytest.fixture(scope="module")
def handle(tmp_path_factory):
    adata = make_counts(CELLS, GENES)
    adata.layers["log"] = adata.X.log1p()
    adata.layers["shifted"] = sparse.csr_matrix(
        np.where(adata.X.toarray() > 0, adata.X.toarray() + 1e6, -1.5)
    )
    target = tmp_path_factory.mktemp("matrix") / "x.slaf"
    SLAFConverter().convert_anndata(adata, target)
    return read_slaf(target), adata


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(stream.rows_of_a_block, "__defaults__", (100,))


def matrices(handle, layer):
    ours, adata = handle
    if layer is None:
        return ours.X, adata.X.toarray()
    return ours.layers[layer], adata.layers[layer].toarray()


axis = st.sampled_from([None, 0, 1])
spans = st.builds(
    slice,
    st.none() | st.integers(-CELLS, CELLS),
    st.none() | st.integers(-CELLS, CELLS),
    st.none() | st.sampled_from([-2, -1, 1, 3]),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    layer=st.sampled_from([None, "log", "shifted"]),
    rows=spans,
    columns=st.lists(st.integers(-GENES, GENES - 1), min_size=1, max_size=9) | spans,
    axis=axis,
    logged=st.booleans(),
)
def test_reductions(handle, small_blocks, layer, rows, columns, axis, logged):
    lazy, dense = matrices(handle, layer)
    lazy, dense = lazy[rows, columns], dense[rows][:, columns]
    if logged and layer != "shifted":
        lazy, dense = np.log1p(lazy), np.log1p(dense)
    assert lazy.shape == dense.shape
    if dense.size == 0:
        assert lazy.sum() == 0
        return
    dense = dense.astype(np.float64)
    for name in ("sum", "mean", "var", "std", "min", "max"):
        got, want = getattr(lazy, name)(axis), getattr(dense, name)(axis=axis)
        tolerance = 1e-9 if layer == "shifted" else 1e-6
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=1e-6, err_msg=name)
        if axis is not None:
            assert got.shape == want.shape
    np.testing.assert_array_equal(lazy.getnnz(axis), np.count_nonzero(dense, axis=axis))
    np.testing.assert_allclose(np.mean(lazy, axis=axis), dense.mean(axis=axis), rtol=1e-6)


def test_products(handle, small_blocks):
    lazy, dense = matrices(handle, None)
    rng = np.random.default_rng(0)
    right, left = rng.normal(size=(GENES, 3)), rng.normal(size=(2, CELLS))
    np.testing.assert_allclose(lazy @ right, dense @ right, rtol=1e-6)
    np.testing.assert_allclose(lazy @ right[:, 0], dense @ right[:, 0], rtol=1e-6)
    np.testing.assert_allclose(left @ lazy, left @ dense, rtol=1e-6)
    np.testing.assert_allclose(left[0] @ lazy, left[0] @ dense, rtol=1e-6)
    np.testing.assert_allclose(lazy.T @ left.T, dense.T @ left.T, rtol=1e-6)
    sparse_right = sparse.random(GENES, 5, 0.3, "csr", random_state=0)
    product = lazy @ sparse_right
    assert sparse.issparse(product)
    np.testing.assert_allclose(product.toarray(), dense @ sparse_right.toarray(), rtol=1e-6)
    np.testing.assert_allclose((lazy @ lazy.T).toarray(), dense @ dense.T, rtol=1e-6)
    with pytest.raises(ValueError, match="do not fit"):
        lazy @ np.ones((3, 3))


def test_what_is_done_once_it_is_read_is_told(handle):
    lazy, _ = matrices(handle, None)
    assert lazy.pending == ()
    assert np.expm1(np.log1p(lazy))[:3].pending == ("log1p", "expm1")
    prepared = handle[0].copy()
    pp.normalize_total(prepared)
    pp.log1p(prepared)
    assert prepared.X.pending == ("normalize_total", "log1p")


def test_functions_that_keep_zeros_stay_lazy(handle):
    lazy, dense = matrices(handle, None)
    scale = np.arange(1, CELLS + 1)[:, None]
    weights = np.linspace(0.5, 2, GENES)
    for got, want in (
        (np.log1p(lazy), np.log1p(dense)),
        (np.sqrt(lazy), np.sqrt(dense)),
        (np.expm1(lazy * 0.1), np.expm1(dense * np.float32(0.1))),
        (lazy * 2, dense * 2),
        (3 * lazy / scale, 3 * dense / scale),
        (lazy * weights, dense * weights),
        (lazy**2, dense**2),
        (-lazy, -dense),
        (np.abs(-lazy), dense),
        (np.sign(lazy), np.sign(dense)),
    ):
        assert got.shape == dense.shape
        np.testing.assert_allclose(got.toarray(), want, rtol=1e-6)
        np.testing.assert_allclose(got[::-2, 3:9].toarray(), want[::-2, 3:9], rtol=1e-6)
    for call in (lambda: lazy + 1, lambda: np.cos(lazy), lambda: lazy / 0, lambda: lazy > 1):
        with pytest.raises(TypeError, match=r"\.compute\(\)"):
            call()


@pytest.mark.parametrize("kind", ["csr", "csc"])
def test_no_byte_is_copied(handle, kind):
    """The arrays of scipy's matrix own nothing: they view buffers that Rust
    made. A copy on the way would own its memory, or have numpy's for a base."""
    lazy, dense = matrices(handle, None)
    for matrix in (lazy, lazy[5:30, ::2], np.log1p(lazy)):
        got = matrix.compute(format=kind)
        assert got.format == kind
        for array in (got.indptr, got.indices, got.data):
            assert not array.flags.owndata
            base = array
            while isinstance(base, np.ndarray):
                base = base.base
            assert type(base).__name__ == "PySliceContainer"
    np.testing.assert_array_equal(lazy.compute(format=kind).toarray(), dense)


def test_in_blocks(handle, small_blocks):
    lazy, dense = matrices(handle, None)
    starts, blocks = zip(*lazy.blocks(), strict=True)
    assert len(blocks) == 5
    assert starts[0] == 0
    np.testing.assert_array_equal(sparse.vstack(blocks).toarray(), dense)
    assert [b.shape[0] for b in lazy.chunks(25)] == [25, 25, 10]
    rows = list(lazy[3:9])
    assert [row.shape for row in rows] == [(1, GENES)] * 6
    np.testing.assert_array_equal(sparse.vstack(rows).toarray(), dense[3:9])
    ends = [(start, end) for _, start, end in lazy.chunked(40)]
    assert ends == [(0, 40), (40, 60)]


def test_blocks_can_be_left_in_the_middle(handle, small_blocks):
    lazy, _ = matrices(handle, None)
    for _ in lazy.blocks():
        break
    assert lazy.sum() > 0
    with pytest.raises(KeyboardInterrupt):
        for _ in lazy.blocks():
            raise KeyboardInterrupt
    assert lazy.sum() > 0


def test_an_axis_that_is_none(handle):
    with pytest.raises(ValueError, match="axes 0 and 1"):
        handle[0].X.sum(axis=2)
    with pytest.raises(ValueError, match="csr"):
        handle[0].X.compute(format="coo")


def test_a_damaged_table_is_an_error_in_a_stream_too(tmp_path, small_blocks):
    adata = make_counts(CELLS, GENES)
    target = tmp_path / "x.slaf"
    SLAFConverter().convert_anndata(adata, target)
    lazy = np.log1p(read_slaf(target).X)
    for file in (target / "expression.lance" / "data").glob("*.lance"):
        content = bytearray(file.read_bytes())
        content[40 : len(content) // 2] = bytes(len(content) // 2 - 40)
        file.write_bytes(content)
    with pytest.raises(Exception, match="expression"):
        lazy.sum(0)
