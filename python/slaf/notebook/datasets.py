"""The open datasets of a notebook, by the variables that hold them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from slaf import _slaf
from slaf.ground.hints import did_you_mean

if TYPE_CHECKING:
    from slaf.dataset import Dataset
    from slaf.sql.session import Handles


def open_datasets(namespace: Mapping[str, Any], on: str | None) -> Handles:
    """The open datasets, and the index of the one whose tables need no prefix: that of
    the variable `on`, or the only one."""
    found = {
        name: opened
        for name, value in namespace.items()
        if not name.startswith("_") and (opened := _opened(value)) is not None
    }
    if on is not None and on not in found:
        near = _slaf.nearest(on, list(found)) or list(found)
        raise NameError(f"There is no open dataset `{on}`.{did_you_mean(near)}")
    handles = [(name, dataset.engine, *part) for name, (dataset, part) in found.items()]
    if on is not None:
        return handles, list(found).index(on)
    # Several variables may hold the same dataset; slices of it are not counted.
    whole = [place for place, opened in enumerate(found.values()) if _is_whole(*opened)]
    names = list(found)
    paths = {os.path.realpath(found[names[place]][0].path) for place in whole}
    if len(paths) == 1:
        return handles, whole[0]
    return handles, 0 if not whole and len(handles) == 1 else None


def _opened(value: Any) -> tuple[Dataset, tuple[Any, Any]] | None:
    """The dataset of a `SLAFArray` or a handle, and its selected cells and genes."""
    if "slaf.dataset" not in sys.modules:
        # If this module is not imported yet, no dataset is open; importing it takes a second.
        return None
    from slaf.dataset import OverDataset, dataset_of
    from slaf.ground.axes import argument

    if issubclass(type(value), OverDataset):
        dataset = dataset_of(value)
        return dataset, tuple(argument(range(n)) for n in dataset.shape)
    if "slaf.lazy.state" not in sys.modules:
        return None
    from slaf.lazy.state import OverState, state_of

    if not issubclass(type(value), OverState):
        return None
    state = state_of(value)
    if state.dataset is None:
        return None
    return state.dataset, tuple(argument(state.in_dataset(axis)) for axis in (0, 1))


def _is_whole(dataset: Dataset, part: tuple[Any, Any]) -> bool:
    whole = zip(part, dataset.shape, strict=True)
    return all(isinstance(of, tuple) and of == (0, 1, n) for of, n in whole)
