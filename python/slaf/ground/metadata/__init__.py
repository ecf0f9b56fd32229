"""Metadata: obs and var as Arrow columns and back, losing nothing, and the rest
as HDF5 has it.

Text, numbers, booleans and dates are stored as such, missing values as NULL.
What Arrow does not say (category order, pandas dtypes, names that a table
refuses) is written beside, in `config.json` under `slaf`.
"""

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
