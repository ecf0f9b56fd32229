"""The column names of a long table, so that functions that group rows work on any table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class DataSchema:
    """Names of columns: of a table with one row per value (of an item in a group), and
    of the table with one row per group that is made from it.

    Parameters
    ----------
    group_key, item_key, value_key
        The columns of groups, of the items in a group, and of their values.
    group_key_out
        The column of groups in the result; None for `group_key`.
    item_list_key, value_list_key
        The columns with the lists of items and of values in the result; no values if
        None.
    """

    group_key: str
    item_key: str
    value_key: str
    group_key_out: str | None = None
    item_list_key: str = "item_list"
    value_list_key: str | None = None


#: Rows of `expression`: one value of one gene in one cell.
SLAF_LANCE_COO_SCHEMA = DataSchema(
    group_key="cell_integer_id",
    item_key="gene_integer_id",
    value_key="value",
    group_key_out="cell_integer_id",
    item_list_key="gene_sequence",
    value_list_key="expr_sequence",
)
