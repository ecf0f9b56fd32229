"""Tokenizers compared with the rules of their papers, cell by cell, and with slafdb."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import plain_tokens as plain
import pytest
from conftest import dense, make_counts
from hypothesis import given, settings
from hypothesis import strategies as st
from inside import engine_of
from scipy import sparse
from slaf import SLAFArray, SlafError, _slaf
from slaf.data import SLAFConverter
from slaf.ml import GeneformerTokenizer, ScGPTTokenizer, SlafdbTokenizer
from slafdb_calls import slafdb


def tokens_of(found: dict, row: int) -> list[int]:
    return found["input_ids"][row][found["attention_mask"][row]].tolist()


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[SLAFArray, np.ndarray]:
    adata = make_counts(60, 40)
    target = tmp_path_factory.mktemp("made") / "x.slaf"
    SLAFConverter().convert_anndata(adata, target)
    return SLAFArray(target), dense(adata.X).astype(np.float64)


@pytest.fixture(scope="module")
def real(pbmc_h5ad, tmp_path_factory) -> tuple[SLAFArray, np.ndarray]:
    """700 real cells: the counts that their raw values are the logarithm of."""
    raw = ad.read_h5ad(pbmc_h5ad).raw.to_adata()
    counts = np.expm1(dense(raw.X).astype(np.float64))
    smallest = np.where(counts > 0, counts, np.inf).min(1, keepdims=True)
    raw.X = sparse.csr_matrix(np.round(counts / smallest).astype(np.float32))
    raw = ad.AnnData(raw.X, obs=raw.obs[["louvain"]], var=raw.var[[]])
    target = tmp_path_factory.mktemp("real") / "x.slaf"
    SLAFConverter().convert_anndata(raw, target)
    return SLAFArray(target), dense(raw.X).astype(np.float64)


def geneformer_files(ids, seed: int = 0) -> tuple[dict, dict, dict]:
    """Hand-made dictionaries: some genes unknown, some renamed, two of one token."""
    random = np.random.default_rng(seed)
    ids = [i.upper() for i in ids]
    known = [i for i in ids if random.random() < 0.8]
    tokens = {"<pad>": 0, "<mask>": 1, "<cls>": 2, "<eos>": 3}
    tokens |= {i: 4 + at for at, i in enumerate(random.permutation(known).tolist())}
    medians = {
        i: float(m) for i, m in zip(known, random.choice([0.5, 1, 2.5], len(known)), strict=True)
    }
    mapping = {i: i for i in ids}
    mapping[known[0]] = mapping[known[1]] = known[2]
    mapping[next(i for i in ids if i not in tokens)] = known[3]
    return tokens, medians, mapping


@pytest.mark.parametrize("data", ["made", "real"])
@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("width", [12, 2048])
@pytest.mark.parametrize("collapse", [False, True])
def test_geneformer(request, data, version, width, collapse):
    array, counts = request.getfixturevalue(data)
    ids = array.var["gene_id"].to_list()
    tokens, medians, mapping = geneformer_files(ids)
    tokenizer = GeneformerTokenizer(
        array,
        max_genes=width,
        version=version,
        token_dictionary=tokens,
        medians=medians,
        gene_mapping=mapping if collapse else None,
    )
    found = tokenizer.encode(counts)
    assert found["input_ids"].shape == (len(counts), width)
    for row, cell in enumerate(counts[:200]):
        if not cell.any():
            want = [2, 3] if version == "v2" else []
        else:
            mapped = mapping if collapse else None
            want = plain.geneformer(
                cell, ids, tokens, medians, version=version, width=width, mapping=mapped
            )
        assert tokens_of(found, row) == want
        assert (found["input_ids"][row][len(want) :] == 0).all()


def test_geneformer_takes_totals_and_pickles(made, tmp_path):
    array, counts = made
    tokens, medians, _ = geneformer_files(array.var["gene_id"].to_list())
    paths = []
    for name, content in (
        ("tokens", tokens),
        ("medians", {k: np.float64(v) for k, v in medians.items()}),
    ):
        paths.append(tmp_path / f"{name}.pkl")
        paths[-1].write_bytes(pickle.dumps(content))
    tokenizer = GeneformerTokenizer(
        array, max_genes=20, token_dictionary=paths[0], medians=paths[1], n_counts="total_counts"
    )
    ids, totals = array.var["gene_id"].to_list(), array.obs["total_counts"].to_numpy()
    found = tokenizer.encode(counts)
    for row in np.flatnonzero(counts.any(1)):
        want = plain.geneformer(
            counts[row], ids, tokens, medians, version="v2", width=20, total=totals[row]
        )
        assert tokens_of(found, row) == want
    assert tokenizer.coverage.known == len(tokens) - 4
    assert tokenizer.coverage.genes - tokenizer.coverage.known == len(tokenizer.coverage.missing)
    assert tokenizer.vocabulary == tokenizer.medians_from == "dictionary"


@pytest.mark.parametrize("indexed", [True, False])
def test_medians_of_the_dataset(indexed, tmp_path):
    adata = make_counts(61, 30)
    SLAFConverter().convert_anndata(adata, tmp_path / "x.slaf", gene_index=indexed)
    array = SLAFArray(tmp_path / "x.slaf")
    got, cells = _slaf.gene_medians(engine_of(array))
    np.testing.assert_allclose(got, plain.medians(dense(adata.X).astype(float)), rtol=1e-12)
    assert cells == 61
    tokenizer = GeneformerTokenizer(array)
    assert tokenizer.vocabulary == "dataset"
    assert tokenizer.medians_from == "all 61 cells of the dataset"
    assert tokenizer.tokens.tolist() == list(range(4, 34))


def test_ranked_genes_by_sql(made):
    """Tokenization as a query: each cell's genes from high to low."""
    array, counts = made
    ranked = array.query(
        "SELECT cell_integer_id, ARRAY_AGG(gene_integer_id ORDER BY value DESC, gene_integer_id) "
        "AS genes FROM expression GROUP BY cell_integer_id ORDER BY cell_integer_id"
    )
    ones = np.ones(array.shape[1])
    tokenizer = _slaf.Tokenizer.geneformer(np.arange(array.shape[1]), ones, None, -1, 2048)
    csr = sparse.csr_matrix(counts)
    cells = np.arange(len(counts))
    ids, mask, *_ = tokenizer.encode((csr.indptr, csr.indices, csr.data), len(ones), cells, 0)
    for cell, genes in ranked.iter_rows():
        assert genes == ids[cell][mask[cell]].tolist()


