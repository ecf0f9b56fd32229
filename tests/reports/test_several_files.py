"""Several files as one dataset, and files appended to a dataset."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from conftest import make_counts
from scipy import sparse
from slaf import SlafError
from slaf.data import SLAFConverter, dataset_writer
from slaf.integrations import read_slaf

KINDS = {
    "text": ["0", "1", "z"],
    "int": [0, 1, 2],
    "float": [0.5, 1.0, np.nan],
    "category": pd.Categorical(["0", "1", None]),
    "numbers as categories": pd.Categorical([0, 1, 0]),
    "bool": [True, False, True],
    "nullable": pd.array([0, None, 2], dtype="Int64"),
}


def made(name: str, cells: int = 3, **obs) -> ad.AnnData:
    rng = np.random.default_rng(len(name))
    x = sparse.csr_matrix(rng.integers(0, 3, (cells, 4)).astype(np.float32))
    frame = pd.DataFrame(obs, index=[f"{name}{i}" for i in range(cells)])
    return ad.AnnData(x, obs=frame, var=pd.DataFrame(index=[f"g{i}" for i in range(4)]))


@pytest.fixture
def written(tmp_path):
    def write(**parts: ad.AnnData) -> list[Path]:
        for name, part in parts.items():
            part.write_h5ad(tmp_path / f"{name}.h5ad")
        return [tmp_path / f"{name}.h5ad" for name in parts]

    return write


@pytest.fixture
def joined(tmp_path, written):
    """All parts in one dataset, or the first with the others appended."""

    def join(append: bool = False, target: str = "x.slaf", **parts: ad.AnnData):
        paths = written(**parts)
        if append:
            SLAFConverter().convert(paths[0], tmp_path / target)
            SLAFConverter().append(paths[1:], tmp_path / target)
        else:
            SLAFConverter().convert(paths, tmp_path / target)
        return read_slaf(tmp_path / target)

    return join


def texts(values) -> list[str | None]:
    return [None if pd.isna(v) else str(v) for v in values]


def kind_of(values) -> str:
    categories = getattr(values, "categories", values)
    return pd.api.types.infer_dtype(pd.Series(categories).dropna(), skipna=True)


@pytest.mark.parametrize("append", [False, True])
@pytest.mark.parametrize("where", ["obs", "var", "obsm"])
def test_text_in_one_file_and_numbers_in_the_other(joined, tmp_path, where, append):
    """scverse/anndata#761, #33: such a column could be joined and not be written."""
    left, right = made("a"), made("b")
    if where == "var":
        right.var_names = [f"h{i}" for i in range(4)]
    pairs = list(itertools.combinations(KINDS, 2))
    for adata, side in ((left, 0), (right, 1)):
        columns = {"-".join(pair): KINDS[pair[side]] for pair in pairs}
        if where == "var":
            columns = {k: [*v, v[0]] for k, v in columns.items()}
        frame = pd.DataFrame(
            {
                k: pd.Series(v, dtype=getattr(KINDS[k.split("-")[side]], "dtype", None)).array
                for k, v in columns.items()
            },
            index=adata.var_names if where == "var" else adata.obs_names,
        )
        if where == "obsm":
            adata.obsm["table"] = frame
        else:
            setattr(adata, where, frame)
    with pytest.warns(UserWarning, match=r"text-int` holds text in `.*` and numbers in `b.h5ad`"):
        handle = joined(append, a=left, b=right)
    handle.write_h5ad(tmp_path / "out.h5ad")
    exported = ad.read_h5ad(tmp_path / "out.h5ad")
    for adata in (handle, exported):
        found = adata.obsm["table"] if where == "obsm" else getattr(adata, where)
        for first, second in pairs:
            got = found[f"{first}-{second}"]
            assert len(got) == (8 if where == "var" else 6)
            want = [*texts(KINDS[first]), *texts(KINDS[second])]
            if where == "var":
                a, b = texts(KINDS[first]), texts(KINDS[second])
                want = [*a, a[0], *b, b[0]]
            same_kind = kind_of(KINDS[first]) == kind_of(KINDS[second])
            numbers = {"integer", "floating"} >= {kind_of(KINDS[first]), kind_of(KINDS[second])}
            if numbers:
                want = [None if v is None else float(v) for v in want]
                assert [None if pd.isna(v) else float(v) for v in got] == want
            else:
                assert same_kind or kind_of(got) in ("string", "categorical")
                assert texts(got) == want
            if isinstance(got.dtype, pd.CategoricalDtype):
                assert pd.Index(texts(got.cat.categories)).is_unique


