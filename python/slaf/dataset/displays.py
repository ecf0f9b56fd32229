"""The display of a dataset: its tables, and what the configuration says about them. Reads
nothing of X."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from slaf.dataset.dataset import Dataset
from slaf.ground import cards
from slaf.ground.cards import counted
from slaf.ground.sizes import share, size


def dataset_html(dataset: Dataset) -> str:
    # Only other software writes wrong offsets.
    return _drawn(dataset, checked=dataset.version is None)[0]


def dataset_text(dataset: Dataset) -> str:
    """The contents of a dataset, one entry per line."""
    return _drawn(dataset, checked=True)[1]


def _drawn(dataset: Dataset, checked: bool) -> tuple[str, str]:
    defect = dataset.engine.defect() if checked else None
    return cards.drawn(
        "SLAF dataset",
        cards.shape(*dataset.shape),
        place=dataset.path,
        facts=_facts(dataset),
        warnings=[f"repaired: {defect}; rows are read by their own ids instead"] if defect else [],
        sections=_sections(dataset),
        hint="slaf.read_slaf(path) opens it as a lazy AnnData.",
    )


def _facts(dataset: Dataset) -> dict[str, str | None]:
    cells, genes = dataset.shape
    nnz = dataset.engine.nnz
    return {
        "expression": f"{nnz:,} values, {share(nnz, cells * genes)} dense, "
        f"read as {dataset.x_dtype}",
        "stored": size(sum(dataset.engine.table_bytes(name) for name in dataset.columns)),
        "version": version_in_words(dataset),
        "format": str(dataset.config.get("format_version", "unknown")),
        "by gene": _by_gene(dataset),
    }


def version_in_words(dataset: Dataset) -> str:
    """The number of the version, the operation that made it, and its time."""
    manifest = dataset.notes.get("manifest")
    if dataset.version is None or manifest is None:
        return "none: another writer changed the dataset last"
    at = manifest["at"][:16].replace("T", " ")
    return f"{manifest['version']}, by {manifest['operation']}, {at} UTC"


def _by_gene(dataset: Dataset) -> str:
    by_gene, _ = dataset.engine.companions()
    if by_gene:
        return "yes"
    stale = "companions" in dataset.notes
    return "stale; `slaf index` makes it anew" if stale else "no; `slaf index` makes it"


def _sections(dataset: Dataset) -> Iterator[dict[str, Any]]:
    colours = cards.palettes(dataset.extras.get("uns", {}))
    for axis in ("obs", "var"):
        notes = dataset.column_notes(axis)
        costs = dataset.column_bytes["cells" if axis == "obs" else "genes"]
        entries = [
            _column(dataset, axis, note, costs, colours) for note in notes[: cards.DESCRIBED]
        ]
        described = [note["name"] for note in notes[cards.DESCRIBED :]]
        yield cards.section(
            axis, counted(len(notes), "column"), entries, described, open=len(notes) <= 40
        )
    found = {
        "obsm": dataset.vector_columns("cells"),
        "varm": dataset.vector_columns("genes"),
        **{section: dataset.keys(section) for section in ("layers", "obsp", "varp")},
    }
    for section, keys in found.items():
        if keys:
            entries = [_matrix(dataset, section, key) for key in keys[: cards.DESCRIBED]]
            named = keys[cards.DESCRIBED :]
            yield cards.section(section, counted(len(keys), "key"), entries, named)
    yield cards.section(
        "tables", "of Lance", [_table(dataset, *t) for t in dataset.engine.tables()]
    )


def _column(
    dataset: Dataset,
    axis: str,
    note: dict[str, Any],
    costs: dict[str, int],
    colours: dict[str, list[str]],
) -> dict[str, Any]:
    table = "cells" if axis == "obs" else "genes"
    dtype = note.get("dtype") or dataset.columns[table][note["stored"]].lower()
    known: dict[str, Any] = {}
    if "categories" in note:
        counts = note.get("counts") if dataset.version is not None else None
        names = [str(name) for name in note["categories"]]
        known = cards.categories(names, counts, colours.get(note["name"]))
    elif "ends" in note and dataset.version is not None:
        known = {"note": cards.ends(*note["ends"])}
    return cards.entry(note["name"], dtype, cost=size(costs.get(note["stored"], 0)), **known)


def _matrix(dataset: Dataset, section: str, key: str) -> dict[str, Any]:
    if section in ("obsm", "varm"):
        table = "cells" if section == "obsm" else "genes"
        dtype, width = dataset.vectors(table, key)
        cost = dataset.column_bytes[table].get(key, 0)
        return cards.entry(key, dtype, f"vectors of {width:,}", cost=size(cost))
    stored = dataset.stored_pairs(section, key)
    note = "" if stored is None else f"{stored:,} stored"
    cost = dataset.pair_bytes(section, key) or 0
    return cards.entry(key, str(dataset.matrix_dtype(section, key)), note, cost=size(cost))


def _table(dataset: Dataset, name: str, rows: int, columns: list[Any]) -> dict[str, Any]:
    note = f"{rows:,} rows, {counted(len(columns), 'column')}"
    return cards.entry(name, "", note, cost=size(dataset.engine.table_bytes(name)))