@pytest.mark.parametrize("data", ["made", "real"])
@pytest.mark.parametrize("ties", ["upper", "spread"])
def test_scgpt(request, data, ties):
    array, counts = request.getfixturevalue(data)
    symbols = array.var["gene_id"].to_list()
    vocabulary = {"<pad>": 7, "<cls>": 1, "<eoc>": 2}
    vocabulary |= {s: 10 + at for at, s in enumerate(symbols) if at % 7}
    tokenizer = ScGPTTokenizer(array, max_genes=1200, vocabulary=vocabulary, ties=ties)
    found = tokenizer.encode(counts, seed=3)
    again = tokenizer.encode(counts, seed=3)
    np.testing.assert_array_equal(found["values"], again["values"])
    known = np.array([s in vocabulary for s in symbols])
    moved = 0
    for row, cell in enumerate(counts[:200]):
        genes = np.flatnonzero((cell > 0) & known)
        assert tokens_of(found, row) == [1, *(vocabulary[symbols[g]] for g in genes)]
        values = found["values"][row]
        assert values[0] == 0
        assert (values[len(genes) + 1 :] == -2).all()
        assert (found["input_ids"][row][len(genes) + 1 :] == 7).all()
        if not len(genes):
            continue
        low, high = plain.scgpt_bins(cell[genes], 51)
        got = values[1 : len(genes) + 1]
        if ties == "upper":
            np.testing.assert_array_equal(got, high)
        else:
            assert ((np.minimum(low + 1, high) <= got) & (got <= high)).all()
            moved += (got != high).sum()
    assert (moved > 0) == (ties == "spread")


