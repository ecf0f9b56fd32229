"""Reads datasets with Ray Data, and writes them from it.

>>> import slaf.ray
>>> tokens = slaf.ray.read_slaf("atlas.slaf", "tokens", max_genes=2048)  # doctest: +SKIP
>>> tokens.map_batches(embed).write_parquet("embeddings/")              # doctest: +SKIP
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from slaf.handle import LazyAnnData
from slaf.integrations import read_slaf as open_slaf
from slaf.ray.row_formats import form_of, to_csr
from slaf.ray.writing import write_slaf

if TYPE_CHECKING:
    import ray

__all__ = ["read_slaf", "to_csr", "write_slaf"]


def read_slaf(
    dataset: str | os.PathLike[str] | LazyAnnData,
    form: str = "long",
    *,
    table: str = "X",
    layer: str | None = None,
    obs: str | Sequence[str] = (),
    var: str | Sequence[str] = (),
    version: int | None = None,
    storage_options: dict[str, str] | None = None,
    cells_per_task: int | None = None,
    ray_remote_args: dict[str, Any] | None = None,
    **tokens: Any,
) -> ray.data.Dataset:
    """A dataset as a `ray.data.Dataset`. Nothing is read until it is consumed. Each of its
    tasks then reads some cells; the dataset, and not the cluster, determines which. Later
    appends to the dataset are not read.

    Parameters
    ----------
    dataset
        A path or an address, or a lazy handle. Of a handle, the cells and genes that it
        shows are read, with its changes and pending steps.
    form
        What a row is:

        * "long": one stored value, with the columns that :func:`slaf.scan` gives for
          `table` ("X", "raw" or "layers/NAME"), `obs` and `var`
        * "csr": one cell: `cell_id`, a list of the numbers of its genes
          (`gene_integer_id`, int32) and a list of their values (`value`). :func:`to_csr`
          makes a scipy matrix from a batch
        * "tokens": one cell: `cell_id`, `input_ids` (int64), `attention_mask` (bool) and,
          if the model has them, `values` and `masked_values` (float32)
    layer
        With "long" and "csr": the layer to read instead of X.
    obs, var
        Columns of obs to add; with "long" also columns of var.
    version, storage_options
        As in :class:`SLAFArray`, if `dataset` is a path. Without options, workers take
        credentials from their own environment.
    cells_per_task
        By default, a task has about two million values, or 64 MB of tokens.
    ray_remote_args
        Options of Ray for the tasks, such as `{"num_cpus": 2}`.
    tokens
        With "tokens": `tokenizer_type`, `max_genes`, `vocab_size`, `compat` and
        `tokenizer_options` of :class:`slaf.ml.SLAFDataLoader`.

    Raises
    ------
    ValueError
        There is no such `form`.
    SlafError
        The dataset has no such table or column.
    ImportError
        Ray is not installed.
    """
    handle = dataset
    if not isinstance(dataset, LazyAnnData):
        handle = open_slaf(dataset, version=version, storage_options=storage_options)
    made = form_of(form, handle, table, layer, _list(obs), _list(var), tokens)
    try:
        from slaf.ray.datasource import dataset_of_tasks
    except ImportError as error:
        if error.name is None or not error.name.startswith("ray"):
            raise
        raise ImportError(
            "Datasets of Ray Data need Ray: `pip install 'slaf-jupyter[ray]'`."
        ) from None
    return dataset_of_tasks(handle, made, cells_per_task or made.cells_per_task, ray_remote_args)


def _list(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
