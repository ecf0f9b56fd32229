"""slafdb's package of the same name: datasets, their rows, and tools for SQL, under the
names that slafdb code imports."""

from slaf.array import SLAFArray
from slaf.core.tabular_schema import SLAF_LANCE_COO_SCHEMA, DataSchema

__all__ = ["SLAF_LANCE_COO_SCHEMA", "DataSchema", "SLAFArray"]
