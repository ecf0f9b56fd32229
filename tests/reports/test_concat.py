"""`slaf.concat` returns what `anndata.concat` returns for the same cells."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import slaf
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy import sparse
from slaf import SlafError
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slaf.integrations.scanpy import pp
from slaf.lazy.plan import MatrixPlan

DTYPES = ("bool", "int32", "int64", "float32", "float64")
GENES = [f"g{i}" for i in range(9)]


def made(seed: int) -> ad.AnnData:
    """Some of everything, by chance."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 7)) if seed % 5 else 0
    genes = rng.permutation(GENES)[: rng.integers(3, 9)]
    m = len(genes)

    def maybe() -> bool:
        return rng.random() < 0.7

    def numbers(*shape: int) -> np.ndarray:
        values = rng.integers(-3, 4, shape) * rng.integers(0, 2, shape)
        return values.astype(rng.choice(DTYPES))

    def matrix() -> sparse.csr_matrix:
        return sparse.csr_matrix(np.abs(numbers(n, m)))

    cells = [f"c{seed}-{i}" for i in range(n)]
    columns = {
        "kind": pd.Categorical(rng.choice(["T", "B", "NK"], n)),
        "size": pd.Categorical(rng.choice(["s", "l"], n), categories=["s", "l"], ordered=True),
        "count": rng.integers(0, 9, n),
        "score": rng.normal(size=n),
        "seen": rng.random(n) < 0.5,
        "donor": rng.choice(["d1", "d2"], n).astype(object),
        "age": pd.array(rng.integers(0, 9, n), dtype="Int64"),
    }
    obs = pd.DataFrame({k: v for k, v in columns.items() if maybe()}, index=cells)
    shared = {g: f"S{g}" for g in GENES}
    var = pd.DataFrame(index=pd.Index(genes, dtype=object))
    var["symbol"] = [shared[g] for g in genes]
    if maybe():
        var["mt"] = rng.random(m) < 0.5
    adata = ad.AnnData(matrix(), obs=obs, var=var)
    for key in ("counts", "half"):
        if maybe():
            adata.layers[key] = matrix()
    wide = int(rng.integers(1, 4))
    embeddings = {
        "X_pca": rng.normal(size=(n, wide)).astype(rng.choice(["float32", "float64"])),
        "X_some": numbers(n, wide),
        "graph": sparse.csr_matrix(numbers(n, wide)),
        "table": pd.DataFrame(
            {f"t{i}": rng.choice([1.5, 2.5], n) for i in range(wide)}, index=cells
        ).assign(word=rng.choice(["a", "b"], n)),
    }
    for key, value in embeddings.items():
        if maybe():
            adata.obsm[key] = value
    if maybe():
        adata.obsp["near"] = sparse.csr_matrix(np.abs(numbers(n, n)))
    if maybe():
        adata.varm["ones"] = np.ones((m, 2))
    if maybe():
        adata.varp["alike"] = np.ones((m, m), np.float32)
    adata.uns = {"study": "one", "run": seed, "deep": {"a": np.arange(3), "b": seed % 2}}
    if rng.random() < 0.8:
        adata.raw = ad.AnnData(matrix(), obs=obs[[]], var=var)
    return adata


@pytest.fixture(scope="module")
def handles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    found = []
    for seed in range(14):
        SLAFConverter().convert_anndata(made(seed), folder / f"{seed}.slaf")
        found.append(read_slaf(folder / f"{seed}.slaf"))
    return found


def assert_equal(got: Any, want: Any, what: str) -> None:
    assert type(got) is type(want), f"{what}: {type(got)}, right is {type(want)}"
    if isinstance(want, pd.DataFrame):
        pd.testing.assert_frame_equal(got, want, obj=what)
        return
    if isinstance(want, dict):
        assert list(got) == list(want), what
        for key in want:
            assert_equal(got[key], want[key], f"{what}/{key}")
        return
    if sparse.issparse(want):
        got, want = got.toarray(), want.toarray()
    if isinstance(want, np.ndarray):
        assert got.dtype == want.dtype, what
        if want.dtype == object:
            got, want = (np.where(pd.isna(v), None, v) for v in (got, want))
    np.testing.assert_array_equal(got, want, err_msg=what)


def dense(adata: ad.AnnData) -> ad.AnnData:
    """The same with arrays: there are sparse matrices that scipy cannot slice."""
    array = lambda x: x.toarray() if sparse.issparse(x) else x  # noqa: E731
    sections = ("layers", "obsm", "varm", "obsp", "varp")
    found = {name: dict(getattr(adata, name)) for name in sections}
    found = {name: {k: array(v) for k, v in values.items()} for name, values in found.items()}
    out = ad.AnnData(array(adata.X), adata.obs, adata.var, adata.uns, **found)
    if adata.raw is not None:
        out.raw = ad.AnnData(array(adata.raw.X), adata.obs[[]], adata.raw.var)
    return out


