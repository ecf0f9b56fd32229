"""The content of a handle on a stored dataset, not yet read."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import partial
from typing import Any

from slaf.dataset import Dataset
from slaf.lazy.columns import Stored
from slaf.lazy.content import Content
from slaf.lazy.frame import frame_of
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.readers import SQUARE, ExtraReader, GraphReader, Reader, VectorReader
from slaf.lazy.sources import Held, StoredPairs, StoredX


def content_of(dataset: Dataset) -> Content:
    """The whole content of a dataset, except raw."""
    content = Content(dataset.shape)
    content.dataset = dataset
    cells, genes = dataset.shape
    content.place = range(cells), range(genes)
    content.frames = {axis: frame_of(axis, Stored(dataset, axis)) for axis in ("obs", "var")}
    if not (dataset.notes.get("x") or {}).get("absent"):
        content.x = MatrixPlan.of(StoredX(dataset), content.names)
    sources: dict[str, Any] = {
        key: StoredPairs(dataset, "layers", key) for key in dataset.keys("layers")
    }
    sources |= {key: Held(value) for key, value in dataset.extras.get("layers", {}).items()}
    content.layers = {key: MatrixPlan.of(s, content.names) for key, s in sources.items()}
    content.settled_x, content.settled = content.x, dict(content.layers)
    content.arrays = arrays_of(dataset)
    content.lazy_uns = partial(uns_of, dataset)
    return content


def arrays_of(dataset: Dataset) -> dict[str, dict[str, Reader]]:
    """Readers of obsm, varm, obsp and varp of a dataset."""
    readers: dict[str, dict[str, Reader]] = {}
    for section, table in (("obsm", "cells"), ("varm", "genes")):
        noted = dataset.notes.get(section)
        stored = noted if noted is not None else {k: k for k in dataset.vector_columns(table)}
        readers[section] = {k: VectorReader(dataset, table, column) for k, column in stored.items()}
    for section in SQUARE:
        readers[section] = {k: GraphReader(dataset, section, k) for k in dataset.keys(section)}
    for section, found in readers.items():
        for key in dataset.extras.get(section, {}):
            found[key] = ExtraReader(dataset, section, key)
    return readers


def uns_of(dataset: Dataset) -> dict[str, Any]:
    """uns of a dataset, as a new object."""
    return deepcopy(stored_uns(dataset))


def stored_uns(dataset: Dataset) -> dict[str, Any]:
    """uns of a dataset, for reading only: the object is shared."""
    if "uns" in dataset.extras:
        return dict(dataset.extras["uns"])
    content = dataset.engine.file("uns.json")
    return {} if content is None else json.loads(content)
