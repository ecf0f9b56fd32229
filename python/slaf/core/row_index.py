"""slafdb's module of the same name."""

from slaf.lazy.row_index import RowIndexMapper

__all__ = ["RowIndexMapper"]
