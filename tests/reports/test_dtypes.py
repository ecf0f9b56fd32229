"""Matrices of every dtype are stored, computed and returned as in numpy and scanpy."""

from __future__ import annotations

import warnings
from functools import cache

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from conftest import dense
from scipy import sparse
from slaf import SLAFArray, SlafError
from slaf.data import SLAFConverter
from slaf.ground.dtypes import engine_values
from slaf.integrations import read_slaf
from slaf.ml import GeneformerTokenizer, ScGPTTokenizer, SLAFDataLoader
from slaf.scanpy import pp, tl

CELLS, GENES = 40, 14
INTEGERS = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
DTYPES = [*INTEGERS, "float16", "float32", "float64", ">i2", ">u4", ">i8", ">f2", ">f4", ">f8"]
FORMS = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}
#: float32, as scanpy's own results are.
CLOSE = {"rtol": 2e-5, "atol": 1e-6}

#: scipy has no sparse matrices of half precision, and turns the order of bytes.
PAIRS = [(d, f) for d in DTYPES for f in FORMS if f == "dense" or (d[0] != ">" and d != "float16")]

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_pair = pytest.mark.parametrize(("dtype", "form"), PAIRS)
#: scanpy takes longer than we do: of each dtype one form, and of counts all.
some_pairs = pytest.mark.parametrize(
    ("dtype", "form"), [p for p in PAIRS if p[1] == "dense" or p[0] in ("bool", "int32")]
)