def test_scgpt_spreads_ties_evenly(made):
    array, _ = made
    tokenizer = ScGPTTokenizer(array, max_genes=50)
    cell = np.zeros((1, 40))
    cell[0] = 1
    bins = [tokenizer.encode(cell, seed=seed)["values"][0, 1:41] for seed in range(400)]
    counted = np.bincount(np.concatenate(bins).astype(int), minlength=51)
    assert counted[0] == 0
    # 16,000 over 50 bins: 320 each, five deviations are 89.
    assert (np.abs(counted[1:] - 320) < 89).all()


def test_scgpt_samples_and_masks(made):
    array, counts = made
    tokenizer = ScGPTTokenizer(array, max_genes=6, mask_ratio=0.4)
    cell = np.zeros((1, 40))
    cell[0, :20] = np.arange(1, 21)
    shown = np.zeros(20)
    for seed in range(300):
        found = tokenizer.encode(cell, seed=seed)
        genes = found["input_ids"][0, 1:] - 3
        assert len(set(genes)) == 5 and set(genes) <= set(range(20))
        shown[genes] += 1
        # Bins are of the whole cell, before genes are chosen.
        _, high = plain.scgpt_bins(np.arange(1.0, 21.0), 51)
        np.testing.assert_array_equal(found["values"][0, 1:], high[genes])
        hidden = found["masked_values"][0] == -1
        assert hidden.sum() == 2 and not hidden[0]
        same = found["masked_values"][0] == found["values"][0]
        assert (same | hidden).all()
    assert (np.abs(shown - 75) < 5 * np.sqrt(75 * 0.75)).all()
    first = ScGPTTokenizer(array, max_genes=6, sample=False).encode(cell)
    assert first["input_ids"][0].tolist() == [1, 3, 4, 5, 6, 7]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(2**-10, 2**14, width=32), min_size=1, max_size=39), st.integers(3, 80))
def test_scgpt_bins_of_any_values(made, values, n_bins):
    array, _ = made
    cell = np.zeros((1, 40))
    cell[0, : len(values)] = values
    tokenizer = ScGPTTokenizer(array, max_genes=50, n_bins=n_bins, ties="upper")
    got = tokenizer.encode(cell)["values"][0, 1 : len(values) + 1]
    np.testing.assert_array_equal(got, plain.scgpt_bins(np.array(values), n_bins)[1])


@pytest.mark.parametrize("fractional", [False, True])
def test_slafdb_bit_for_bit(tmp_path, fractional):
    """slafdb reads its own dataset and tokenizes it; we read the same."""
    adata = make_counts(50, 30)
    adata = adata[np.asarray(adata.X.sum(1)).ravel() > 0].copy()
    adata.obs = adata.obs[["batch"]]
    if fractional:
        adata.X = (adata.X * 0.0371).astype(np.float32)
    adata.write_h5ad(tmp_path / "x.h5ad")
    slafdb("convert", tmp_path / "x.h5ad", tmp_path / "x.slaf")
    slafdb("tokens", tmp_path / "x.slaf", tmp_path / "tokens.npz")
    want = np.load(tmp_path / "tokens.npz")
    array = SLAFArray(tmp_path / "x.slaf")
    for kind in ("geneformer", "scgpt"):
        for width in (6, 2048):
            tokenizer = SlafdbTokenizer(array, 50000, width, tokenizer_type=kind)
            found = tokenizer.encode(adata.X if fractional else adata.X.astype(np.int32))
            for name, values in found.items():
                theirs = want[f"{kind}/{width}/{name}"]
                assert theirs.dtype == values.dtype
                np.testing.assert_array_equal(values, theirs)


def refused(error: type[Exception], text: str, call) -> None:
    with pytest.raises(error) as raised:
        call()
    assert text in str(raised.value)


def test_what_is_no_count_is_refused(made):
    array, counts = made
    for value, named in ((-1.0, "holds -1"), (np.nan, "holds NaN"), (np.inf, "holds inf")):
        wrong = counts.copy()
        wrong[4, 7] = value
        for tokenizer in (GeneformerTokenizer(array), ScGPTTokenizer(array)):
            text = f"Cell 4, gene 7 {named}, which is no count."
            refused(SlafError, text, lambda t=tokenizer, w=wrong: t.encode(w))


