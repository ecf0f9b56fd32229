"""`plan.slaf.sink`: datasets from long frames, compared with scipy and anndata."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import slaf
from conftest import make_counts
from scipy import sparse
from slaf import SLAFArray, SlafError, read_slaf


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    from slaf.data import SLAFConverter

    target = tmp_path_factory.mktemp("sink") / "made.slaf"
    SLAFConverter().convert_anndata(make_counts(120, 40, seed=3), target)
    return target


def test_a_long_frame_becomes_the_dataset_it_came_from(path, tmp_path):
    handle = read_slaf(path)
    plan = handle.lazy("X", obs=["cell_id", "batch", "n_genes"], var=["gene_id", "symbol"])
    target = tmp_path / "new.slaf"
    plan.filter(pl.col("batch") == "batch1").slaf.sink(
        target, obs=["batch", "n_genes"], var=["symbol"]
    )
    new, old = read_slaf(target), handle[(handle.obs["batch"] == "batch1").to_numpy()]
    some = np.flatnonzero(np.diff(sparse.csr_matrix(old.X.compute()).indptr))
    assert list(new.obs_names) == list(np.asarray(old.obs_names)[some])
    genes = [list(old.var_names).index(name) for name in new.var_names]
    want = old.X.compute()[some][:, genes]
    assert (new.X.compute() != want).nnz == 0
    assert new.obs["n_genes"].tolist() == old.obs["n_genes"].iloc[some].tolist()
    assert (
        new.var["symbol"].astype(str).tolist() == old.var["symbol"].astype(str).iloc[genes].tolist()
    )


def test_rows_in_any_order(tmp_path):
    frame = pl.DataFrame(
        {"c": ["b", "a", "b", "a"], "g": ["y", "y", "x", "z"], "n": [1, 2, 3, 4], "k": [5, 6, 5, 6]}
    )
    slaf.sink(frame.lazy(), tmp_path / "a.slaf", cell="c", gene="g", value="n", obs=["k"])
    new = read_slaf(tmp_path / "a.slaf")
    assert (list(new.obs_names), list(new.var_names)) == (["b", "a"], ["y", "x", "z"])
    assert new.X.compute().toarray().tolist() == [[1, 3, 0], [2, 0, 4]]
    assert new.obs["k"].tolist() == [5, 6]
    with pytest.raises(FileExistsError, match="exists already"):
        slaf.sink(frame.lazy(), tmp_path / "a.slaf", cell="c", gene="g", value="n")
    slaf.sink(
        frame.lazy().head(1), tmp_path / "a.slaf", cell="c", gene="g", value="n", overwrite=True
    )
    assert SLAFArray(tmp_path / "a.slaf").shape == (1, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.rename({"gene_id": "gen_id"}), "no column `gene_id`. Did you mean `gen_id`"),
        (
            lambda f: f.with_columns(value=pl.lit("x")),
            "`value` is String, but values must be numbers",
        ),
        (lambda f: f.with_columns(value=pl.lit(None, pl.Int64)), "missing in 2 rows"),
        (lambda f: f.with_columns(cell_id=pl.lit(None, pl.String)), "`cell_id` is missing"),
        (
            lambda f: f.with_columns(gene_id=pl.lit("g"), cell_id=pl.lit("c")),
            "1 values are repeated",
        ),
        (lambda f: f.with_columns(cell_id=pl.lit("c")), "The cell `c` has 2 values of `kind`"),
    ],
)
def test_what_is_no_dataset_is_told_and_leaves_nothing(tmp_path, change, words):
    frame = pl.LazyFrame(
        {"cell_id": ["a", "b"], "gene_id": ["x", "y"], "value": [1, 2], "kind": ["p", "q"]}
    )
    obs = [] if "1 values" in words else ["kind"]
    with pytest.raises(SlafError, match=words):
        change(frame).slaf.sink(tmp_path / "bad.slaf", obs=obs)
    assert list(tmp_path.iterdir()) == []
