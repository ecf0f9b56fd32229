"""slafdb's module of the same name: the loader as a torch IterableDataset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from slaf.ml.dataloaders import SLAFDataLoader
from slaf.ml.tensors import torch

_Base: Any = object if torch() is None else torch().utils.data.IterableDataset


class SLAFIterableDataset(_Base):
    """Batches for `torch.utils.data.DataLoader(dataset, batch_size=None)`, with
    `num_workers=0`, because its own threads read.

    Parameters
    ----------
    slaf_array, tokenizer, batch_size, seed, n_epochs, raw_mode, verbose
        As for :class:`SLAFDataLoader`, like all further keywords.
    max_queue_size, pin_memory, sampler_strategy, use_binned_expressions, \
batches_per_chunk, by_fragment, use_mixture_of_scanners, n_scanners, prefetch_batch_size, \
parallelize_fragment_reads, prefetcher_ready_timeout
        Accepted for compatibility with slafdb, and ignored.
    """

    def __init__(
        self,
        slaf_array: Any,
        tokenizer: Any,
        batch_size: int = 32,
        seed: int = 42,
        max_queue_size: int = 5000,
        pin_memory: bool = False,
        sampler_strategy: str = "sequential",
        use_binned_expressions: bool = False,
        n_epochs: int = 1,
        raw_mode: bool = False,
        verbose: bool = True,
        batches_per_chunk: int = 1,
        by_fragment: bool = True,
        use_mixture_of_scanners: bool = True,
        n_scanners: int = 16,
        prefetch_batch_size: int = 4194304,
        parallelize_fragment_reads: bool = False,
        prefetcher_ready_timeout: float = 10.0,
        **more: Any,
    ):
        self.loader = SLAFDataLoader(
            slaf_array,
            batch_size=batch_size,
            n_epochs=n_epochs,
            raw_mode=raw_mode,
            verbose=verbose,
            seed=seed,
            tokenizer=None if raw_mode else tokenizer,
            **more,
        )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.loader)

    def __len__(self) -> int:
        return len(self.loader)

    def state_dict(self) -> dict[str, Any]:
        return self.loader.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.loader.load_state_dict(state)
