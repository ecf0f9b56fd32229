"""The data loader: epochs, batches, and resuming."""

from __future__ import annotations

import itertools

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
import pytest
from batches import N, flat, ids, loader_of
from commands import here
from conftest import dense
from scipy import sparse
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slaf.ml import GeneformerTokenizer, SLAFDataLoader, SLAFIterableDataset, batch_entropy


def test_the_tutorial_runs_as_it_stands(loader_array):
    import slaf

    slaf_array = slaf.SLAFArray(loader_array.slaf_path)
    from slaf.ml.dataloaders import SLAFDataLoader

    dataloader = SLAFDataLoader(
        slaf_array=slaf_array,
        tokenizer_type="geneformer",
        batch_size=32,
        max_genes=2048,
        vocab_size=50000,
    )
    for batch in dataloader:
        input_ids = batch["input_ids"]
        attention_mask = batch["attention_mask"]
        cell_ids = batch["cell_ids"]
        assert input_ids.shape == attention_mask.shape == (len(cell_ids), 2048)
        assert set(batch) == {"input_ids", "attention_mask", "cell_ids"}


@pytest.mark.parametrize("kind", ["geneformer", "scgpt"])
def test_batches_hold_their_cells_tokens(loader_array, loader_counts, kind):
    loader = loader_of(
        loader_array,
        tokenizer_type=kind,
        max_genes=30,
        tokenizer_options={"ties": "upper"} if kind == "scgpt" else {},
    )
    assert len(loader) == 19
    want = loader.tokenizer.encode(dense(loader_counts.X).astype(np.float64))
    for batch in loader:
        for name, values in want.items():
            np.testing.assert_array_equal(batch[name], values[batch["cell_ids"]])


def test_every_epoch_has_every_cell_once_and_another_order(loader_array):
    loader = loader_of(loader_array, n_epochs=2)
    assert len(loader) == 38
    batches = list(loader)
    assert [len(b["cell_ids"]) for b in batches] == ([16] * 18 + [12]) * 2
    assert [b["epoch"] for b in batches] == [0] * 19 + [1] * 19
    first, second = (
        flat(b["cell_ids"] for b in batches[:19]),
        flat(b["cell_ids"] for b in batches[19:]),
    )
    assert sorted(first) == sorted(second) == list(range(N))
    assert first != second
    # The next iteration goes on with epochs 2 and 3.
    third = list(loader)
    assert [b["epoch"] for b in third][0] == 2
    assert flat(b["cell_ids"] for b in third[:19]) not in (first, second)
    assert loader_of(loader_array, drop_last=True).n_cells == 288


def test_seeds_repeat(loader_array):
    same = [ids(loader_of(loader_array, seed=5)) for _ in range(2)]
    assert same[0] == same[1] != ids(loader_of(loader_array, seed=6))
    again = loader_of(loader_array, seed=5)
    list(again)
    again.set_epoch(0)
    assert ids(again) == same[0]
    assert flat(ids(loader_of(loader_array, shuffle=False))) == list(range(N))
    masked = {"tokenizer_type": "scgpt", "max_genes": 8, "tokenizer_options": {"mask_ratio": 0.5}}
    for one, other in zip(
        loader_of(loader_array, **masked), loader_of(loader_array, **masked), strict=True
    ):
        np.testing.assert_array_equal(one["masked_values"], other["masked_values"])


@pytest.mark.parametrize("stop", [0, 1, 7, 18, 19, 25])
def test_an_iteration_goes_on_where_it_was(loader_array, stop):
    whole = loader_of(loader_array, n_epochs=2)
    want = ids(whole)
    first = loader_of(loader_array, n_epochs=2)
    begun = [b["cell_ids"].tolist() for b in itertools.islice(first, stop)]
    state = first.state_dict()
    resumed = loader_of(loader_array, n_epochs=2)
    resumed.load_state_dict(state)
    assert begun + ids(resumed) == want
    # And after it come the epochs that would have come.
    assert ids(resumed) == ids(whole)


