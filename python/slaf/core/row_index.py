"""slafdb's module of the same name: the rows of `expression` that belong to each
cell."""

from slaf.lazy.row_index import RowIndexMapper

__all__ = ["RowIndexMapper"]
