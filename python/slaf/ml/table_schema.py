"""The column names of a long table, so that functions that group rows work on any table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class DataSchema:
    """Columns of a table of one value of one item of one group a row, and of the
    table of one group a row that is made of it.

    Parameters
    ----------
    group_key, item_key, value_key
        What is grouped by, what is in a group, and the value of it.
    group_key_out
        The group in the result; None: `group_key`.
    item_list_key, value_list_key
        The lists of items and of values in the result; no values if None.
    """

    group_key: str
    item_key: str
    value_key: str
    group_key_out: str | None = None
    item_list_key: str = "item_list"
    value_list_key: str | None = None


#: Rows of `expression`: a value of a gene of a cell.
SLAF_LANCE_COO_SCHEMA = DataSchema(
    group_key="cell_integer_id",
    item_key="gene_integer_id",
    value_key="value",
    group_key_out="cell_integer_id",
    item_list_key="gene_sequence",
    value_list_key="expr_sequence",
)
