"""slafdb's package of the same name: datasets, their rows, and the tools around
SQL, under the names that code written for slafdb imports."""

from slaf.array import SLAFArray
from slaf.core.tabular_schema import SLAF_LANCE_COO_SCHEMA, DataSchema

__all__ = ["SLAF_LANCE_COO_SCHEMA", "DataSchema", "SLAFArray"]
