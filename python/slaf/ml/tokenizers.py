"""Tokenizers of Geneformer, scGPT and slafdb. Rust does the work; this module matches
their vocabularies to a dataset's genes."""

from __future__ import annotations

import warnings
from enum import Enum
from typing import Any

import numpy as np

from slaf import _slaf
from slaf.dataset import Dataset, OverDataset, dataset_of
from slaf.ground.dtypes import engine_values
from slaf.ml.cell_tokens import CellTokens, cell_tokens
from slaf.ml.count_matrices import canonical, matrix_of
from slaf.ml.geneformer_scale import own_medians, totals
from slaf.ml.tensors import as_tensor
from slaf.ml.vocabulary import (
    Coverage,
    Dictionary,
    by_ensembl_id,
    dictionary,
    match,
    special_tokens_of,
)

#: If a vocabulary has a smaller fraction of a dataset's genes, it is probably the wrong
#: one.
_FEW = 0.2

_ENSEMBL = ("ensembl_id", "ensembl_ids", "gene_ids", "feature_id")
_SYMBOLS = ("gene_symbol", "gene_symbols", "symbol", "gene_name", "gene_names", "feature_name")


class TokenizerType(str, Enum):
    GENEFORMER = "geneformer"
    SCGPT = "scgpt"


class SLAFTokenizer:
    """Base class of tokenizers.

    Attributes
    ----------
    vocabulary
        Where tokens are from: "dictionary", or "dataset" if they number the genes of this
        dataset.
    coverage
        How many genes of the dataset have a token, and which do not.
    special_tokens
        Name → token.
    tokens
        The token of each gene, -1 for none: int64.
    engine
        The tokenizer in Rust.
    """

    vocabulary = "dataset"
    coverage: Coverage
    special_tokens: dict[str, int]
    tokens: np.ndarray
    engine: _slaf.Tokenizer
    #: dtype of the values.
    _values = np.float32

    def __init__(
        self, slaf_array: OverDataset | Dataset, vocab_size: int = 50000, max_genes: int = 2048
    ):
        if max_genes < 1:
            raise ValueError(f"max_genes is at least 1, not {max_genes}.")
        self.slaf_array, self.vocab_size, self.max_genes = slaf_array, vocab_size, max_genes

    def _number_genes(self, first: int) -> None:
        n = self.slaf_array.shape[1]
        self.tokens = np.arange(first, first + n, dtype=np.int64)
        self.coverage = Coverage(n, n, (), "gene_integer_id")

    def _look_up(
        self, tokens: dict[str, Any], key: str | None, candidates: tuple[str, ...], find: Any
    ) -> np.ndarray:
        found, self.coverage = match(self.slaf_array, key, candidates, find)
        self.vocabulary = "dictionary"
        self.tokens = np.array([-1 if k is None else tokens[k] for k in found], dtype=np.int64)
        if self.coverage.known < _FEW * self.coverage.genes:
            warnings.warn(
                f"The vocabulary has only {self.coverage}; the others are left out.", stacklevel=4
            )
        return found

    def _fit(self) -> None:
        """Raises an error if the vocabulary is larger than the model's."""
        largest = max([*self.special_tokens.values(), *self.tokens.tolist()], default=0)
        if largest >= self.vocab_size:
            raise ValueError(
                f"The vocabulary has tokens up to {largest:,}, and the model takes "
                f"{self.vocab_size:,}. Give vocab_size={largest + 1} or more."
            )

    def encode(self, matrix: Any, cells: Any = None, seed: int = 0) -> dict[str, np.ndarray]:
        """Tokenizes rows of counts over the dataset's genes.

        Parameters
        ----------
        matrix
            cells × genes, sparse or dense.
        cells
            The integer ids of the rows in the dataset; by default from 0.
        seed
            Seed of everything random.

        Returns
        -------
        `input_ids` (int64), `attention_mask` (bool), and, if the model has them, `values` and
        `masked_values` (float32): cells × tokens.

        Raises
        ------
        SlafError
            A value is negative or NaN.
        ValueError
            The matrix does not have the dataset's genes.
        """
        matrix = canonical(matrix, self.slaf_array.shape[1])
        cells = np.arange(matrix.shape[0]) if cells is None else np.asarray(cells)
        arrays = self.engine.encode(
            (
                matrix.indptr,
                matrix.indices.astype(np.int32, copy=False),
                engine_values(matrix.data),
            ),
            matrix.shape[1],
            cells.astype(np.int64),
            seed,
        )
        return self.named(arrays)

    def named(self, arrays: tuple[Any, ...]) -> dict[str, np.ndarray]:
        """The engine's arrays in the form that :meth:`encode` returns."""
        names = ("input_ids", "attention_mask", "values", "masked_values")
        found = {name: a for name, a in zip(names, arrays, strict=True) if a is not None}
        if "values" in found and self._values != np.float32:
            found["values"] = found["values"].astype(self._values)
        return found

    def tokenize(
        self,
        gene_sequences: list[list[int] | list[tuple[int, float]]],
        expr_sequences: list[list[float]] | None = None,
    ) -> tuple[Any, Any, Any | None]:
        """slafdb's method: cells are lists of gene numbers and of their values.

        Returns
        -------
        input ids, attention mask and values (or None), as torch tensors if torch
        is installed.

        Raises
        ------
        ValueError
            There are no cells, or no values.
        """
        if not gene_sequences:
            raise ValueError("Gene sequences cannot be empty")
        if expr_sequences is None:
            raise ValueError("The rules of this model need the values of the genes, too.")
        found = self.encode(matrix_of(gene_sequences, expr_sequences, self.slaf_array.shape[1]))
        values = found.get("values")
        return (
            as_tensor(found["input_ids"]),
            as_tensor(found["attention_mask"]),
            None if values is None else as_tensor(values),
        )

    def get_vocab_info(self) -> dict[str, Any]:
        """Sizes, special tokens, and the origin of the vocabulary."""
        return {
            "vocab_size": self.vocab_size,
            "special_tokens": self.special_tokens,
            "gene_vocab_size": self.coverage.known,
            "max_genes": self.max_genes,
            "vocabulary": self.vocabulary,
            "missing_genes": len(self.coverage.missing),
        }

    def tokens_of(self, cell: str | int) -> CellTokens:
        """The tokens that a model gets for a cell, given by its name or number, as a
        table. Raises KeyError or IndexError if there is no such cell."""
        dataset = dataset_of(self.slaf_array)
        return cell_tokens(dataset, cell, self.encode, self.tokens, self.special_tokens)

    def decode_tokens(self, tokens: list[int]) -> dict[str, Any]:
        """The gene ids and the special tokens among `tokens`, in order."""
        names = {token: name for name, token in self.special_tokens.items()}
        ids = dataset_of(self.slaf_array).var_names
        genes = {int(token): ids[at] for at, token in enumerate(self.tokens) if token >= 0}
        tokens = [int(token) for token in tokens]
        return {
            "genes": [genes.get(t, f"unknown_gene_{t}") for t in tokens if t not in names],
            "expressions": [],
            "special_tokens": [names[t] for t in tokens if t in names],
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self._describe()}"

    def _describe(self) -> str:
        if self.vocabulary == "dataset":
            return f"tokens number this dataset's {self.coverage.genes:,} genes"
        return f"the vocabulary has {self.coverage}"


