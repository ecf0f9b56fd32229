"""The dtypes of values, and those that the engine accepts."""

from __future__ import annotations

import numpy as np

from slaf._slaf import SlafError

#: The engine's dtypes, narrow ones first.
_ENGINE = ("uint16", "int32", "int64", "float32", "float64")
#: numpy's dtypes of columns of numbers: slafdb has a type for each, and each range of rows
#: of a column has the same.
NUMBERS = {f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)} | {
    "float32",
    "float64",
    "bool",
}


def handed_out(dtype: np.dtype | str) -> np.dtype:
    """The dtype in which values of `dtype` are returned: with native byte order, and
    not in half or extended precision, which scipy or the engine do not support."""
    dtype = np.dtype(dtype).newbyteorder("=")
    if dtype.kind != "f" or dtype.name in _ENGINE:
        return dtype
    return np.dtype("float32" if dtype.itemsize < 4 else "float64")


def read_as(dtype: np.dtype) -> str:
    """The dtype to request from the engine if values are returned as `dtype`. uint64
    values that int64 cannot hold are stored as float64."""
    return "float64" if dtype == np.uint64 else dtype.name


def engine_values(data: np.ndarray) -> np.ndarray:
    """`data` as a contiguous array, in the narrowest of the engine's dtypes that holds
    it exactly.

    Raises
    ------
    SlafError
        There is none, because of integers above 2^63 or values that are not real
        numbers.
    """
    if data.dtype.kind not in "biuf":
        raise SlafError(f"The matrix holds {data.dtype}, and only real numbers can be stored.")
    if data.dtype.kind == "u" and data.dtype.itemsize == 8:
        beyond = bool(data.size) and int(data.max()) >= 2**63
        return _exactly(data, "float64" if beyond else "int64")
    wanted = handed_out(data.dtype)
    if wanted.itemsize < data.dtype.itemsize:
        return _exactly(data, "float64")
    return np.ascontiguousarray(data, next(n for n in _ENGINE if np.can_cast(wanted, n)))


def _exactly(data: np.ndarray, dtype: str) -> np.ndarray:
    values = np.ascontiguousarray(data, dtype)
    if dtype == "float64":
        # 2^64 would become 0 when converted back.
        fits = data.dtype.kind == "f" or (values < 2.0**64).all()
        if not (fits and np.array_equal(values.astype(data.dtype), data, equal_nan=True)):
            raise SlafError(
                f"The matrix holds values of {data.dtype} that float64 does not hold exactly, "
                "such as integers beyond 2^63. Round them first."
            )
    return values