def test_large_integers_that_only_some_files_have_stay_exact(joined):
    """Gaps made floats of integers, which lost digits."""
    large = 2**60 + 1
    handle = joined(a=made("a", barcode=[large, large + 2, -large]), b=made("b"))
    assert handle.obs["barcode"].tolist()[:3] == [large, large + 2, -large]
    assert handle.obs["barcode"][3:].isna().all()


@pytest.mark.parametrize("append", [False, True])
def test_large_integers_beside_fractions_are_text(joined, append):
    """The same beside fractions, or those of another sign."""
    parts = {"a": [2**60 + 1, 2, 3], "b": [0.5, 1.5, np.nan]}
    with pytest.warns(UserWarning, match="`obs/n` holds integers"):
        handle = joined(append, **{name: made(name, n=v) for name, v in parts.items()})
    assert texts(handle.obs["n"]) == [str(2**60 + 1), "2", "3", "0.5", "1.5", None]


@pytest.mark.parametrize("append", [False, True])
def test_a_column_without_values_in_one_file_changes_nothing(joined, append):
    """single-cell-data/TileDB-SOMA#2696: its text was parsed as the other's double."""
    values = {"c": pd.Categorical(["x", "y", None]), "i": [2**60 + 1, 2, 3]}
    values["b"] = [True, False, True]
    empty = dict.fromkeys(values, [np.nan] * 3)
    for left, right in ((values, empty), (empty, values)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            parts = {"a": made("a", **left), "b": made("b", **right)}
            handle = joined(append, target=f"{left is empty}.slaf", **parts)
        obs = handle.obs[3:] if left is empty else handle.obs[:3]
        assert isinstance(handle.obs["c"].dtype, pd.CategoricalDtype)
        assert texts(obs["c"]) == ["x", "y", None]
        assert obs["i"].tolist() == values["i"] and obs["b"].tolist() == values["b"]
        assert handle.obs["i"].isna().sum() == handle.obs["b"].isna().sum() == 3


@pytest.mark.parametrize("append", [False, True])
def test_a_column_source_file_of_ones_own_is_kept(joined, append):
    """scverse/scvi-tools#1627: joining overwrote obs["batch"]."""
    a = made("a", source_file=["run7/a.bam", "run8/a.bam", "run8/a.bam"])
    b = made("b", source_file=["run9/b.bam"] * 3)
    with pytest.warns(UserWarning, match="`source_file_1` says which file") as caught:
        handle = joined(append, a=a, b=b, c=made("c"))
    assert sum("source_file" in str(w.message) for w in caught) == 1
    kept = [*a.obs["source_file"], *b.obs["source_file"], None, None, None]
    assert texts(handle.obs["source_file"]) == kept
    first = "x.slaf" if append else "a.h5ad"
    assert list(handle.obs["source_file_1"]) == [first] * 3 + ["b.h5ad"] * 3 + ["c.h5ad"] * 3


def test_appended_cells_get_their_files_name_beside_the_old_ones(joined, tmp_path, written):
    """Whether one file is appended or several; the old cells keep theirs."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        joined(a=made("a"), b=made("b"))
        SLAFConverter().append(written(c=made("c")), tmp_path / "x.slaf")
        SLAFConverter().append(written(d=made("d"), e=made("e")), tmp_path / "x.slaf")
    obs = read_slaf(tmp_path / "x.slaf").obs
    names = [f"{name}.h5ad" for name in "abcde"]
    assert list(obs["source_file"]) == list(np.repeat(names, 3))
    assert list(obs["source_file"].cat.categories) == names
    # A file with such a column of its own has it kept, too.
    with pytest.warns(UserWarning, match="source_file_1"):
        SLAFConverter().append(written(f=made("f", source_file=["u"] * 3)), tmp_path / "x.slaf")
    obs = read_slaf(tmp_path / "x.slaf").obs
    assert list(obs["source_file_1"]) == [*np.repeat(names, 3), *["f.h5ad"] * 3]
    assert texts(obs["source_file"]) == [None] * 15 + ["u"] * 3


def with_graphs(name: str, *keys: str, dtype="float32") -> ad.AnnData:
    adata, rng = made(name), np.random.default_rng(len(name) + 7)
    for key in keys:
        adata.obsp[key] = sparse.csr_matrix(rng.integers(0, 2, (3, 3)).astype(dtype))
    return adata


@pytest.mark.parametrize("append", [False, True])
@pytest.mark.parametrize("dense", [False, True])
def test_graphs_of_cells_are_joined(joined, append, dense):
    """Obsp was lost when datasets were joined."""
    parts = {
        "a": with_graphs("a", "near", "far", "dotted.name"),
        "b": with_graphs("b"),
        "c": with_graphs("c", "near", "other", dtype="float64"),
    }
    if dense:
        for key in list(parts["c"].obsp):
            parts["c"].obsp[key] = parts["c"].obsp[key].toarray()
    handle = joined(append, **parts)
    want = ad.concat(list(parts.values()), join="outer", pairwise=True)
    assert set(handle.obsp) == set(want.obsp)
    for key, graph in want.obsp.items():
        got = handle.obsp[key]
        np.testing.assert_array_equal(got.toarray(), graph.toarray())
        assert got.dtype == graph.dtype
        part = handle[[7, 0, 1]].obsp[key].toarray()
        np.testing.assert_array_equal(part, graph.toarray()[[7, 0, 1]][:, [7, 0, 1]])


def test_graphs_of_genes_are_kept_where_all_files_have_the_same(joined):
    """As `anndata.concat` does with merge="same"."""
    parts = {name: made(name) for name in "ab"}
    for number, part in enumerate(parts.values()):
        part.varp["same"] = sparse.csr_matrix(np.eye(4))
        part.varp["other"] = np.full((4, 4), number)
    handle = joined(**parts)
    assert list(handle.varp) == ["same"]
    np.testing.assert_array_equal(handle.varp["same"].toarray(), np.eye(4))


@pytest.mark.parametrize("append", [False, True])
def test_layers_of_some_files_are_filled(joined, append):
    """scverse/anndata#2394: an outer join dropped what only some have."""
    parts = {name: made(name) for name in "abc"}
    parts["a"].layers["counts"] = parts["a"].X.astype(np.int32)
    parts["c"].layers["half"] = parts["c"].X / 2
    parts["c"].layers["dense"] = parts["c"].X.toarray()
    handle = joined(append, **parts)
    want = ad.concat(list(parts.values()), join="outer")
    assert set(handle.layers) == {"counts", "half", "dense"}
    for key in handle.layers:
        right = want.layers[key]
        right = right.toarray() if sparse.issparse(right) else right
        np.testing.assert_array_equal(handle.layers[key].toarray(), right)
        assert handle.layers[key].dtype == right.dtype


def test_an_embedding_of_two_kinds_is_refused_before_anything_is_written(joined, tmp_path):
    """scverse/anndata#510: a frame and an array."""
    a, b = made("a"), made("b")
    a.obsm["place"] = np.ones((3, 2))
    b.obsm["place"] = pd.DataFrame({"x": [1.0, 2, 3]}, index=b.obs_names)
    with pytest.raises(SlafError, match="`obsm/place` is an array in `a.h5ad` and a table in"):
        joined(a=a, b=b)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5ad", "b.h5ad"]


def test_each_file_has_a_fragment_of_its_own(joined, tmp_path, written, monkeypatch):
    """So that the rows of a file can be read, and moved, without the others'."""
    monkeypatch.setattr(dataset_writer, "_OWN_FRAGMENT", 1)
    fragments = tmp_path / "x.slaf" / "expression.lance" / "data"
    parts = {name: made(name, n) for name, n in (("a", 3), ("b", 5), ("c", 4))}
    handle = joined(**parts)
    assert len(list(fragments.iterdir())) == 3
    want = ad.concat(list(parts.values())).X.toarray()
    np.testing.assert_array_equal(handle.X.toarray(), want)
    SLAFConverter().append(written(d=made("d"), e=made("e")), tmp_path / "x.slaf")
    assert len(list(fragments.iterdir())) == 5


def test_varp_of_appended_files_was_dropped_without_a_word(tmp_path):
    """What an append leaves out, it says."""
    first, second = make_counts(), make_counts(20, seed=1)
    second.obs_names = [f"more-{i}" for i in range(20)]
    second.varp["alike"] = np.eye(40)
    second.write_h5ad(tmp_path / "more.h5ad")
    SLAFConverter().convert_anndata(first, tmp_path / "x.slaf")
    with pytest.warns(UserWarning, match="varp of `more.h5ad` \\('alike'\\) is left out"):
        SLAFConverter().append(tmp_path / "more.h5ad", tmp_path / "x.slaf")
    assert read_slaf(tmp_path / "x.slaf").shape == (80, 40)
