"""`SLAFDataLoader`: random batches of cells, tokenized or raw."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import Any, TypeAlias

import numpy as np

from slaf import _slaf
from slaf.dataset import Dataset
from slaf.ground.progress import job
from slaf.ml.batches import content_of
from slaf.ml.loader_display import loader_html
from slaf.ml.loader_inputs import joined, parts_of
from slaf.ml.process_rank import rank_and_world_size
from slaf.ml.sampling_weights import drawn_by
from slaf.ml.tensors import as_tensor, torch

#: An epoch, the number of a batch in it, and the batch.
Numbered: TypeAlias = tuple[int, int, dict[str, Any]]


def get_optimal_device() -> Any | None:
    """`torch.device` "cuda", "mps" or "cpu"; None if torch is not installed."""
    if torch() is None:
        return None
    if torch().cuda.is_available():
        return torch().device("cuda")
    mps = torch().backends.mps.is_available()
    return torch().device("mps" if mps else "cpu")


def get_device_info() -> dict[str, Any]:
    """The devices that torch finds."""
    device = get_optimal_device()
    if device is None:
        return {
            "torch_available": False,
            "cuda_available": False,
            "mps_available": False,
            "optimal_device": None,
        }
    found = {
        "torch_available": True,
        "cuda_available": torch().cuda.is_available(),
        "mps_available": torch().backends.mps.is_available(),
        "optimal_device": str(device),
    }
    if found["cuda_available"]:
        found["cuda_device_count"] = torch().cuda.device_count()
        found["cuda_device_name"] = torch().cuda.get_device_name(0)
        found["cuda_device_capability"] = torch().cuda.get_device_capability(0)
    return found


class SLAFDataLoader:
    """Random batches of cells, epoch after epoch.

    Blocks of neighbouring cells from the whole dataset are read into a buffer and
    shuffled there. Each epoch has every cell once, in an order that is close to a full
    shuffle (:func:`slaf.ml.batch_entropy` measures it) and that the seed reproduces.
    Rust threads read and tokenise ahead, so no worker processes are needed: leave
    `num_workers` of torch's DataLoader at 0. If cells are appended meanwhile, the
    loader still reads the version that was opened.

    Iterating runs `n_epochs` epochs; iterating again continues with the next ones. A
    batch is a dictionary of torch tensors, or of numpy arrays if torch is not
    installed:

    * tokenized: `input_ids` (int64) and `attention_mask` (bool), cells × tokens;
      for scGPT `values` (float32) and, with a mask, `masked_values`
    * raw: `x`
    * always `cell_ids`: the cells' numbers in their dataset, int64; with several
      datasets `dataset`, which it is; with several epochs `epoch`; and the `labels`

    Parameters
    ----------
    slaf_array
        A dataset, a lazy handle (its cells, and for raw batches its genes) or a path;
        or a list of these. Several are joined to one stream; the columns of raw batches
        are the union of their genes.
    tokenizer_type
        "geneformer" or "scgpt"; "raw" is the same as `raw_mode`.
    batch_size, max_genes, vocab_size
        Cells per batch, tokens per row, size of the model's vocabulary.
    n_expression_bins
        A parameter of slafdb; ignored, as in slafdb's loader.
    n_epochs
        Epochs per iteration.
    raw_mode
        Batches contain counts instead of tokens.
    verbose
        Print where the tokens are from.
    batches_per_chunk, by_fragment, use_mixture_of_scanners, n_scanners, prefetch_batch_size, \