def assert_same(got: ad.AnnData, want: ad.AnnData) -> None:
    assert_equal(got.X, want.X, "X")
    for name in ("obs", "var"):
        assert_equal(getattr(got, name), getattr(want, name), name)
    for name in ("layers", "obsm", "varm", "obsp", "varp", "uns"):
        there = {k: v for k, v in getattr(got, name).items() if k is not None}
        right = {k: v for k, v in getattr(want, name).items() if k is not None}
        assert_equal(there, right, name)
    # Of no cells, anndata drops raw.
    assert (got.raw is None) == (want.raw is None) or not want.n_obs
    if want.raw is not None:
        assert_equal(got.raw.X, want.raw.X, "raw.X")
        assert_equal(got.raw.var, want.raw.var, "raw.var")
        assert_equal(dict(got.raw.varm), dict(want.raw.varm), "raw.varm")


OPTIONS = st.fixed_dictionaries(
    {
        "join": st.sampled_from(["inner", "outer"]),
        "merge": st.sampled_from([None, "same", "unique", "first", "only"]),
        "uns_merge": st.sampled_from([None, "same", "unique", "first", "only"]),
        "label": st.sampled_from([None, "run"]),
        "index_unique": st.sampled_from([None, "-"]),
        "pairwise": st.booleans(),
        "fill_value": st.sampled_from([None, None, 0, 2.0]),
    }
)


def taken(data: st.DataObject, length: int) -> Any:
    some = st.lists(st.integers(0, length - 1), unique=True) if length else st.just([])
    return data.draw(st.one_of(st.just(slice(None)), st.just(slice(None, None, 2)), some))


@settings(
    max_examples=60,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data(), options=OPTIONS)
def test_every_section_is_what_anndata_makes_of_it(handles, data, options):
    """scverse/anndata#2394, #510, #352: outer joins, dtypes, widths and frames."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        numbers = data.draw(st.lists(st.integers(0, len(handles) - 1), min_size=1, max_size=3))
        parts = []
        for number in numbers:
            part = handles[number]
            if data.draw(st.booleans()):
                part = part[taken(data, part.n_obs), taken(data, part.n_vars)]
            parts.append(part)
        originals = [part.to_adata() for part in parts]
        try:
            want = ad.concat(originals, **options)
        except Exception as error:
            # Outer joins of nothing are beyond anndata.
            with pytest.raises(Exception, match="") as caught:
                slaf.concat(parts, **options).to_adata()
            assert type(caught.value) in (type(error), SlafError), error
            return
        got = slaf.concat(parts, **options)
        assert_same(got.to_adata(), want)
        rows, columns = taken(data, got.n_obs), taken(data, got.n_vars)
        assert_same(dense(got[rows, columns].to_adata()), dense(want)[rows, columns].copy())


def of(tmp_path, **parts: ad.AnnData) -> list:
    found = []
    for name, part in parts.items():
        SLAFConverter().convert_anndata(part, tmp_path / f"{name}.slaf", overwrite=True)
        found.append(read_slaf(tmp_path / f"{name}.slaf"))
    return found


def small(name: str, genes: str = "abc", n: int = 2, **obsm: Any) -> ad.AnnData:
    x = sparse.csr_matrix(np.arange(n * len(genes), dtype=np.float32).reshape(n, -1))
    obs = pd.DataFrame(index=[f"{name}{i}" for i in range(n)])
    return ad.AnnData(x, obs=obs, var=pd.DataFrame(index=list(genes)), obsm=obsm)


@pytest.mark.parametrize("join", ["inner", "outer"])
def test_values_are_not_cast_to_the_first_handles_dtype(tmp_path, join):
    """Int and float became zeros, 2**40 was lost."""
    pairs = [(1, 0.25), (np.int32(1), 2**40), (True, 0.5), (np.float32(0.1), 1 / 3), (True, 7)]
    left = {f"e{i}": np.array([[a, a]] * 2) for i, (a, _) in enumerate(pairs)}
    right = {f"e{i}": np.array([[b, b, b]] * 2) for i, (_, b) in enumerate(pairs)}
    parts = [small("l", **left), small("r", "bcd", **right)]
    for part, dtype in zip(parts, (np.int32, np.int64), strict=True):
        part.layers["counts"] = part.X.astype(dtype) * dtype(2**20 if dtype == np.int32 else 2**40)
    handles = of(tmp_path, l=parts[0], r=parts[1])
    parts = [handle.to_adata() for handle in handles]
    assert_same(slaf.concat(handles, join=join).to_adata(), ad.concat(parts, join=join))


def test_nothing_is_read_before_it_is_asked_for(tmp_path, monkeypatch):
    """Joining read everything."""
    parts = [small("l", X_pca=np.ones((2, 3))), small("r", X_pca=np.zeros((2, 3)))]
    for part in parts:
        part.layers["half"] = part.X / 2
        part.raw = part.copy()
    handles = of(tmp_path, l=parts[0], r=parts[1])
    read = []
    compute = MatrixPlan.compute
    monkeypatch.setattr(
        MatrixPlan,
        "compute",
        lambda self, *args, **kwargs: read.append(self.shape) or compute(self, *args, **kwargs),
    )
    got = slaf.concat(handles)[1:3]
    assert not read
    np.testing.assert_array_equal(got.obsm["X_pca"], np.repeat([[1.0], [0]], 3, axis=1))
    assert not read
    got.X.compute()
    assert max(shape[0] for shape in read[1:]) == 1


def test_scaled_handles_are_dense_and_filled_with_nan(tmp_path):
    """What fills depends on what is dense."""
    handles = of(tmp_path, l=small("l", "abc", 4), r=small("r", "bcd", 5))
    for handle in handles:
        pp.scale(handle)
    originals = [handle.to_adata() for handle in handles]
    for options in ({}, {"fill_value": 0}, {"fill_value": 3.5}):
        got = slaf.concat(handles, join="outer", **options)
        want = ad.concat(originals, join="outer", **options)
        assert_same(got.to_adata(), want)
        part = [8, 0], ["d", "a"]
        np.testing.assert_array_equal(got[part].X.compute(), want[part].X)


def test_later_changes_of_a_handle_do_not_reach_what_was_joined(tmp_path):
    """scverse/anndata#1118: writing to one changed the other."""
    handles = of(tmp_path, l=small("l", e=np.ones((2, 2))), r=small("r", e=np.ones((2, 2))))
    handles[0].uns["deep"] = {"a": np.zeros(2)}
    handles[0].obsm["held"] = np.ones((2, 1), np.int64)
    got = slaf.concat(handles, join="outer", uns_merge="first")
    before = copy.deepcopy(got.to_adata())
    handles[0].obsm["e"] = np.zeros((2, 2))
    handles[0].obsm["held"][:] = 9
    handles[0].uns["deep"]["a"][:] = 5
    handles[0].var_names = ["x", "y", "z"]
    assert_same(got.to_adata(), before)


