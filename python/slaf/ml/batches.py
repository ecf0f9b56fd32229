"""The content of a loader's batches: tokens, rows of counts, or what a user's function
makes of the counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from scipy import sparse

from slaf.ground.dtypes import read_as
from slaf.ml.loader_inputs import Part, columns_of
from slaf.ml.tensors import sparse_tensor
from slaf.ml.tokenizers import (
    GeneformerTokenizer,
    ScGPTTokenizer,
    SlafdbTokenizer,
    SLAFTokenizer,
    TokenizerType,
)

Batch = dict[str, Any]
Tensor = Callable[[np.ndarray], Any]

_FORMATS = ("polars", "csr", "torch")
_COMPAT = ("geneformer-v1", "geneformer-v2", "scgpt", "slafdb")


class Tokenized:
    """Batches of a model's tokens."""

    keys = ("input_ids", "attention_mask", "values", "masked_values")
    var_names = None

    def __init__(self, tokenizers: list[SLAFTokenizer]):
        self.tokenizer = tokenizers[0]
        self.sources = [tokenizer.engine for tokenizer in tokenizers]

    def batch(self, tokens: Any, rows: Any, cells: Any, labels: Batch, tensor: Tensor) -> Batch:
        return {name: tensor(array) for name, array in self.tokenizer.named(tokens).items()}

    def announce(self) -> None:
        print(self.tokenizer)


class Rows:
    """Batches of counts."""

    keys = ("x",)
    tokenizer = None

    def __init__(self, parts: list[Part], form: str):
        if form not in _FORMATS:
            raise ValueError(f"raw_format is one of {', '.join(_FORMATS)}, not {form!r}.")
        self._form = form
        self.var_names, columns = columns_of(parts)
        dtype = np.result_type(*(part.dataset.x_dtype for part in parts))
        self.sources = [(own, len(self.var_names), read_as(dtype)) for own in columns]

    def batch(self, tokens: Any, rows: Any, cells: Any, labels: Batch, tensor: Tensor) -> Batch:
        indptr, indices, data = rows
        shape = len(cells), len(self.var_names)
        if self._form == "csr":
            return {"x": sparse.csr_matrix((data, indices, indptr), shape)}
        if self._form == "torch":
            return {"x": sparse_tensor(indptr, indices, data, shape)}
        columns = {
            "cell_integer_id": np.repeat(cells.astype(np.uint32), np.diff(indptr)),
            "gene_integer_id": indices,
            "value": data,
        }
        frame = pl.from_arrow(pa.table({name: pa.array(c) for name, c in columns.items()}))
        return {"x": frame, "cell_ids": cells.tolist()}

    def announce(self) -> None:
        pass


class Called(Rows):
    """Batches that a user's function makes of counts."""

    keys = ()

    def __init__(self, parts: list[Part], function: Callable[[pa.RecordBatch], Batch]):
        super().__init__(parts, "csr")
        self._function = function

    def batch(self, tokens: Any, rows: Any, cells: Any, labels: Batch, tensor: Tensor) -> Batch:
        indptr, indices, data = rows
        offsets = pa.array(indptr.astype(np.int32, copy=False))
        columns = {
            "cell_integer_id": pa.array(cells),
            "genes": pa.ListArray.from_arrays(offsets, pa.array(indices)),
            "values": pa.ListArray.from_arrays(offsets, pa.array(data)),
            **{name: pa.array(values) for name, values in labels.items()},
        }
        made = self._function(pa.RecordBatch.from_pydict(columns))
        if not isinstance(made, dict):
            raise TypeError(
                f"A tokenizer returns a dictionary of arrays, and this one a {type(made).__name__}."
            )
        return {
            name: tensor(value) if isinstance(value, np.ndarray) else value
            for name, value in made.items()
        }


def content_of(
    parts: list[Part],
    kind: str,
    tokenizer: Any,
    compat: str | None,
    options: dict[str, Any],
    sizes: tuple[int, int, int],
    raw_format: str,
) -> Tokenized | Rows | Called:
    """The content of the batches, from a loader's parameters; `sizes` are those of the
    vocabulary, of a row, and of slafdb's bins."""
    if isinstance(tokenizer, SLAFTokenizer):
        if len(parts) > 1 or tokenizer.slaf_array.shape[1] != parts[0].dataset.shape[1]:
            raise ValueError(
                "A tokenizer belongs to its dataset; for others, or several, give "
                "tokenizer_options instead."
            )
        return Tokenized([tokenizer])
    if tokenizer is not None:
        if not callable(tokenizer):
            raise TypeError(
                f"tokenizer is a SLAFTokenizer or a function, not a {type(tokenizer).__name__}."
            )
        return Called(parts, tokenizer)
    if kind == "raw":
        return Rows(parts, raw_format)
    make = _maker(kind, compat, options, sizes)
    made = [make(part.dataset) for part in parts]
    if len(parts) > 1 and made[0].vocabulary == "dataset":
        genes = [part.dataset.var_names for part in parts]
        if not all(other.equals(genes[0]) for other in genes[1:]):
            raise ValueError(
                "The datasets have different genes, so one number would stand for several. Give "
                "the model's dictionaries in tokenizer_options."
            )
    return Tokenized(made)


def _maker(
    kind: str, compat: str | None, options: dict[str, Any], sizes: tuple[int, int, int]
) -> Callable[..., SLAFTokenizer]:
    vocab_size, max_genes, bins = sizes
    if compat is not None and compat not in _COMPAT:
        raise ValueError(f"compat is one of {', '.join(_COMPAT)}, not {compat!r}.")
    if compat == "slafdb":
        options["tokenizer_type"] = _type(kind)
        return lambda array: SlafdbTokenizer(array, vocab_size, max_genes, **options)
    if compat is not None:
        kind, _, version = compat.partition("-")
        options |= {"version": version} if version else {}
    if _type(kind) is TokenizerType.GENEFORMER:
        return lambda array: GeneformerTokenizer(array, vocab_size, max_genes, **options)
    return lambda array: ScGPTTokenizer(array, vocab_size, bins, max_genes, **options)


def _type(kind: str) -> TokenizerType:
    try:
        return TokenizerType(kind.lower())
    except ValueError:
        raise ValueError(f'tokenizer_type is "geneformer" or "scgpt", not {kind!r}.') from None