def test_vocabularies_that_do_not_fit_say_so(made, tmp_path):
    array, _ = made
    tokens, medians, _ = geneformer_files(array.var["gene_id"].to_list())
    make = lambda **more: lambda: GeneformerTokenizer(array, **more)  # noqa: E731
    refused(
        ValueError,
        "none of the dataset's 40 genes",
        make(token_dictionary={**dict.fromkeys(["<pad>", "<mask>", "<cls>", "<eos>"], 0), "X": 9}),
    )
    refused(ValueError, "has no `<cls>`, `<eos>`", make(token_dictionary={"<pad>": 0, "<mask>": 1}))
    refused(ValueError, "Give vocab_size=44 or more", make(vocab_size=43))
    refused(
        ValueError,
        "no column `symbl`. Did you mean `symbol`",
        make(token_dictionary=tokens, gene_key="symbl"),
    )
    refused(ValueError, "belong to a token_dictionary", make(medians=medians))
    refused(ValueError, "no column `n_cnt`", make(n_counts="n_cnt"))
    refused(FileNotFoundError, "does not exist", make(token_dictionary=tmp_path / "no.pkl"))
    refused(SlafError, "no room for a gene", make(max_genes=2))
    refused(ValueError, "not 'v3'", make(version="v3"))
    (tmp_path / "list.json").write_text("[1]")
    refused(ValueError, "holds a list", make(token_dictionary=tmp_path / "list.json"))
    few = {k: v for k, v in tokens.items() if k.startswith("<")} | {array.var["gene_id"][0]: 9}
    with pytest.warns(UserWarning, match="only 1 of 40 genes"):
        GeneformerTokenizer(array, token_dictionary=few)


class Malice:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def test_a_pickle_runs_nothing(made, tmp_path, monkeypatch):
    array, _ = made
    monkeypatch.chdir(tmp_path)
    Path("bad.pkl").write_bytes(pickle.dumps({"<pad>": Malice()}))
    refused(
        ValueError,
        "not a JSON or pickled dictionary",
        lambda: GeneformerTokenizer(array, token_dictionary="bad.pkl"),
    )
    assert not Path("pwned").exists()


def test_tokenize_and_decode_as_slafdb_calls_them(made):
    array, counts = made
    tokenizer = GeneformerTokenizer(array, max_genes=8)
    rows = [np.flatnonzero(cell) for cell in counts[:3]]
    values = [counts[at][row].tolist() for at, row in enumerate(rows)]
    ids, mask, none = tokenizer.tokenize([row.tolist() for row in rows], values)
    want = tokenizer.encode(counts[:3])
    np.testing.assert_array_equal(np.asarray(ids), want["input_ids"])
    np.testing.assert_array_equal(np.asarray(mask), want["attention_mask"])
    assert none is None
    decoded = tokenizer.decode_tokens(tokens_of(want, 0))
    assert decoded["special_tokens"] == ["<cls>", "<eos>"]
    genes = array.var["gene_id"].to_list()
    assert decoded["genes"] == [genes[t - 4] for t in tokens_of(want, 0)[1:-1]]
    info = tokenizer.get_vocab_info()
    assert (info["vocabulary"], info["gene_vocab_size"], info["missing_genes"]) == (
        "dataset",
        40,
        0,
    )


def test_scgpt_finds_symbols_by_itself(made, tmp_path):
    array, _ = made
    path = tmp_path / "vocab.json"
    path.write_text(json.dumps({"<pad>": 0, "<cls>": 1, "<eoc>": 2, "G0": 3, "G3": 4, "G9": 5}))
    with pytest.warns(UserWarning, match="only 3 of 40 genes"):
        tokenizer = ScGPTTokenizer(array, vocabulary=path)
    assert tokenizer.coverage.key == "symbol"
    assert pd.Series(tokenizer.tokens)[lambda t: t >= 0].to_dict() == {0: 3, 3: 4, 9: 5}
    assert "3 of 40 genes (by `symbol`)" in repr(tokenizer)