@cache
def values(dtype: str) -> np.ndarray:
    """Counts as large as the dtype takes, so that sums would overflow, or logarithms."""
    rng = np.random.default_rng(7)
    counts = rng.integers(1, 120, (CELLS, GENES)) * (rng.random((CELLS, GENES)) < 0.6)
    counts[:, 0], counts[1], counts[:, 3] = 0, 0, 5
    kind = np.dtype(dtype)
    if kind.kind == "f":
        counts = counts / 32
    elif kind.kind == "u" and kind.itemsize == 1:
        counts = counts * 2
    elif kind.itemsize >= 4:
        counts = counts * 1_000_003
    return counts.astype(dtype)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """dtype and form → a dataset whose X, layer and raw are so, made once."""
    folder = tmp_path_factory.mktemp("dtypes")

    @cache
    def make(dtype: str, form: str):
        adata = ad.AnnData(
            FORMS[form](values(dtype)),
            obs=pd.DataFrame(
                {"group": pd.Categorical(list("ab") * (CELLS // 2))},
                index=[f"c{i}" for i in range(CELLS)],
            ),
            var=pd.DataFrame({"mt": np.arange(GENES) < 4}, index=[f"g{i}" for i in range(GENES)]),
        )
        adata.layers["same"] = adata.X.copy()
        adata.raw = adata.copy()
        path = folder / f"{dtype.replace('>', 'big-endian-')}-{form}.slaf"
        SLAFConverter().convert_anndata(adata, path)
        return path

    return make


def scanpys(dtype: str) -> ad.AnnData:
    """In float32: scanpy compiles its functions anew for each dtype."""
    adata = ad.AnnData(sparse.csr_matrix(values(dtype).astype(np.float32)))
    adata.obs_names = [f"c{i}" for i in range(CELLS)]
    adata.var_names = [f"g{i}" for i in range(GENES)]
    adata.var["mt"] = np.arange(GENES) < 4
    adata.obs["group"] = pd.Categorical(list("ab") * (CELLS // 2))
    return adata


def given(dtype: str) -> np.dtype:
    """float16 comes as float32: scipy has no half precision."""
    return np.dtype("float32") if "f2" in dtype or dtype == "float16" else np.dtype(dtype)


def matrices(handle):
    yield "X", handle.X
    yield "layer", handle.layers["same"]
    yield "raw", handle.raw.X
    held = handle.copy()
    held.X = handle.X.compute()
    yield "in memory", held.X


ROW, COLUMN = np.linspace(0.5, 2, GENES), np.arange(1, CELLS + 1)[:, None]
OPERATIONS = {
    "sum": lambda x: [x.sum(axis=a) for a in (None, 0, 1)],
    "mean": lambda x: [x.mean(axis=a) for a in (None, 0, 1)],
    "var": lambda x: [x.var(axis=a) for a in (None, 0, 1)],
    "std": lambda x: [x.std(axis=a) for a in (None, 0, 1)],
    "min": lambda x: [x.min(axis=a) for a in (None, 0, 1)],
    "max": lambda x: [x.max(axis=a) for a in (None, 0, 1)],
    "nonzero": lambda x: [np.count_nonzero(x, axis=a) for a in (None, 0, 1)],
    "rows": lambda x: x[::-2],
    "columns": lambda x: x[:, [5, 1, 1]],
    "both": lambda x: x[3:9, 2:],
    "transpose": lambda x: x.T,
    "times": lambda x: x * 2.5,
    "times a row": lambda x: x * ROW,
    "times a column": lambda x: COLUMN * x,
    "per row": lambda x: x / COLUMN,
    "power": lambda x: x**2,
    "sqrt": np.sqrt,
    "log1p": np.log1p,
    "expm1": lambda x: np.expm1(x * 1e-7),
    "abs": np.abs,
    "sign": np.sign,
    "negative": lambda x: -x,
    "of the transpose": lambda x: np.sqrt(x.T)[2:5],
    "right": lambda x: x @ np.eye(GENES)[:, ::-1],
    "vector": lambda x: x @ np.arange(GENES),
    "left": lambda x: np.ones((2, CELLS)) @ x,
    "with itself": lambda x: x.T @ x,
}


@each_pair
def test_every_operation_is_numpys(made, dtype, form):
    """chanzuckerberg/cellxgene#2379: matrices in 16 bits."""
    handle = read_slaf(made(dtype, form))
    exact = values(dtype)
    plain = exact.astype(np.float64)
    for place, matrix in matrices(handle):
        assert matrix.dtype == given(dtype).newbyteorder("="), place
        for computed in (matrix.compute(), matrix.compute(format="csc")):
            assert computed.dtype == matrix.dtype
            np.testing.assert_array_equal(dense(computed), exact, err_msg=place)
        for name, operation in OPERATIONS.items():
            got, want = operation(matrix), operation(plain)
            if not isinstance(want, list):
                got, want = [got], [want]
            # Only what numpy itself rounds to float32 may be as coarse.
            coarse = getattr(got[0], "dtype", np.float64) == np.float32
            for g, w in zip(got, want, strict=True):
                np.testing.assert_allclose(
                    dense(g), w, rtol=2e-6 if coarse else 1e-12, err_msg=f"{place}: {name}"
                )
        for other in ("float64", "int64", "float32"):
            cast = matrix.astype(other)
            assert cast.dtype == other
            np.testing.assert_array_equal(dense(cast), exact.astype(other))
    with pytest.raises(SlafError, match=r"float16"):
        handle.X.astype("float16")


def computed(x: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(all="ignore"):
        return OPERATIONS[name](x)


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "uint64", "float32", "float64"])
@pytest.mark.parametrize("name", ["times", "sqrt", "log1p", "times a row", "per row", "power"])
def test_arithmetic_is_as_precise_as_numpys(dtype, name):
    """float32 rounds integers from 2^24 on, and numpy does not."""
    from slaf.lazy.matrix import LazyExpressionMatrix
    from slaf.lazy.plan import MatrixPlan
    from slaf.lazy.sources import Held

    x = np.arange(CELLS * GENES).reshape(CELLS, GENES).astype(dtype) + np.dtype(dtype).type(2**24)
    want = computed(x, name)
    got = OPERATIONS[name](LazyExpressionMatrix.over(MatrixPlan.of(Held(x))))
    if want.dtype.kind == "f":
        assert got.dtype == want.dtype
    close = 1e-6 if want.dtype == np.float32 else 1e-15
    exact = x.astype(np.float64) ** 2 if name == "power" else want
    np.testing.assert_allclose(got.toarray(), exact, rtol=close)


PREPROCESSING = {
    "normalize to the median": lambda pp, a: pp.normalize_total(a, target_sum=None),
    "normalize": lambda pp, a: pp.normalize_total(
        a, target_sum=1e4, exclude_highly_expressed=True, max_fraction=0.3
    ),
    "log1p": lambda pp, a: pp.log1p(a),
    "log2p": lambda pp, a: pp.log1p(a, base=2),
    "filter cells": lambda pp, a: pp.filter_cells(a, min_genes=3),
    "filter genes": lambda pp, a: pp.filter_genes(a, min_cells=3),
    "filter by counts": lambda pp, a: pp.filter_cells(a, min_counts=1),
    "scale": lambda pp, a: pp.scale(a),
    "scale, clipped": lambda pp, a: pp.scale(a, max_value=1.5),
}


@some_pairs
def test_preprocessing_is_scanpys(made, dtype, form):
    """scverse/scanpy#435, scverse/scanpy#2500, theislab/ehrapy#836: integers as X."""
    path = made(dtype, form)
    for name, function in PREPROCESSING.items():
        handle, adata = read_slaf(path), scanpys(dtype)
        if name.startswith("scale"):
            adata.X = values(dtype).astype(np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function(sc.pp, adata)
            function(pp, handle)
        got = dense(handle.X.compute())
        np.testing.assert_allclose(got, dense(adata.X), **CLOSE, err_msg=name)
        for column in [*adata.obs.columns.drop("group"), *adata.var.columns]:
            frame = "obs" if column in adata.obs else "var"
            np.testing.assert_allclose(
                getattr(handle, frame)[column].to_numpy(float),
                getattr(adata, frame)[column].to_numpy(float),
                **CLOSE,
                err_msg=f"{name}: {column}",
            )
        if name.startswith("scale") and np.dtype(dtype).kind != "f":
            assert handle.X.dtype == "float64", name
        elif "filter" not in name:
            wide = given(dtype).newbyteorder("=") == np.float64
            assert handle.X.dtype == ("float64" if wide else "float32"), name


@some_pairs
def test_statistics_are_scanpys(made, dtype, form):
    """scverse/scanpy#2758: quality control of a boolean matrix."""
    handle, adata = read_slaf(made(dtype, form)), scanpys(dtype)
    sc.pp.calculate_qc_metrics(adata, qc_vars=["mt"], percent_top=(2, 5), inplace=True)
    pp.calculate_qc_metrics(handle, qc_vars=["mt"], percent_top=(2, 5))
    for frame in ("obs", "var"):
        want = getattr(adata, frame).select_dtypes("number")
        for name, column in want.items():
            got = getattr(handle, frame)[name]
            np.testing.assert_allclose(got.to_numpy(float), column, **CLOSE, err_msg=name)
    for which in (sc.pp, pp):
        data = adata if which is sc.pp else handle
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            which.normalize_total(data, target_sum=1e4)
            which.log1p(data)
    for flavor in ("seurat", "cell_ranger"):
        kept = [f"g{i}" for i in range(1, GENES)]
        got = pp.highly_variable_genes(handle[:, kept], flavor=flavor, inplace=False)
        want = sc.pp.highly_variable_genes(adata[:, kept].copy(), flavor=flavor, inplace=False)
        for name in ("means", "dispersions"):
            np.testing.assert_allclose(got[name], want[name], rtol=1e-4, err_msg=flavor)
    for method in ("t-test", "t-test_overestim_var", "wilcoxon"):
        sc.tl.rank_genes_groups(adata, "group", method=method, pts=True)
        tl.rank_genes_groups(handle, "group", method=method, pts=True, use_raw=False)
        got, want = (a.uns["rank_genes_groups"] for a in (handle, adata))
        pd.testing.assert_frame_equal(got["pts"], want["pts"], check_names=False)
        for group in "ab":
            scores = pd.Series(got["scores"][group], got["names"][group])
            expected = pd.Series(want["scores"][group], want["names"][group])
            np.testing.assert_allclose(
                scores.loc[expected.index], expected, rtol=1e-3, atol=1e-3, err_msg=method
            )
    with np.errstate(over="ignore", invalid="ignore"):
        tl.rank_genes_groups(handle, "group", layer="same", method="wilcoxon")
        tl.rank_genes_groups(handle, "group", use_raw=True, method="wilcoxon")


@each_dtype
def test_components_are_those_of_the_same_numbers(made, dtype):
    """Sums of squares of integers do not overflow."""
    handle = read_slaf(made(dtype, "dense"))
    x = values(dtype).astype(np.float64)
    pp.pca(handle, n_comps=3)
    spread = np.linalg.svd(x - x.mean(0), compute_uv=False)[:3] ** 2 / (CELLS - 1)
    np.testing.assert_allclose(handle.uns["pca"]["variance"], spread, rtol=1e-6)
    other = read_slaf(made(dtype, "dense"))
    pp.pca(other, n_comps=3, svd_solver="randomized")
    np.testing.assert_allclose(other.uns["pca"]["variance"], spread, rtol=1e-4)


@each_pair
def test_what_leaves_is_what_came(made, dtype, form, tmp_path):
    """single-cell-data/TileDB-SOMA#39: float16."""
    path = made(dtype, form)
    exact, kind = values(dtype), given(dtype).newbyteorder("=")
    handle = read_slaf(path)
    handle.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    memory = handle.to_adata()
    SLAFConverter().convert(str(path), str(tmp_path / "copy.slaf"))
    copy = read_slaf(tmp_path / "copy.slaf")
    for adata in (back, memory, copy):
        for matrix in (adata.X, adata.layers["same"], adata.raw.X):
            assert matrix.dtype == kind
            np.testing.assert_array_equal(dense(matrix), exact)
    array = SLAFArray(path)
    rows, columns = np.nonzero(exact)
    for table in (("expression", None), ("layers", "same")):
        found = array.get_submatrix(slice(0, 5), table_name=table[0], layer_name=table[1])
        np.testing.assert_array_equal(found["value"].to_numpy(), exact[:5][exact[:5] != 0])
    sums = array.query("SELECT SUM(value) AS s, AVG(value) AS a, MAX(value) AS m FROM expression")
    stored = exact[rows, columns].astype(np.float64)
    want = stored.sum(), stored.mean(), stored.max()
    np.testing.assert_allclose([float(v) for v in sums.row(0)], want, rtol=1e-6)


@each_dtype
def test_tokens_are_those_of_floats(made, dtype):
    """bowang-lab/scGPT#110: genes of a cell, whatever the matrix's dtype."""
    path = made(dtype, "dense")
    array, exact = SLAFArray(path), values(dtype)
    for tokenizer in (GeneformerTokenizer(array), ScGPTTokenizer(array)):
        got = tokenizer.encode(exact)
        want = tokenizer.encode(exact.astype(np.float64))
        for name in want:
            np.testing.assert_array_equal(got[name], want[name], err_msg=name)
    loader = SLAFDataLoader(
        path, raw_mode=True, batch_size=CELLS, tensors=False, shuffle=False, verbose=False
    )
    assert len(next(iter(loader))["cell_ids"]) == CELLS


def test_a_matrix_to_tokenize_stays_as_it_is(made):
    """A matrix with unsorted columns was sorted in place."""
    array = SLAFArray(made("int32", "csr"))
    x = sparse.csr_matrix(([3, 1, 2], [5, 2, 5], [0, 3]), (1, GENES))
    before = x.indices.copy(), x.data.copy()
    found = GeneformerTokenizer(array).encode(x)
    np.testing.assert_array_equal(x.indices, before[0])
    np.testing.assert_array_equal(x.data, before[1])
    # Values of one gene are added up, as scipy reads them.
    ids = found["input_ids"][found["attention_mask"]]
    assert len(set(ids)) == len(ids) == 4


@pytest.mark.parametrize("value", [2**63 + 1, 2**64 - 1])
def test_integers_that_no_float_holds_are_refused(tmp_path, value):
    """They would come back as other numbers."""
    x = np.array([[value, 0], [0, 1]], dtype=np.uint64)
    with pytest.raises(SlafError, match=r"2\^63"):
        SLAFConverter().convert_anndata(ad.AnnData(x), tmp_path / "x.slaf")
    assert not list(tmp_path.iterdir())


def test_integers_that_a_float_holds_come_back(tmp_path):
    """2^63 and beyond, of uint64."""
    x = np.array([[2**63, 0], [2**63 + 2**40, 1]], dtype=np.uint64)
    adata = ad.AnnData(x, layers={"same": x})
    SLAFConverter().convert_anndata(adata, tmp_path / "x.slaf")
    handle = read_slaf(tmp_path / "x.slaf")
    for matrix in (handle.X, handle.layers["same"]):
        np.testing.assert_array_equal(matrix.toarray(), x)
        np.testing.assert_array_equal(matrix.T.toarray(), x.T)
        np.testing.assert_array_equal(matrix.max(0), x.max(0).astype(float))


@pytest.mark.parametrize("dtype", ["complex64", "object", "U3", "datetime64[s]"])
def test_what_is_no_number_is_refused(dtype):
    """One sentence, not another library's traceback."""
    data = np.zeros(3, dtype)
    with pytest.raises(SlafError, match="only real numbers"):
        engine_values(data)


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "uint64", "float32", "bool"])
def test_what_is_set_and_saved_comes_back(made, dtype):
    """A layer of uint32 lost its digits beyond 2^24, or was refused."""
    path = made("int8", "csr")
    handle = read_slaf(path)
    new = values("int8").astype(dtype) * np.dtype(dtype).type(1 if dtype == "bool" else 2**24 + 1)
    handle.layers[dtype] = new
    np.testing.assert_array_equal(handle.layers[dtype].toarray(), new)
    handle.save(layers=[dtype])
    back = read_slaf(path).layers[dtype]
    assert back.dtype == new.dtype
    np.testing.assert_array_equal(back.toarray(), new)
