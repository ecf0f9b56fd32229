"""The token of each gene: a model's dictionaries, matched to a dataset's genes."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slaf.dataset import Dataset, OverDataset, dataset_of
from slaf.ground.hints import did_you_mean

#: A dictionary, or a JSON or pickle file with one.
Dictionary = Mapping[str, Any] | str | os.PathLike[str]

#: All classes that a pickled dictionary of numbers needs.
_HARMLESS = {
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),
}


@dataclass(frozen=True)
class Coverage:
    """Which genes of a dataset are in a vocabulary.

    Attributes
    ----------
    genes, known
        The dataset's genes, and how many of them have a token.
    missing
        Ids of those that do not.
    key
        The column of the genes table with the ids.
    """

    genes: int
    known: int
    missing: tuple[str, ...]
    key: str

    def __str__(self) -> str:
        return f"{self.known:,} of {self.genes:,} genes (by `{self.key}`)"


class _Plain(pickle.Unpickler):
    """Reads pickled dictionaries without running any code in the file."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _HARMLESS:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds a `{module}.{name}`")


def dictionary(given: Dictionary, what: str) -> dict[str, Any]:
    """Returns a dictionary, given as such or as a file.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file does not contain a dictionary.
    """
    if isinstance(given, Mapping):
        return dict(given)
    path = Path(given)
    if not path.is_file():
        raise FileNotFoundError(f"The {what} `{path}` does not exist.")
    try:
        if path.suffix == ".json":
            found = json.loads(path.read_text())
        else:
            with path.open("rb") as file:
                found = _Plain(file).load()
    except (pickle.UnpicklingError, ValueError, EOFError, AttributeError) as error:
        raise ValueError(
            f"The {what} `{path}` is not a JSON or pickled dictionary: {error}."
        ) from None
    if not isinstance(found, dict):
        raise ValueError(f"The {what} `{path}` holds a {type(found).__name__}, not a dictionary.")
    return found


def match(
    array: OverDataset | Dataset, key: str | None, candidates: tuple[str, ...], find: Any
) -> tuple[np.ndarray, Coverage]:
    """The key of each gene in a dictionary (None if it has none), found by `find`,
    which maps an id to a key. Ids are in the column `key`; by default in that of
    `candidates` and `gene_id` in which most are found.

    Raises
    ------
    ValueError
        There is no such column, or no gene is known.
    """
    dataset = dataset_of(array)
    columns = dataset.columns["genes"]
    if key is not None and key not in columns:
        from slaf._slaf import nearest

        near = nearest(key, list(columns)) or [c for c in candidates if c in columns]
        raise ValueError(f"The genes have no column `{key}`.{did_you_mean(near)}")
    keys = [key] if key is not None else [c for c in (*candidates, "gene_id") if c in columns]
    best: Any = None
    for name in keys:
        ids = dataset.column("genes", name, None).to_pylist()
        found = np.array([None if i is None else find(str(i)) for i in ids], dtype=object)
        known = sum(entry is not None for entry in found)
        if best is None or known > best[0]:
            best = known, found, ids, name
    known, found, ids, name = best
    if known == 0 and len(ids):
        raise ValueError(
            f"The vocabulary has none of the dataset's {len(ids):,} genes by "
            f"{', '.join(f'`{k}`' for k in keys)} (such as {ids[0]!r}). Name the column of the "
            "genes table that has its ids: gene_key=..."
        )
    missing = tuple(str(i) for i, entry in zip(ids, found, strict=True) if entry is None)
    return found, Coverage(len(ids), known, missing, name)


def special_tokens_of(tokens: dict[str, Any], names: list[str]) -> dict[str, int]:
    """The tokens that are not genes; they must include all of `names`."""
    missing = [name for name in names if name not in tokens]
    if missing:
        raise ValueError(
            f"The vocabulary has no {', '.join(f'`{name}`' for name in missing)}; "
            "is it that of another version of the model?"
        )
    every = [name for name in tokens if name.startswith("<") and name.endswith(">")]
    return {name: int(tokens[name]) for name in every}


def by_ensembl_id(known: set[str], mapping: Dictionary | None) -> Any:
    """A function that maps an Ensembl id to its key in the token dictionary, or to
    None."""
    if mapping is None:
        return lambda i: i.upper() if i.upper() in known else None
    to = dictionary(mapping, "gene mapping")
    to = {i: target for i, target in to.items() if target in known}
    return lambda i: to.get(i.upper())
