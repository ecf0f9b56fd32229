"""The tables of a dataset as pylance objects, for code that uses Lance directly."""

from __future__ import annotations

from typing import Any

from slaf.dataset.dataset import Dataset


def lance_table(dataset: Dataset, table: str) -> Any:
    """The `lance.LanceDataset` of `table`, at the version that the dataset reads; None
    if the dataset has no such table.

    Raises
    ------
    ImportError
        pylance is not installed.
    """
    if table not in dataset.columns:
        return None
    try:
        import lance
    except ImportError:
        raise ImportError(
            f"`.{table}` is an object of pylance, which is not installed: `pip install pylance`, "
            f'or ask in SQL, `.query("SELECT * FROM {table}")`.'
        ) from None
    file = dataset.config.get("tables", {}).get(table, f"{table}.lance")
    noted = dataset.notes.get("manifest", {}).get("tables", {})
    version = None if dataset.version is None else noted.get(file)
    return lance.dataset(f"{dataset.engine.uri.rstrip('/')}/{file}", version=version)
