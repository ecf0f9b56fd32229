"""Converts obs and var to Arrow columns and back without loss, and stores the rest as
HDF5.

Text, numbers, booleans and dates keep their type, and missing values are NULL. What
Arrow cannot express (category order, pandas dtypes, names that a table does not allow)
is stored in `config.json` under `slaf`."""

from slaf.ground.metadata.decode import TEXT, decode_column
from slaf.ground.metadata.encode import (
    Encoded,
    encode,
    encode_column,
    slafdb_dtypes,
    tried,
    warn_of,
)
from slaf.ground.metadata.extras import h5_bytes, h5_forms, is_vector, uns_json, write
from slaf.ground.metadata.h5_forms import h5_frame, h5_name
from slaf.ground.metadata.names import (
    PAIRS,
    RESERVED,
    fits_pairs,
    fitting,
    free_name,
    stored_names,
    text_names,
)

__all__ = [
    "PAIRS",
    "RESERVED",
    "TEXT",
    "Encoded",
    "decode_column",
    "encode",
    "encode_column",
    "fits_pairs",
    "fitting",
    "free_name",
    "h5_bytes",
    "h5_forms",
    "h5_frame",
    "h5_name",
    "is_vector",
    "slafdb_dtypes",
    "stored_names",
    "text_names",
    "tried",
    "uns_json",
    "warn_of",
    "write",
]
