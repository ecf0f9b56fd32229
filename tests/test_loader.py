"""The data loader: what an epoch is, what a batch holds, and how it goes on."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import dense, make_counts
from scipy import sparse
from slaf import SLAFArray, SlafError
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slaf.ml import GeneformerTokenizer, SLAFDataLoader, SLAFIterableDataset, batch_entropy

N = 300


@pytest.fixture(scope="module")
def adata() -> ad.AnnData:
    return make_counts(N, 40, seed=1)


@pytest.fixture(scope="module")
def array(adata, tmp_path_factory) -> SLAFArray:
    target = tmp_path_factory.mktemp("loader") / "x.slaf"
    # Fragments of a few rows, so that blocks straddle them.
    SLAFConverter(max_rows_per_file=700).convert_anndata(adata, target)
    return SLAFArray(target)


def loader_of(array, **more) -> SLAFDataLoader:
    more = {"batch_size": 16, "verbose": False, "tensors": False, "block": 8, "buffer": 64} | more
    return SLAFDataLoader(array, **more)


def ids(loader) -> list[list[int]]:
    return [np.asarray(batch["cell_ids"]).tolist() for batch in loader]


def flat(batches) -> list[int]:
    return list(itertools.chain.from_iterable(batches))


def test_the_tutorial_runs_as_it_stands(array):
    import slaf

    slaf_array = slaf.SLAFArray(array.slaf_path)
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
def test_batches_hold_their_cells_tokens(array, adata, kind):
    loader = loader_of(
        array,
        tokenizer_type=kind,
        max_genes=30,
        tokenizer_options={"ties": "upper"} if kind == "scgpt" else {},
    )
    assert len(loader) == 19
    want = loader.tokenizer.encode(dense(adata.X).astype(np.float64))
    for batch in loader:
        for name, values in want.items():
            np.testing.assert_array_equal(batch[name], values[batch["cell_ids"]])


def test_every_epoch_has_every_cell_once_and_another_order(array):
    loader = loader_of(array, n_epochs=2)
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
    assert loader_of(array, drop_last=True).n_cells == 288


def test_seeds_repeat(array):
    same = [ids(loader_of(array, seed=5)) for _ in range(2)]
    assert same[0] == same[1] != ids(loader_of(array, seed=6))
    again = loader_of(array, seed=5)
    list(again)
    again.set_epoch(0)
    assert ids(again) == same[0]
    assert flat(ids(loader_of(array, shuffle=False))) == list(range(N))
    masked = {"tokenizer_type": "scgpt", "max_genes": 8, "tokenizer_options": {"mask_ratio": 0.5}}
    for one, other in zip(loader_of(array, **masked), loader_of(array, **masked), strict=True):
        np.testing.assert_array_equal(one["masked_values"], other["masked_values"])


@pytest.mark.parametrize("stop", [0, 1, 7, 18, 19, 25])
def test_an_iteration_goes_on_where_it_was(array, stop):
    whole = loader_of(array, n_epochs=2)
    want = ids(whole)
    first = loader_of(array, n_epochs=2)
    begun = [b["cell_ids"].tolist() for b in itertools.islice(first, stop)]
    state = first.state_dict()
    resumed = loader_of(array, n_epochs=2)
    resumed.load_state_dict(state)
    assert begun + ids(resumed) == want
    # And after it come the epochs that would have come.
    assert ids(resumed) == ids(whole)


def test_a_state_of_another_loader_is_refused(array):
    state = loader_of(array).state_dict()
    with pytest.raises(ValueError, match="batch_size is 16; this one's is 8"):
        loader_of(array, batch_size=8).load_state_dict(state)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_an_epoch(array, world, monkeypatch):
    loaders = [loader_of(array, rank=rank, world_size=world) for rank in range(world)]
    seen = [flat(ids(loader)) for loader in loaders]
    assert {len(cells) for cells in seen} == {N // world}
    assert sorted(flat(seen)) == list(range(N))
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", str(world))
    assert flat(ids(loader_of(array))) == seen[1]


def test_labels_come_along(array, adata):
    names = ["cell_type", "batch", "score", "n_genes", "doublet", "donor", "age"]
    loader = loader_of(array, labels=names)
    obs = adata.obs
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


def test_cells_are_chosen(array, adata):
    want = np.flatnonzero(adata.obs["batch"] == "batch1").tolist()
    mask = (adata.obs["batch"] == "batch1").to_numpy()
    handle = read_slaf(array.slaf_path)
    for source, cells in (
        (array, "batch = 'batch1'"),
        (array, mask),
        (array, want[::-1]),
        (array, adata.obs_names[mask]),
        (handle[mask], None),
        (handle[want[::-1]], None),
        (handle[100:], "batch = 'batch1'"),
    ):
        got = sorted(flat(ids(loader_of(source, cells=cells))))
        assert got == (
            want
            if source is not handle[100:] and not (cells is not None and source is not array)
            else [c for c in want if c >= 100]
        )
    view = handle[want[::-1]]
    loader = loader_of(view, labels=["score"])
    for batch in loader:
        np.testing.assert_array_equal(
            batch["score"], adata.obs["score"].iloc[batch["cell_ids"]].astype(np.float32)
        )


@pytest.mark.parametrize("form", ["polars", "csr"])
def test_raw_batches(array, adata, form):
    counts = dense(adata.X)
    loader = loader_of(array, raw_mode=True, raw_format=form)
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
    part = read_slaf(array.slaf_path)[:, ["ENSG00003", "ENSG00001", "ENSG00020"]]
    for batch in loader_of(part, tokenizer_type="raw", raw_format="csr"):
        np.testing.assert_array_equal(
            batch["x"].toarray(), counts[batch["cell_ids"]][:, [3, 1, 20]]
        )


@pytest.fixture(scope="module")
def second(adata, tmp_path_factory) -> tuple[SLAFArray, ad.AnnData]:
    """Another dataset: some of the genes, in another order, and one more."""
    other = make_counts(90, 40, seed=2)[:, [7, 3, 30, 0]].copy()
    other.var_names = ["ENSG00007", "ENSG00003", "ENSG99999", "ENSG00000"]
    other.obs["cell_type"] = "Monocytes"
    target = tmp_path_factory.mktemp("second") / "y.slaf"
    SLAFConverter().convert_anndata(other, target)
    return SLAFArray(target), other


def test_several_datasets_are_one_stream(array, adata, second):
    other, other_adata = second
    both = [dense(adata.X), dense(other_adata.X)]
    loader = loader_of([array, other], raw_mode=True, raw_format="csr", labels="cell_type")
    assert list(loader.var_names) == [*adata.var_names, "ENSG99999"]
    seen = []
    for batch in loader:
        assert batch["x"].has_sorted_indices
        for row, (which, cell) in enumerate(zip(batch["dataset"], batch["cell_ids"], strict=True)):
            seen.append((which, cell))
            want = pd.Series(0.0, loader.var_names)
            names = (adata, other_adata)[which].var_names
            want[names] = both[which][cell]
            np.testing.assert_array_equal(batch["x"][row].toarray().ravel(), want)
            if which == 1:
                assert loader.categories["cell_type"][batch["cell_type"][row]] == "Monocytes"
    assert len(seen) == len(set(seen)) == N + 90
    tokens = {"<pad>": 0, "<mask>": 1, "<cls>": 2, "<eos>": 3}
    tokens |= {name: 10 + at for at, name in enumerate(loader.var_names)}
    medians = dict.fromkeys(loader.var_names, 1.0)
    options = {"token_dictionary": tokens, "medians": medians}
    for batch in loader_of([array, other], max_genes=20, tokenizer_options=options):
        for row, (which, cell) in enumerate(zip(batch["dataset"], batch["cell_ids"], strict=True)):
            tokenizer = GeneformerTokenizer((array, other)[which], max_genes=20, **options)
            want = tokenizer.encode(both[which][cell][None])["input_ids"][0]
            np.testing.assert_array_equal(batch["input_ids"][row], want)
    with pytest.raises(ValueError, match="have different genes"):
        loader_of([array, other])
    mixed = loader_of([array, other], raw_mode=True, mix=[1, 3], draws=8000)
    shares = np.concatenate([batch["dataset"] for batch in mixed])
    assert abs(shares.mean() - 0.75) < 0.05


def test_weighted_balanced_and_stratified(array, adata):
    weights = np.arange(N, dtype=float)
    loader = loader_of(array, raw_mode=True, weights=weights, draws=40_000)
    assert len(loader) == 2500
    drawn = np.bincount(flat(ids(loader)), minlength=N)
    assert drawn[0] == 0
    assert np.corrcoef(drawn, weights)[0, 1] > 0.9
    by_column = loader_of(array, raw_mode=True, weights="total_counts", draws=20_000)
    assert set(flat(ids(by_column))) <= set(np.flatnonzero(adata.obs["total_counts"]))
    balanced = loader_of(array, raw_mode=True, balance_by="donor", labels="donor", draws=40_000)
    counted = np.bincount(np.concatenate([b["donor"] for b in balanced]) + 1) / 40_000
    np.testing.assert_allclose(counted, 0.25, atol=0.03)
    strata = loader_of(array, raw_mode=True, stratify_by="batch", labels="batch", buffer=N)
    share = (adata.obs["batch"] == "batch1").mean()
    for batch in itertools.islice(strata, 18):
        assert (
            abs((batch["batch"] == strata.categories["batch"].index("batch1")).sum() - 16 * share)
            <= 1
        )


def test_a_tokenizer_of_ones_own(array, adata):
    counts = dense(adata.X)

    def longest(batch):
        assert batch.schema.names == ["cell_integer_id", "genes", "values", "cell_type"]
        frame = pl.from_arrow(batch)
        return {
            "top": frame["values"].list.max().fill_null(0).to_numpy(),
            "ids": frame["cell_integer_id"].to_list(),
        }

    for batch in loader_of(array, tokenizer=longest, labels=["cell_type"]):
        np.testing.assert_array_equal(batch["top"], counts[batch["cell_ids"]].max(1))
        assert batch["ids"] == batch["cell_ids"].tolist()

    def broken(batch):
        raise LookupError("no such token")

    with pytest.raises(LookupError, match="no such token"):
        list(loader_of(array, tokenizer=broken))
    with pytest.raises(TypeError, match="returns a dictionary of arrays, and this one a list"):
        list(loader_of(array, tokenizer=lambda batch: []))


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


def test_an_epoch_keeps_its_version(adata, tmp_path):
    target = tmp_path / "x.slaf"
    SLAFConverter().convert_anndata(adata[:100].copy(), target)
    loader = loader_of(target, batch_size=8)
    batches = iter(loader)
    seen = [next(batches)["cell_ids"].tolist()]
    adata[100:].write_h5ad(tmp_path / "more.h5ad")
    SLAFConverter().append(tmp_path / "more.h5ad", target)
    seen += [batch["cell_ids"].tolist() for batch in batches]
    assert sorted(flat(seen)) == list(range(100))
    assert sorted(flat(ids(loader_of(target)))) == list(range(N))


def test_errors_are_raised_in_the_loop(adata, tmp_path):
    wrong = adata[:100].copy()
    wrong.X = wrong.X.astype(np.float32)
    wrong.X[77, 11] = -2.5
    SLAFConverter().convert_anndata(wrong, tmp_path / "x.slaf")
    with pytest.raises(SlafError, match=r"Cell 77, gene 11 holds -2.5, which is no count"):
        list(loader_of(tmp_path / "x.slaf"))
    assert len(flat(ids(loader_of(tmp_path / "x.slaf", raw_mode=True)))) == 100


def test_a_file_that_is_lost_under_way_is_an_error(adata, tmp_path):
    target = tmp_path / "x.slaf"
    SLAFConverter(max_rows_per_file=700).convert_anndata(adata, target)
    loader = loader_of(target, prefetch=1)
    batches = iter(loader)
    next(batches)
    for file in (target / "expression.lance" / "data").iterdir():
        file.write_bytes(b"")
    with pytest.raises((SlafError, OSError)):
        list(batches)


def test_what_cannot_be_is_refused(array):
    for text, more in (
        ("no column `cell_typ`. Did you mean `cell_type`", {"labels": ["cell_typ"]}),
        ("batch_size is at least 1", {"batch_size": 0}),
        ("exclude each other", {"weights": "score", "balance_by": "batch"}),
        ("holds no numbers", {"weights": "batch"}),
        ("299 weights for 300 cells", {"weights": np.ones(299)}),
        ("A weight is -1", {"weights": np.full(300, -1.0)}),
        ("All weights are 0", {"weights": np.zeros(300)}),
        ("Rank 2 is not among 2", {"rank": 2, "world_size": 2}),
        ("belong together", {"rank": 2}),
        ("fewer cells than the 301 processes", {"rank": 0, "world_size": 301}),
        ("leaves out batches of fewer than 400", {"batch_size": 400, "drop_last": True}),
        ("No cell is left", {"cells": "batch = 'no'"}),
        ("selected twice", {"cells": [1, 2, 1]}),
        ('"geneformer" or "scgpt", not \'bert\'', {"tokenizer_type": "bert"}),
        ("compat is one of", {"compat": "geneformer-v3"}),
        ("raw_format is one of", {"raw_mode": True, "raw_format": "dense"}),
        ("`input_ids` already", {"labels": ["input_ids"]}),
        ("mix has 2 numbers for 1", {"mix": [1, 2]}),
    ):
        if more.get("labels") == ["input_ids"]:
            handle = read_slaf(array.slaf_path)
            handle.obs["input_ids"] = 1
            source = handle
        else:
            source = array
        with pytest.raises(ValueError) as raised:
            loader_of(source, **more)
        assert text in str(raised.value), (text, str(raised.value))


def test_a_batch_larger_than_the_dataset_is_all_of_it(array):
    loader = loader_of(array, batch_size=1000)
    assert len(loader) == 1
    assert [len(cells) for cells in ids(loader)] == [N]


def test_leaving_a_loop_ends_its_threads_work(array):
    loader = loader_of(array, n_epochs=1000, prefetch=2)
    begun = time.monotonic()
    for _ in zip(range(3), loader, strict=False):
        pass
    batches = iter(loader)
    next(batches)
    batches.close()
    # Nothing waits, as slafdb's 80 seconds do, and nothing goes on.
    assert time.monotonic() - begun < 60
    assert next(batches, None) is None


def test_batches_for_several_threads(array):
    """Two loops over one loader are two iterations; each is whole."""
    loader = loader_of(array)
    seen: dict[int, list[int]] = {}

    def run(key: int) -> None:
        seen[key] = flat(ids(loader))

    threads = [threading.Thread(target=run, args=(key,)) for key in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen[0]) == sorted(seen[1]) == list(range(N))


def test_a_forked_process_is_told(array):
    loader = loader_of(array)
    next(iter(loader))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            list(loader)
        except RuntimeError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert b"cannot be used in a forked process" in os.read(reader, 1000)


def test_an_interrupt_is_heeded(array, tmp_path):
    script = tmp_path / "loop.py"
    script.write_text(
        "from slaf.ml import SLAFDataLoader\n"
        f"loader = SLAFDataLoader({array.slaf_path!r}, n_epochs=10**9, verbose=False)\n"
        "print('begun', flush=True)\n"
        "for batch in loader: pass\n"
    )
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert errors.endswith("KeyboardInterrupt\n") and process.returncode == -signal.SIGINT


def test_the_dataset_of_torch_style_loops(array):
    tokenizer = GeneformerTokenizer(array, max_genes=20)
    dataset = SLAFIterableDataset(array, tokenizer, batch_size=16, verbose=False)
    assert len(dataset) == 19
    cells = [np.asarray(batch["cell_ids"]).tolist() for batch in dataset]
    assert sorted(flat(cells)) == list(range(N))


def test_shuffled_copies(array, adata, tmp_path):
    target = tmp_path / "shuffled.slaf"
    done = subprocess.run(
        [sys.executable, "-m", "slaf.cli", "shuffle", array.slaf_path, target, "--seed", "3"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    copy = read_slaf(target)
    order = adata.obs_names.get_indexer(copy.obs_names)
    assert sorted(order) == list(range(N)) and order.tolist() != list(range(N))
    np.testing.assert_array_equal(copy.X.toarray(), dense(adata.X)[order])
