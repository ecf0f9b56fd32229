"""Which cells a loader delivers, from which datasets, and which labels with them."""

from __future__ import annotations

import itertools

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from batches import N, flat, ids, loader_of
from conftest import dense, make_counts
from slaf import SLAFArray
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slaf.ml import GeneformerTokenizer


def test_labels_come_along(loader_array, loader_counts):
    names = ["cell_type", "batch", "score", "n_genes", "doublet", "donor", "age"]
    loader = loader_of(loader_array, labels=names)
    obs = loader_counts.obs
    for batch in loader:
        cells = batch["cell_ids"]
        for name in ("cell_type", "batch", "donor"):
            values = [None if c < 0 else loader.categories[name][c] for c in batch[name]]
            want = [
                None if v is None or v != v else v for v in obs[name].astype(object).iloc[cells]
            ]
            assert values == want
            assert batch[name].dtype == np.int64
        np.testing.assert_array_equal(batch["score"], obs["score"].iloc[cells].astype(np.float32))
        np.testing.assert_array_equal(batch["n_genes"], obs["n_genes"].iloc[cells])
        assert batch["doublet"].dtype == bool
        age = obs["age"].iloc[cells].to_numpy(dtype=np.float32, na_value=np.nan)
        np.testing.assert_array_equal(batch["age"], age)
    assert loader.categories["cell_type"] == ["B cells", "NK", "T cells"]


def test_cells_are_chosen(loader_array, loader_counts):
    want = np.flatnonzero(loader_counts.obs["batch"] == "batch1").tolist()
    mask = (loader_counts.obs["batch"] == "batch1").to_numpy()
    handle = read_slaf(loader_array.slaf_path)
    for source, cells in (
        (loader_array, "batch = 'batch1'"),
        (loader_array, mask),
        (loader_array, want[::-1]),
        (loader_array, loader_counts.obs_names[mask]),
        (handle[mask], None),
        (handle[want[::-1]], None),
        (handle[100:], "batch = 'batch1'"),
    ):
        got = sorted(flat(ids(loader_of(source, cells=cells))))
        assert got == (
            want
            if source is not handle[100:] and not (cells is not None and source is not loader_array)
            else [c for c in want if c >= 100]
        )
    view = handle[want[::-1]]
    loader = loader_of(view, labels=["score"])
    for batch in loader:
        np.testing.assert_array_equal(
            batch["score"], loader_counts.obs["score"].iloc[batch["cell_ids"]].astype(np.float32)
        )


@pytest.fixture(scope="module")
def second(loader_counts, tmp_path_factory) -> tuple[SLAFArray, ad.AnnData]:
    """Another dataset: some of the genes, in another order, and one more."""
    other = make_counts(90, 40, seed=2)[:, [7, 3, 30, 0]].copy()
    other.var_names = ["ENSG00007", "ENSG00003", "ENSG99999", "ENSG00000"]
    other.obs["cell_type"] = "Monocytes"
    target = tmp_path_factory.mktemp("second") / "y.slaf"
    SLAFConverter().convert_anndata(other, target)
    return SLAFArray(target), other


def test_several_datasets_are_one_stream(loader_array, loader_counts, second):
    other, other_adata = second
    both = [dense(loader_counts.X), dense(other_adata.X)]
    loader = loader_of([loader_array, other], raw_mode=True, raw_format="csr", labels="cell_type")
    assert list(loader.var_names) == [*loader_counts.var_names, "ENSG99999"]
    seen = []
    for batch in loader:
        assert batch["x"].has_sorted_indices
        for row, (which, cell) in enumerate(zip(batch["dataset"], batch["cell_ids"], strict=True)):
            seen.append((which, cell))
            want = pd.Series(0.0, loader.var_names)
            names = (loader_counts, other_adata)[which].var_names
            want[names] = both[which][cell]
            np.testing.assert_array_equal(batch["x"][row].toarray().ravel(), want)
            if which == 1:
                assert loader.categories["cell_type"][batch["cell_type"][row]] == "Monocytes"
    assert len(seen) == len(set(seen)) == N + 90
    tokens = {"<pad>": 0, "<mask>": 1, "<cls>": 2, "<eos>": 3}
    tokens |= {name: 10 + at for at, name in enumerate(loader.var_names)}
    medians = dict.fromkeys(loader.var_names, 1.0)
    options = {"token_dictionary": tokens, "medians": medians}
    for batch in loader_of([loader_array, other], max_genes=20, tokenizer_options=options):
        for row, (which, cell) in enumerate(zip(batch["dataset"], batch["cell_ids"], strict=True)):
            tokenizer = GeneformerTokenizer((loader_array, other)[which], max_genes=20, **options)
            want = tokenizer.encode(both[which][cell][None])["input_ids"][0]
            np.testing.assert_array_equal(batch["input_ids"][row], want)
    with pytest.raises(ValueError, match="have different genes"):
        loader_of([loader_array, other])
    mixed = loader_of([loader_array, other], raw_mode=True, mix=[1, 3], draws=8000)
    shares = np.concatenate([batch["dataset"] for batch in mixed])
    assert abs(shares.mean() - 0.75) < 0.05


def test_weighted_balanced_and_stratified(loader_array, loader_counts):
    weights = np.arange(N, dtype=float)
    loader = loader_of(loader_array, raw_mode=True, weights=weights, draws=40_000)
    assert len(loader) == 2500
    drawn = np.bincount(flat(ids(loader)), minlength=N)
    assert drawn[0] == 0
    assert np.corrcoef(drawn, weights)[0, 1] > 0.9
    by_column = loader_of(loader_array, raw_mode=True, weights="total_counts", draws=20_000)
    assert set(flat(ids(by_column))) <= set(np.flatnonzero(loader_counts.obs["total_counts"]))
    balanced = loader_of(
        loader_array, raw_mode=True, balance_by="donor", labels="donor", draws=40_000
    )
    counted = np.bincount(np.concatenate([b["donor"] for b in balanced]) + 1) / 40_000
    np.testing.assert_allclose(counted, 0.25, atol=0.03)
    strata = loader_of(loader_array, raw_mode=True, stratify_by="batch", labels="batch", buffer=N)
    share = (loader_counts.obs["batch"] == "batch1").mean()
    for batch in itertools.islice(strata, 18):
        assert (
            abs((batch["batch"] == strata.categories["batch"].index("batch1")).sum() - 16 * share)
            <= 1
        )
