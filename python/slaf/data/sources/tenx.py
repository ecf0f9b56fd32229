"""Functions that the formats of 10x Genomics share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from slaf._slaf import SlafError

#: The form of X in scanpy's result.
NOTE = {"dtype": "float32", "encoding": "csr"}


def unique(names: Any) -> pd.Index:
    """Names without repeats, made as scanpy makes them."""
    import anndata

    return anndata.utils.make_index_unique(pd.Index(np.asarray(names, dtype=object)))


def damaged(path: Path, error: BaseException) -> SlafError:
    """The error for a file that cannot be read."""
    return SlafError(
        f"`{path}` cannot be read ({brief(error)}): it is damaged, cut short or of another "
        "format. Copy the file again."
    )


def brief(error: BaseException) -> str:
    """A library's message in one line."""
    text = " ".join(str(error).split()).rstrip(".")
    return text if len(text) <= 160 else f"{text[:157]}..."
