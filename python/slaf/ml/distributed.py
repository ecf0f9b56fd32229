"""A loader whose batches are made by the CPUs of a cluster, under the name that it has in
slafdb."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from typing import Any
from weakref import WeakSet

import numpy as np
from scipy import sparse

from slaf.ml.cluster_tasks import tasks_on
from slaf.ml.dataloaders import Numbered, SLAFDataLoader
from slaf.ml.loader_inputs import opened
from slaf.ml.prefetching import Prefetch, Recipe, Span
from slaf.ml.tensors import sparse_tensor
from slaf.ml.tokenizers import SLAFTokenizer
from slaf.ml.vocabulary import dictionary

#: Options of tokenizers that may name files on the machine where the loader is made.
_DICTIONARIES = ("token_dictionary", "medians", "gene_mapping", "vocabulary")


class DistributedSLAFDataLoader(SLAFDataLoader):
    """A :class:`SLAFDataLoader` whose batches are made by tasks on a Ray or Dask cluster. CPU
    nodes read and tokenize, and the process that iterates trains. The batches have the
    same order and are equal to the last bit.

    A task makes the batches of some buffers of cells. If its worker dies, the task runs
    again on another, so each cell comes once per epoch. If several processes train, each
    makes a loader and gets its own share (`rank`, `world_size`). The states of both kinds
    of loader are interchangeable.

    Datasets are read as they were when the loader was made. Workers take credentials
    from their own environment: secrets in `storage_options` are not sent.

    Parameters
    ----------
    slaf_array, tokenizer_type, batch_size, max_genes, vocab_size, n_expression_bins, \
n_epochs, raw_mode, seed
        As in :class:`SLAFDataLoader`, and so are all keywords that are not listed here.
    n_workers
        The most tasks that run at the same time.
    return_tensors
        If False, arrays are numpy's even if torch is installed.
    n_scanners, cpu, memory, prefetch_batch_size, prefetch_batch_count, prefetch_factor, \
