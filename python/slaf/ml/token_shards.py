"""Writes the tokens of a dataset's cells to Parquet files, for training elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

from slaf._slaf import SlafError, nearest
from slaf.dataset import Dataset
from slaf.ground import axes
from slaf.ground.hints import did_you_mean
from slaf.ground.progress import Progress, stages
from slaf.ground.workers import each
from slaf.ml.tokenizers import GeneformerTokenizer, ScGPTTokenizer, SLAFTokenizer
from slaf.ml.vocabulary import dictionary

#: Name → the class of the tokenizer, and its options.
TOKENIZERS: dict[str, tuple[type[SLAFTokenizer], dict[str, Any]]] = {
    "geneformer": (GeneformerTokenizer, {"version": "v2"}),
    "geneformer-v1": (GeneformerTokenizer, {"version": "v1"}),
    "scgpt": (ScGPTTokenizer, {}),
}

#: Options that are dictionaries, or names of files with dictionaries.
_DICTIONARIES = ("token_dictionary", "medians", "gene_mapping", "vocabulary")

#: Written last: a folder without it is incomplete.
_INDEX = "tokens.json"


def write_token_shards(
    dataset: Dataset,
    folder: str | os.PathLike[str],
    tokenizer: str = "geneformer",
    *,
    cells: axes.Positions | None = None,
    shard_cells: int = 10_000,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> int:
    """Writes the tokens of cells to `part-00000.parquet` and so on, one row per cell, in the
    order of the dataset: `cell_id` (text), `cell_integer_id` (int64), `input_ids` (list of
    int32, without padding), and for scGPT `values` (list of float32). `tokens.json`
    describes them. The current workers make the shards, and this process writes them.

    If it is interrupted, call it again to continue: finished shards are kept.

    Parameters
    ----------
    folder
        A folder on this machine; it is made if it does not exist.
    tokenizer
        "geneformer" (V2), "geneformer-v1" or "scgpt".
    cells
        The numbers of the cells in the dataset, in the order of the rows; None: all cells.
    shard_cells
        The number of cells per file.
    seed
        The seed of what is random.
    options
        Options of the tokenizer's class, such as `token_dictionary`.

    Returns
    -------
    The number of files.

    Raises
    ------
    FileExistsError
        `folder` holds tokens already, and `overwrite` is not set.
    ValueError
        There is no such tokenizer.
    """
    place = _begun(folder, tokenizer, shard_cells, overwrite)
    rows = range(dataset.shape[0]) if cells is None else cells
    recipe = _recipe(tokenizer, options)
    plan = _plan(dataset, rows, recipe, shard_cells, seed)
    starts = range(0, len(rows), shard_cells)
    parts = [range(at, min(at + shard_cells, len(rows))) for at in starts]
    names = [f"part-{at:05d}.parquet" for at in range(len(parts))]
    missing = [at for at, name in enumerate(names) if not _is_of(place / name, plan)]
    tasks = [_Shard(dataset, axes.compose(rows, parts[at]), recipe, seed, plan) for at in missing]
    done = len(rows) - sum(len(parts[at]) for at in missing)
    with stages(progress) as report:
        report("tokens", done, len(rows))
        for at, content in zip(missing, each(_shard, tasks), strict=True):
            _put(place / names[at], content)
            done += len(parts[at])
            report("tokens", done, len(rows))
    for stale in set(place.glob("part-*.parquet")) - {place / name for name in names}:
        stale.unlink()
    description = {
        "dataset": dataset.path,
        "version": dataset.version,
        "tokenizer": tokenizer,
        "cells": len(rows),
        "shards": names,
        **_made(dataset, recipe).get_vocab_info(),
    }
    _put(place / _INDEX, json.dumps(description, indent=1).encode())
    return len(names)


def _begun(
    folder: str | os.PathLike[str], tokenizer: str, shard_cells: int, overwrite: bool
) -> Path:
    """Checks the arguments and makes the folder, which counts as incomplete until the
    index is written."""
    if tokenizer not in TOKENIZERS:
        near = did_you_mean(nearest(tokenizer, list(TOKENIZERS)))
        raise ValueError(f"There is no tokenizer {tokenizer!r}.{near}")
    if "://" in os.fspath(folder):
        raise SlafError(f"Token shards go into a folder of this machine, and not to `{folder}`.")
    if shard_cells < 1:
        raise ValueError(f"A shard has at least 1 cell, not {shard_cells}.")
    place = Path(folder)
    if (place / _INDEX).exists():
        if not overwrite:
            raise FileExistsError(f"`{place}` holds tokens already; overwrite them: `--overwrite`.")
        (place / _INDEX).unlink()
    place.mkdir(parents=True, exist_ok=True)
    return place


def _recipe(tokenizer: str, options: dict[str, Any]) -> bytes:
    """The pickled name and options of the tokenizer, with the contents of files, because
    workers may not have these files."""
    made = {name: value for name, value in options.items() if value is not None}
    for name in _DICTIONARIES:
        if name in made:
            made[name] = dict(dictionary(made[name], name.replace("_", " ")))
    return pickle.dumps((tokenizer, made))


@lru_cache(maxsize=1)
def _made(dataset: Dataset, recipe: bytes) -> SLAFTokenizer:
    tokenizer, options = pickle.loads(recipe)
    kind, its = TOKENIZERS[tokenizer]
    return kind(dataset, **its, **options)


def _plan(dataset: Dataset, rows: axes.Positions, recipe: bytes, cells: int, seed: int) -> str:
    """A digest that differs between calls with different shards."""
    digest = hashlib.sha256(dataset.engine.config.encode())
    digest.update(recipe)
    parts = [str(rows).encode() if isinstance(rows, range) else rows.tobytes(), dataset.engine.uri]
    digest.update(repr([*parts, dataset.version, cells, seed]).encode())
    return digest.hexdigest()


def _is_of(path: Path, plan: str) -> bool:
    if not path.exists():
        return False
    try:
        return (pq.read_schema(path).metadata or {}).get(b"plan") == plan.encode()
    except pa.ArrowException:
        return False


def _put(path: Path, content: bytes) -> None:
    """Writes a file completely, or not at all."""
    beside = path.with_name(f".{path.name}.part")
    beside.write_bytes(content)
    os.replace(beside, path)


@dataclass(frozen=True)
class _Shard:
    dataset: Dataset
    cells: axes.Positions
    recipe: bytes
    seed: int
    plan: str


def _shard(task: _Shard) -> bytes:
    """The content of the shard's Parquet file."""
    dataset, cells = task.dataset, np.asarray(task.cells, dtype=np.int64)
    genes = range(dataset.shape[1])
    indptr, indices, data = dataset.csr(task.cells, genes)
    counts = sparse.csr_matrix((data, indices, indptr), shape=(len(cells), len(genes)), copy=False)
    found = _made(dataset, task.recipe).encode(counts, cells, task.seed)
    mask = found["attention_mask"]
    offsets = pa.array(np.append(0, np.cumsum(mask.sum(axis=1))).astype(np.int32))

    def listed(values: np.ndarray) -> pa.Array:
        return pa.ListArray.from_arrays(offsets, pa.array(values[mask]))

    columns = {
        "cell_id": pa.array(dataset.names("obs", task.cells).to_numpy(), pa.string()),
        "cell_integer_id": pa.array(cells),
        "input_ids": listed(found["input_ids"].astype(np.int32)),
    }
    if "values" in found:
        columns["values"] = listed(found["values"])
    table = pa.table(columns).replace_schema_metadata({"plan": task.plan})
    file = BytesIO()
    pq.write_table(table, file, compression="zstd")
    return file.getvalue()
