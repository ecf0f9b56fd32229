"""What the tables cannot hold, as the bytes of an HDF5 file."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from slaf._slaf import SlafError
from slaf.ground.metadata.h5_forms import h5_mapping


def h5_forms(
    extras: Mapping[str, Mapping[str, Any]],
    notices: dict[str, str],
    beside: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> dict[str, Any]:
    """Sections in the form that anndata writes. `notices` collects what changes its form.
    `beside` has the names in each section that are stored elsewhere.

    Raises
    ------
    SlafError
        An entry cannot be converted; the message names it.
    """
    return {
        section: h5_mapping(value, section, notices, beside.get(section, ()))
        for section, value in extras.items()
    }


def h5_bytes(extras: Mapping[str, Any]) -> bytes:
    """The bytes of an HDF5 file with the result of :func:`h5_forms`."""
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for section, value in extras.items():
            write(file, section, value)
    return content.getvalue()


def write(file: Any, name: str, value: Any, **settings: Any) -> None:
    """Writes an element; if that fails, the error names it."""
    from anndata.io import write_elem

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.PerformanceWarning)
        try:
            write_elem(file, name, value, dataset_kwargs=settings)
        except OSError:
            raise
        except Exception as error:
            where = getattr(error, "__notes__", [""])[0].split("'")[1::2]
            reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
            entry = "/".join([name, *where[:1]])
            raise SlafError(
                f"`{entry}` cannot be written to HDF5 ({reason}). Convert it, or leave it out."
            ) from None


def is_vector(value: Any) -> bool:
    """Whether an array of obsm or varm can be a column of the table."""
    if isinstance(value, (pd.DataFrame, np.ma.MaskedArray)) or sparse.issparse(value):
        return False
    fits = getattr(value, "ndim", 0) == 2 and value.shape[1] > 0
    return bool(fits and value.dtype in (np.float32, np.float64))


def uns_json(uns: Mapping[str, Any]) -> bytes:
    """The part of uns that JSON can hold."""
    plain = {}
    for key, value in uns.items():
        try:
            plain[key] = _jsonable(value)
        except TypeError:
            continue
    return json.dumps(plain, indent=2).encode()


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, np.ndarray) and value.dtype.names is None:
        return _jsonable(value.tolist())
    if isinstance(value, np.generic) and not isinstance(value, np.void):
        return _jsonable(value.item())
    if isinstance(value, (list, tuple)):
        return [_jsonable(v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(type(value).__name__)