class GeneformerTokenizer(SLAFTokenizer):
    """Geneformer's rank value encoding: each count is divided by the cell's total, multiplied by
    10,000, divided by the gene's median in the corpus, and genes are sorted from high to low.
    Equal genes keep the order of the dataset; Geneformer leaves their order open. Values of genes
    with the same token are summed. If a cell is too long, its lowest genes are dropped.

    Without Geneformer's dictionaries, the dataset is used in place of the corpus: tokens number
    its genes (`vocabulary` is "dataset"), and medians come from its own cells (`medians_from`
    says how many).

    Parameters
    ----------
    slaf_array
        The dataset.
    vocab_size
        Size of the model's vocabulary.
    max_genes
        Tokens per row, including special tokens: 4,096 in V2, 2,048 in V1.
    version
        "v2" puts `<cls>` before and `<eos>` after a cell; "v1" does not.
    token_dictionary, medians, gene_mapping
        Geneformer's `token_dictionary`, `gene_median_dictionary` and `ensembl_mapping_dict`, or
        the pickle or JSON files that hold them.
    gene_key
        The column of the genes table with Ensembl ids; by default the one with the most ids in
        the dictionary.
    n_counts
        The column of obs with the cells' totals; by default, the stored values are summed.

    Raises
    ------
    ValueError
        The dictionaries have none of the genes, or a special token is missing, or a token is not
        below `vocab_size`.
    """

    def __init__(
        self,
        slaf_array: OverDataset | Dataset,
        vocab_size: int = 50000,
        max_genes: int = 2048,
        *,
        version: str = "v2",
        token_dictionary: Dictionary | None = None,
        medians: Dictionary | None = None,
        gene_mapping: Dictionary | None = None,
        gene_key: str | None = None,
        n_counts: str | None = None,
    ):
        super().__init__(slaf_array, vocab_size, max_genes)
        if version not in ("v1", "v2"):
            raise ValueError(f"There are versions v1 and v2 of Geneformer, not {version!r}.")
        names = ["<pad>", "<mask>"] + (["<cls>", "<eos>"] if version == "v2" else [])
        factors = None if medians is None else dictionary(medians, "dictionary of medians")
        self.medians_from = "dictionary"
        if token_dictionary is None:
            if factors is not None or gene_mapping is not None:
                raise ValueError("medians and gene_mapping belong to a token_dictionary; give it.")
            self.special_tokens = {name: at for at, name in enumerate(names)}
            self._number_genes(len(names))
            found = self.tokens
        else:
            tokens = dictionary(token_dictionary, "token dictionary")
            self.special_tokens = special_tokens_of(tokens, names)
            known = tokens.keys() - self.special_tokens.keys()
            known = known & factors.keys() if factors is not None else known
            found = self._look_up(tokens, gene_key, _ENSEMBL, by_ensembl_id(known, gene_mapping))
        if factors is None:
            scale, self.medians_from = own_medians(slaf_array)
        else:
            scale = np.array([1.0 if k is None else float(factors[k]) for k in found])
        self._fit()
        specials = self.special_tokens
        frame = (specials["<cls>"], specials["<eos>"]) if version == "v2" else None
        summed = None if n_counts is None else totals(slaf_array, n_counts)
        self.engine = _slaf.Tokenizer.geneformer(
            self.tokens, scale, frame, specials["<pad>"], max_genes, summed
        )

    def _describe(self) -> str:
        return f"{super()._describe()}, medians are from {self.medians_from.replace('dictionary', 'the dictionary')}"