queue_timeout, queue_name, modal_queue_environment
        Accepted for compatibility with slafdb, where they describe Modal's machines and
        queues; not used. There is no queue that could be empty: a batch is waited for as
        long as its task lives.
    cluster
        "ray", "dask", or "auto": the Ray that is initialised, or else the active
        `dask.distributed.Client`.
    prefetch_bytes
        The most bytes of batches that are made ahead, including those that are being made
        or handed out. One task always runs, even if its batches are larger.
    buffers_per_task
        The number of buffers of cells whose batches a task makes. A task reads one buffer
        more than that, so small numbers waste reads, and large ones take memory.
    ray_remote_args
        Options of Ray for each task, by default `{"num_cpus": 1}`. A task reads and
        tokenizes on all cores that it sees.

    Raises
    ------
    ValueError, SlafError
        As in :class:`SLAFDataLoader`; or no cluster is active; or, while iterating,
        workers died in every attempt at a task.
    ImportError
        The library of the cluster is not installed.
    """

    def __init__(
        self,
        slaf_array: Any,
        tokenizer_type: str = "geneformer",
        n_workers: int = 64,
        n_scanners: int = 16,
        cpu: float = 8,
        memory: int = 32768,
        prefetch_batch_size: int = 16384,
        prefetch_batch_count: int = 32,
        batch_size: int = 32,
        max_genes: int = 1024,
        vocab_size: int = 50000,
        n_expression_bins: int = 10,
        n_epochs: int = 1,
        raw_mode: bool = False,
        return_tensors: bool = True,
        prefetch_factor: int = 4,
        queue_timeout: float = 1.0,
        seed: int = 42,
        queue_name: str | None = None,
        modal_queue_environment: str | None = None,
        *,
        cluster: str = "auto",
        prefetch_bytes: int = 1 << 30,
        buffers_per_task: int = 4,
        ray_remote_args: dict[str, Any] | None = None,
        verbose: bool = False,
        **more: Any,
    ):
        _check(n_workers, buffers_per_task, more.get("tokenizer"))
        options = {
            "tokenizer_type": tokenizer_type,
            "batch_size": batch_size,
            "max_genes": max_genes,
            "vocab_size": vocab_size,
            "n_expression_bins": n_expression_bins,
            "n_epochs": n_epochs,
            "raw_mode": raw_mode,
            "seed": seed,
            **more,
            "tokenizer_options": _without_files(more.get("tokenizer_options") or {}),
            "slaf_array": opened(slaf_array),
        }
        self._tasks = tasks_on(cluster, ray_remote_args or {})
        super().__init__(**options, tensors=return_tensors, verbose=verbose)
        self._as_torch = more.get("raw_format") == "torch"
        sent = {"raw_format": "csr"} if self._as_torch else {}
        here = {"rank": self.rank, "world_size": self.world_size}
        recipe = options | here | sent | {"tensors": False, "verbose": False}
        self._recipe = Recipe.of(recipe, self._tasks)
        self.n_workers, self.prefetch_bytes = n_workers, prefetch_bytes
        self._batches_per_task = buffers_per_task * -(-more.get("buffer", 4096) // batch_size)
        # The next iteration (epoch, skipped batches, epochs) and its prefetch, if begun.
        self._ahead: tuple[tuple[int, int, int], Prefetch] | None = None
        # Weak, so that an abandoned iteration is freed, and its tasks with it.
        self._at_work: WeakSet[Prefetch] = WeakSet()

    def wait_for_queue(
        self,
        min_batches: int = 50,
        timeout_seconds: float = 300,
        poll_interval: float = 1.0,
    ) -> int:
        """Waits until `min_batches` are made ahead, or as many as `prefetch_bytes` allows,
        but at most `timeout_seconds`. They are batches of the running iteration, or of the
        next one, whose tasks are then started. Calling this before iterating is optional.

        Returns
        -------
        The number of batches that are made.
        """
        prefetch = next(iter(self._at_work), None) or self._begun_ahead()
        end = time.monotonic() + timeout_seconds
        while True:
            prefetch.fill()
            made = prefetch.made
            if made >= min_batches or prefetch.idle or time.monotonic() >= end:
                return made
            time.sleep(poll_interval)

    def stop_prefetch_workers(self) -> None:
        """Ends the tasks of all iterations; continuing one of them raises an error. A new
        iteration starts new tasks."""
        self._drop_ahead()
        for prefetch in list(self._at_work):
            prefetch.stop()
        self._at_work.clear()

    def _begun_ahead(self) -> Prefetch:
        if self._ahead is None or self._ahead[0] != self._next:
            self._drop_ahead()
            self._ahead = (self._next, self._prefetch(*self._next))
        return self._ahead[1]

    def _drop_ahead(self) -> None:
        if self._ahead is not None:
            self._ahead[1].stop()
            self._ahead = None

    def _begin(self, epoch: int, skipped: int, epochs: int) -> Generator[Numbered, None, None]:
        wanted = (epoch, skipped, epochs)
        if self._ahead is not None and self._ahead[0] == wanted:
            prefetch, self._ahead = self._ahead[1], None
        else:
            self._drop_ahead()
            prefetch = self._prefetch(*wanted)
        prefetch.fill()
        self._at_work.add(prefetch)
        return self._handed_out(prefetch)

    def _handed_out(self, prefetch: Prefetch) -> Generator[Numbered, None, None]:
        try:
            for epoch, index, batch in prefetch.batches():
                yield epoch, index, {name: self._own(value) for name, value in batch.items()}
        finally:
            prefetch.stop()
            self._at_work.discard(prefetch)

    def _own(self, value: Any) -> Any:
        """The value as the local loader returns it, and writable. Arrays from a cluster may
        be read-only, in memory that is shared with other processes."""
        if isinstance(value, np.ndarray):
            return self._tensor(value if value.flags.writeable else value.copy())
        if sparse.issparse(value):
            value = value if value.data.flags.writeable else value.copy()
            if self._as_torch:
                return sparse_tensor(value.indptr, value.indices, value.data, value.shape)
        return value

    def _prefetch(self, epoch: int, skipped: int, epochs: int) -> Prefetch:
        return Prefetch(
            self._tasks,
            self._recipe,
            self._spans(epoch, skipped, epochs),
            self.n_workers,
            self.prefetch_bytes,
            self._bytes_of_a_batch(),
        )

    def _spans(self, epoch: int, skipped: int, epochs: int) -> Iterator[Span]:
        """The spans of an iteration. The dataset determines where they begin, and not the
        cluster."""
        size, last = self._batches_per_task, self._loader.batches
        for number in range(epoch, epoch + epochs):
            at = skipped if number == epoch else 0
            while at < last:
                end = min(at - at % size + size, last)
                yield Span(number, at, end - at)
                at = end

    def _bytes_of_a_batch(self) -> int | None:
        """An estimate; None if the user's function makes the batches."""
        if self.tokenizer is None and self._content.keys == ():
            return None
        if self.tokenizer is not None:
            a_cell = self.tokenizer.max_genes * 13
        else:
            datasets = [part.dataset for part in self._parts]
            values = sum(dataset.engine.nnz for dataset in datasets)
            a_cell = 12 * values // max(1, sum(dataset.shape[0] for dataset in datasets))
        return (a_cell + 64) * self.batch_size


def _check(n_workers: int, buffers_per_task: int, tokenizer: Any) -> None:
    for name, number in {"n_workers": n_workers, "buffers_per_task": buffers_per_task}.items():
        if number < 1:
            raise ValueError(f"{name} is at least 1, not {number}.")
    if isinstance(tokenizer, SLAFTokenizer):
        raise ValueError(
            "A tokenizer stays in its process. Give `tokenizer_type` and `tokenizer_options`, of "
            "which workers make their own."
        )


def _without_files(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a tokenizer, with the contents of files in place of their names."""
    return {
        name: dictionary(value, name) if name in _DICTIONARIES and value is not None else value
        for name, value in options.items()
    }