def test_a_state_of_another_loader_is_refused(loader_array):
    state = loader_of(loader_array).state_dict()
    with pytest.raises(ValueError, match="batch_size is 16; this one's is 8"):
        loader_of(loader_array, batch_size=8).load_state_dict(state)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_an_epoch(loader_array, world, monkeypatch):
    loaders = [loader_of(loader_array, rank=rank, world_size=world) for rank in range(world)]
    seen = [flat(ids(loader)) for loader in loaders]
    assert {len(cells) for cells in seen} == {N // world}
    assert sorted(flat(seen)) == list(range(N))
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", str(world))
    assert flat(ids(loader_of(loader_array))) == seen[1]


@pytest.mark.parametrize("form", ["polars", "csr"])
def test_raw_batches(loader_array, loader_counts, form):
    counts = dense(loader_counts.X)
    loader = loader_of(loader_array, raw_mode=True, raw_format=form)
    for batch in loader:
        cells = batch["cell_ids"]
        if form == "csr":
            assert isinstance(batch["x"], sparse.csr_matrix) and batch["x"].dtype == np.float32
            np.testing.assert_array_equal(batch["x"].toarray(), counts[cells])
            continue
        assert isinstance(batch["x"], pl.DataFrame) and isinstance(cells, list)
        assert batch["x"].columns == ["cell_integer_id", "gene_integer_id", "value"]
        got = np.zeros((N, 40))
        got[batch["x"]["cell_integer_id"], batch["x"]["gene_integer_id"]] = batch["x"]["value"]
        np.testing.assert_array_equal(got[cells], counts[cells])
    part = read_slaf(loader_array.slaf_path)[:, ["ENSG00003", "ENSG00001", "ENSG00020"]]
    for batch in loader_of(part, tokenizer_type="raw", raw_format="csr"):
        np.testing.assert_array_equal(
            batch["x"].toarray(), counts[batch["cell_ids"]][:, [3, 1, 20]]
        )


def test_a_tokenizer_of_ones_own(loader_array, loader_counts):
    counts = dense(loader_counts.X)

    def longest(batch):
        assert batch.schema.names == ["cell_integer_id", "genes", "values", "cell_type"]
        frame = pl.from_arrow(batch)
        return {
            "top": frame["values"].list.max().fill_null(0).to_numpy(),
            "ids": frame["cell_integer_id"].to_list(),
        }

    for batch in loader_of(loader_array, tokenizer=longest, labels=["cell_type"]):
        np.testing.assert_array_equal(batch["top"], counts[batch["cell_ids"]].max(1))
        assert batch["ids"] == batch["cell_ids"].tolist()

    def broken(batch):
        raise LookupError("no such token")

    with pytest.raises(LookupError, match="no such token"):
        list(loader_of(loader_array, tokenizer=broken))
    with pytest.raises(TypeError, match="returns a dictionary of arrays, and this one a list"):
        list(loader_of(loader_array, tokenizer=lambda batch: []))


def test_batches_are_nearly_a_true_shuffle(tmp_path):
    """Both measures at default settings, on cells that lie sorted by their label."""
    n = 40_000
    x = sparse.random(n, 20, 0.1, "csr", random_state=0, dtype=np.float32)
    x.data[:] = 1
    obs = pd.DataFrame({"plate": np.arange(n) // (n // 14)}, index=np.arange(n).astype(str))
    SLAFConverter().convert_anndata(ad.AnnData(x, obs=obs), tmp_path / "x.slaf")
    loader = SLAFDataLoader(tmp_path / "x.slaf", raw_mode=True, batch_size=64)
    got = batch_entropy((b["cell_ids"] for b in loader), n, obs["plate"].to_numpy())
    assert got["within"] > 0.95 and got["across"] > 0.95 and got["label"] > 0.95
    in_order = SLAFDataLoader(tmp_path / "x.slaf", raw_mode=True, batch_size=64, shuffle=False)
    stored = batch_entropy((b["cell_ids"] for b in in_order), n, obs["plate"].to_numpy())
    assert abs(stored["within"]) < 1e-9 and abs(stored["across"]) < 1e-9 and stored["label"] < 0.1
    shuffled = np.random.default_rng(0).permutation(n).reshape(-1, 64)
    true = batch_entropy(shuffled, n, obs["plate"].to_numpy())
    assert all(abs(true[key] - 1) < 0.02 for key in ("within", "across", "label"))


def test_an_epoch_keeps_its_version(loader_counts, tmp_path):
    target = tmp_path / "x.slaf"
    SLAFConverter().convert_anndata(loader_counts[:100].copy(), target)
    loader = loader_of(target, batch_size=8)
    batches = iter(loader)
    seen = [next(batches)["cell_ids"].tolist()]
    loader_counts[100:].write_h5ad(tmp_path / "more.h5ad")
    SLAFConverter().append(tmp_path / "more.h5ad", target)
    seen += [batch["cell_ids"].tolist() for batch in batches]
    assert sorted(flat(seen)) == list(range(100))
    assert sorted(flat(ids(loader_of(target)))) == list(range(N))


def test_a_batch_larger_than_the_dataset_is_all_of_it(loader_array):
    loader = loader_of(loader_array, batch_size=1000)
    assert len(loader) == 1
    assert [len(cells) for cells in ids(loader)] == [N]


def test_the_dataset_of_torch_style_loops(loader_array):
    tokenizer = GeneformerTokenizer(loader_array, max_genes=20)
    dataset = SLAFIterableDataset(loader_array, tokenizer, batch_size=16, verbose=False)
    assert len(dataset) == 19
    cells = [np.asarray(batch["cell_ids"]).tolist() for batch in dataset]
    assert sorted(flat(cells)) == list(range(N))


def test_shuffled_copies(loader_array, loader_counts, tmp_path):
    target = tmp_path / "shuffled.slaf"
    done = here("shuffle", loader_array.slaf_path, target, "--seed", "3")
    assert done.returncode == 0, done.stderr
    copy = read_slaf(target)
    order = loader_counts.obs_names.get_indexer(copy.obs_names)
    assert sorted(order) == list(range(N)) and order.tolist() != list(range(N))
    np.testing.assert_array_equal(copy.X.toarray(), dense(loader_counts.X)[order])