class ScGPTTokenizer(SLAFTokenizer):
    """scGPT's input: `<cls>`, then the genes that have a value, each with the quantile bin of its
    value within the cell. A cell with too many genes is sampled at random, anew in each epoch.

    Without scGPT's vocabulary, tokens number the dataset's genes (`vocabulary` is "dataset").

    Parameters
    ----------
    slaf_array, vocab_size
        As for :class:`GeneformerTokenizer`.
    n_expression_bins
        A parameter of slafdb; ignored, as in slafdb's loader. See `n_bins`.
    max_genes
        Tokens per row, including `<cls>`; 1,200 in scGPT.
    vocabulary
        scGPT's `vocab.json`, or its content: gene symbols and special tokens.
    gene_key
        The column of the genes table with symbols; by default the one with the most symbols in
        the vocabulary.
    n_bins
        Number of bins, including the bin of zeros; scGPT has 51.
    ties
        A value that equals several quantiles: "spread" assigns it to one of their bins at random,
        as in scGPT; "upper" to the highest one.
    sample
        False keeps the first genes of a cell with too many.
    mask_ratio, mask_value
        The fraction of a cell's values to replace in `masked_values`, and the replacement; scGPT
        masks 0.15 with -1. By default, nothing is masked.
    pad_value
        The padding of values.
    """

    def __init__(
        self,
        slaf_array: OverDataset | Dataset,
        vocab_size: int = 50000,
        n_expression_bins: int = 10,
        max_genes: int = 1024,
        *,
        vocabulary: Dictionary | None = None,
        gene_key: str | None = None,
        n_bins: int = 51,
        ties: str = "spread",
        sample: bool = True,
        mask_ratio: float | None = None,
        mask_value: float = -1.0,
        pad_value: float = -2.0,
    ):
        super().__init__(slaf_array, vocab_size, max_genes)
        if ties not in ("spread", "upper"):
            raise ValueError(f'ties are "spread" or "upper", not {ties!r}.')
        self.n_expression_bins, self.n_bins = n_expression_bins, n_bins
        names = ["<pad>", "<cls>", "<eoc>"]
        if vocabulary is None:
            self.special_tokens = {name: at for at, name in enumerate(names)}
            self._number_genes(len(names))
        else:
            tokens = dictionary(vocabulary, "vocabulary")
            self.special_tokens = special_tokens_of(tokens, names)
            known = tokens.keys() - self.special_tokens.keys()
            self._look_up(tokens, gene_key, _SYMBOLS, lambda i: i if i in known else None)
        self._fit()
        self.engine = _slaf.Tokenizer.scgpt(
            self.tokens,
            self.special_tokens["<cls>"],
            self.special_tokens["<pad>"],
            pad_value,
            n_bins,
            ties == "spread",
            max_genes,
            sample,
            None if mask_ratio is None else (mask_ratio, mask_value),
        )

    def get_vocab_info(self) -> dict[str, Any]:
        return {**super().get_vocab_info(), "n_expression_bins": self.n_bins}


class SlafdbTokenizer(SLAFTokenizer):
    """The tokens that slafdb 0.5.2 makes for Geneformer or scGPT, bit for bit, for
    models that were trained on them. Genes come in stored order, and tokens are their
    numbers plus 4; nothing is scaled or sorted.

    Parameters
    ----------
    tokenizer_type
        "geneformer" or "scgpt".
    """

    def __init__(
        self,
        slaf_array: OverDataset | Dataset,
        vocab_size: int = 50000,
        max_genes: int = 2048,
        *,
        tokenizer_type: str = "geneformer",
    ):
        super().__init__(slaf_array, vocab_size, max_genes)
        self.special_tokens = {"PAD": 0, "CLS": 1, "SEP": 2, "MASK": 3}
        self._number_genes(4)
        self._values = np.int64
        values_from = vocab_size if TokenizerType(tokenizer_type) == "scgpt" else None
        self.engine = _slaf.Tokenizer.slafdb(max_genes, values_from)