def test_a_joined_handle_goes_to_another_process(tmp_path):
    """Pickled, with what is not yet read."""
    parts = [small("l", X_pca=np.ones((2, 3))), small("r", "bcd", X_pca=np.zeros((2, 2)))]
    for part in parts:
        part.raw, part.obsp["near"] = part.copy(), sparse.eye(2, format="csr")
        part.obsm["table"] = pd.DataFrame({"a": [1, 2]}, index=part.obs_names)
    handles = of(tmp_path, l=parts[0], r=parts[1])
    got = slaf.concat(handles, join="outer", pairwise=True)
    want = ad.concat(parts, join="outer", pairwise=True)
    assert_same(pickle.loads(pickle.dumps(got)).to_adata(), want)
    assert_same(copy.deepcopy(got)[1:3].to_adata(), want[1:3].copy())


def test_raw_of_some_is_left_out_with_anndatas_warning(tmp_path):
    """Raw was dropped without a word."""
    parts = [small("l"), small("r")]
    parts[0].raw = parts[0].copy()
    handles = of(tmp_path, l=parts[0], r=parts[1])
    with pytest.warns(UserWarning, match="Only some AnnData objects have `.raw`"):
        assert slaf.concat(handles).raw is None


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda a, b: setattr(a, "X", None), "Handle 'l' has no X, and others have one"),
        (lambda a, b: b.var.__setattr__("index", list("aab")), "'r' has the gene 'a' twice"),
        (
            lambda a, b: (a.obsm.update(e=np.ones((2, 1))), b.obsm.update(e=b.obs.assign(x=1))),
            "`obsm/e` is an array in handle 'l' and a table in handle 'r'",
        ),
    ],
)
def test_what_does_not_go_together_is_said(tmp_path, spoil, told):
    """scverse/anndata#510: another library's traceback."""
    handles = dict(zip("lr", of(tmp_path, l=small("l"), r=small("r")), strict=True))
    spoil(*handles.values())
    with pytest.raises(SlafError, match=told):
        slaf.concat(handles)


@pytest.mark.parametrize(
    "options", [{"join": "left"}, {"keys": ["one"]}, {"keys": ["a", "a"]}, {"axis": "var"}]
)
def test_parameters_that_mean_nothing_are_refused_in_a_sentence(tmp_path, options):
    """A pandas traceback before."""
    with pytest.raises(SlafError, match=r"join|keys"):
        slaf.concat(of(tmp_path, l=small("l"), r=small("r")), **options)