max_queue_size, parallelize_fragment_reads, prefetcher_ready_timeout
        Accepted for compatibility with slafdb, and ignored; see `block`, `buffer` and
        `prefetch`.
    seed
        Seed of everything random.
    shuffle
        False delivers cells in stored order.
    drop_last
        Leave out the last batch if it is incomplete.
    cells
        Which cells: a SQL condition on the table `cells`, a mask, positions or names
        (for several datasets: a condition for all, or a list).
    labels
        Columns of obs to add to each batch. Numbers are float32, int64 or bool;
        everything else is int64 codes for `loader.categories[name]`, -1 if missing.
    weights
        The weight of each cell: an array, or a column of obs. Cells are then sampled
        with replacement, `draws` of them per epoch (by default, the number of cells).
    balance_by
        A column of obs whose values are all sampled equally often; instead of weights.
    mix
        How often each of several datasets is sampled, instead of by its size.
    stratify_by
        A column of obs; every batch contains a proportional share of each of its
        values.
    rank, world_size
        The rank of this process and the number of processes. Each process gets
        different cells, and the same number. By default, from torch.distributed or
        torchrun's RANK and WORLD_SIZE.
    tokenizer
        A :class:`SLAFTokenizer` of the dataset, or a function of a
        `pyarrow.RecordBatch` (`cell_integer_id`, `genes`, `values` and the labels; one
        row per cell) that returns a dictionary.
    tokenizer_options
        More parameters of the tokenizers: dictionaries, `n_bins`, ...
    compat
        "geneformer-v1", "geneformer-v2" or "scgpt" instead of `tokenizer_type`;
        "slafdb" for the tokens that slafdb 0.5 makes under that name.
    raw_format
        "polars": a frame of `cell_integer_id`, `gene_integer_id` and `value`, as slafdb
        has it (with several datasets or some of the genes, gene numbers are positions
        in `loader.var_names`); "csr": a scipy matrix; "torch": a sparse CSR tensor.
    tensors
        False returns numpy arrays even if torch is installed.
    block, buffer
        Number of neighbouring cells that are read together, and number of cells that
        are shuffled together.
    prefetch
        Number of batches that are made ahead.

    Raises
    ------
    ValueError
        A column does not exist, or a parameter or a combination of parameters is not
        valid.
    SlafError
        While iterating: a value is not a count, or the dataset cannot be read.
    """

    def __init__(
        self,
        slaf_array: Any,
        tokenizer_type: str = "geneformer",
        batch_size: int = 32,
        max_genes: int = 2048,
        vocab_size: int = 50000,
        n_expression_bins: int = 10,
        n_epochs: int = 1,
        raw_mode: bool = False,
        verbose: bool = True,
        batches_per_chunk: int = 1,
        by_fragment: bool = True,
        use_mixture_of_scanners: bool = True,
        n_scanners: int = 16,
        prefetch_batch_size: int = 4194304,
        max_queue_size: int = 5000,
        parallelize_fragment_reads: bool = False,
        prefetcher_ready_timeout: float = 10.0,
        *,
        seed: int = 42,
        shuffle: bool = True,
        drop_last: bool = False,
        cells: Any = None,
        labels: Sequence[str] | str = (),
        weights: np.ndarray | str | None = None,
        balance_by: str | None = None,
        mix: Sequence[float] | None = None,
        draws: int | None = None,
        stratify_by: str | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        tokenizer: Any = None,
        tokenizer_options: Mapping[str, Any] | None = None,
        compat: str | None = None,
        raw_format: str = "polars",
        tensors: bool = True,
        block: int = 32,
        buffer: int = 4096,
        prefetch: int = 8,
    ):
        _refuse_below_one(batch_size=batch_size, n_epochs=n_epochs)
        self.batch_size, self.n_epochs, self.seed = batch_size, n_epochs, seed
        self._tensor = as_tensor if tensors else (lambda array: array)
        self._parts = parts_of(slaf_array, cells)
        self.rank, self.world_size = rank_and_world_size(rank, world_size)
        kind = "raw" if raw_mode else tokenizer_type
        sizes = (vocab_size, max_genes, n_expression_bins)
        options = dict(tokenizer_options or {})
        self._content = content_of(self._parts, kind, tokenizer, compat, options, sizes, raw_format)
        self._read_labels([labels] if isinstance(labels, str) else list(labels))
        drawn = drawn_by(self._parts, weights, balance_by, mix, draws, stratify_by)
        order = {"seed": seed, "shuffle": shuffle, "block": block, "buffer": buffer}
        self._open(drop_last, prefetch, order, drawn)
        if verbose:
            self._content.announce()

    def _read_labels(self, names: Sequence[str]) -> None:
        """Reads the columns of obs that are added to each batch."""
        if taken := {*names} & {*self._content.keys, "cell_ids", "epoch", "dataset"}:
            raise ValueError(
                f"A batch has `{min(taken)}` already, so a label cannot have this name."
            )
        self.categories: dict[str, list[Any]] = {}
        self._labels: dict[str, np.ndarray] = {}
        for name in names:
            self._labels[name], categories = joined(self._parts, name)
            if categories is not None:
                self.categories[name] = categories

    def _open(
        self, drop_last: bool, prefetch: int, order: dict[str, Any], drawn: dict[str, Any]
    ) -> None:
        """Makes the engine's loader. It reads nothing until it is iterated."""
        self._loader = _slaf.Loader(
            [
                (part.dataset.engine, part.cells, what)
                for part, what in zip(self._parts, self._content.sources, strict=True)
            ],
            batch=self.batch_size,
            drop_last=drop_last,
            rank=self.rank,
            world=self.world_size,
            ahead=prefetch,
            **order,
            **drawn,
        )
        if self._loader.batches == 0:
            raise ValueError(
                f"There is no batch: {self._loader.cells} of the cells are for this process, and "
                f"drop_last leaves out batches of fewer than {self.batch_size}."
                if drop_last
                else f"There are fewer cells than the {self.world_size} processes."
            )
        self._fingerprint = {
            "datasets": [f"{p.dataset.path} v{p.dataset.version}" for p in self._parts],
            "cells": self._loader.cells,
            "batch_size": self.batch_size,
            **order,
            "world_size": self.world_size,
        }
        #: The end of each dataset's cells among all cells.
        self._ends = np.cumsum([len(part.rows) for part in self._parts])
        #: The next iteration's epoch, batch in that epoch, and number of epochs left.
        self._next = (0, 0, self.n_epochs)
        #: The same after the last batch that was returned.
        self._position = (0, 0, self.n_epochs)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the (first) dataset; None for raw batches."""
        return self._content.tokenizer

    @property
    def special_tokens(self) -> dict[str, int] | None:
        """Name → token; None for raw batches."""
        return getattr(self.tokenizer, "special_tokens", None)

    @property
    def var_names(self) -> Any:
        """The names of the genes, in the order of raw columns."""
        return self._content.var_names

    def __len__(self) -> int:
        """Number of batches per iteration in this process."""
        return self._loader.batches * self.n_epochs

    @property
    def n_cells(self) -> int:
        """Number of cells per epoch in this process."""
        return self._loader.cells

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch with which the next iteration begins."""
        self._next = self._position = (epoch, 0, self.n_epochs)

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch that was returned, as plain numbers and
        text."""
        epoch, batch, left = self._position
        return {"epoch": epoch, "batch": batch, "epochs_left": left, **self._fingerprint}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The next iteration continues from `state`.

        Raises
        ------
        ValueError
            It is from a loader with different batches.
        """
        for key, own in self._fingerprint.items():
            if state.get(key) != own:
                raise ValueError(
                    f"The state is of a loader whose {key} is {state.get(key)!r}; this one's is "
                    f"{own!r}, and its batches are others."
                )
        self._next = self._position = (state["epoch"], state["batch"], state["epochs_left"])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        first, skipped, epochs = self._next
        self._next = (first + epochs, 0, self.n_epochs)
        return self._run(self._begin(first, skipped, epochs), first + epochs)

    def part(self, epoch: int, first: int, count: int) -> Iterator[dict[str, Any]]:
        """`count` batches of an epoch, from the batch `first` on; fewer if it ends before.
        This does not change the position of the iteration."""
        with closing(self._begin(epoch, first, 1)) as batches:
            for _, _, batch in islice(batches, count):
                yield batch

    def _begin(self, epoch: int, skipped: int, epochs: int) -> Generator[Numbered, None, None]:
        """The batches of `epochs` epochs, without the first `skipped`: they are made
        from now on."""
        left = epochs * self._loader.batches - skipped
        return self._made(self._loader.start(epoch, skipped, epochs), left)

    def _made(self, batches: _slaf.Batches, left: int) -> Generator[Numbered, None, None]:
        try:
            with job("loader", left, "batch") as loading:
                while (parts := batches.next()) is not None:
                    yield parts[0], parts[1], self._batch(*parts)
                    loading(loading.done + 1)
        finally:
            batches.stop()

    def _run(self, batches: Generator[Numbered, None, None], end: int) -> Iterator[dict[str, Any]]:
        of_epoch = self._loader.batches
        with closing(batches):
            for epoch, index, batch in batches:
                done = index + 1 == of_epoch
                self._position = (
                    (epoch + 1, 0, (end - epoch - 1) or self.n_epochs)
                    if done
                    else (epoch, index + 1, end - epoch)
                )
                yield batch

    def _batch(
        self, epoch: int, index: int, positions: np.ndarray, cells: np.ndarray, tokens, rows
    ) -> dict[str, Any]:
        labels = {name: values[positions] for name, values in self._labels.items()}
        batch = self._content.batch(tokens, rows, cells, labels, self._tensor)
        batch.setdefault("cell_ids", self._tensor(cells))
        batch |= {name: self._tensor(values) for name, values in labels.items()}
        if len(self._parts) > 1:
            which = np.searchsorted(self._ends, positions, side="right")
            batch["dataset"] = self._tensor(which.astype(np.int64))
        if self.n_epochs > 1:
            batch["epoch"] = epoch
        return batch

    def _repr_html_(self) -> str:
        """A description of an epoch in this process. Nothing is read for it."""
        order, tokenizer = self._fingerprint, self.tokenizer
        return loader_html(
            f"{self._loader.batches:,} batches of {self.batch_size:,} an epoch",
            {
                "cells": f"{self.n_cells:,} an epoch in this process",
                "epochs": f"{self.n_epochs:,}",
                "batches are": "raw" if tokenizer is None else repr(tokenizer),
                "order": f"shuffled, seed {order['seed']}" if order["shuffle"] else "as stored",
                "process": f"{self.rank} of {self.world_size}" if self.world_size > 1 else None,
            },
            self._parts,
            self._labels,
            self.categories,
        )

    def __repr__(self) -> str:
        only = _described(self._parts[0].dataset)
        each = f"{len(self._parts)} datasets" if len(self._parts) > 1 else only
        batches = f"{self._loader.batches:,} batches of {self.batch_size} an epoch"
        return f"{type(self).__name__}: {batches}, from {each}"


def _described(dataset: Dataset) -> str:
    cells, genes = dataset.shape
    return f"{cells:,} cells × {genes:,} genes at {dataset.path}"


def _refuse_below_one(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} is at least 1, not {number}.")
