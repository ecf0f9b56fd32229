"""slafdb's module of the same name: the column names of a long table."""

from slaf.ml.table_schema import SLAF_LANCE_COO_SCHEMA, DataSchema

__all__ = ["SLAF_LANCE_COO_SCHEMA", "DataSchema"]
