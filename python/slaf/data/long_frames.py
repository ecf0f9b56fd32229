"""Makes datasets from long frames, which have one row per stored value."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from slaf import _slaf
from slaf._slaf import SlafError
from slaf.ground.hints import did_you_mean

if TYPE_CHECKING:
    import anndata

#: Names of the columns that are computed here.
_CELL, _GENE, _VALUE = "slaf: cell", "slaf: gene", "slaf: value"


def sink(
    plan: pl.LazyFrame,
    path: str | os.PathLike[str],
    *,
    cell: str = "cell_id",
    gene: str = "gene_id",
    value: str = "value",
    obs: Sequence[str] = (),
    var: Sequence[str] = (),
    overwrite: bool = False,
    **options: Any,
) -> None:
    """Writes a LazyFrame of stored values as the dataset `path`. If it fails, no
    dataset is left.

    Parameters
    ----------
    plan
        One row per stored value, in any order.
    path
        A folder, or a URL on `s3://`, `gs://`, `az://` or `hf://`.
    cell, gene, value
        The columns with the names of cells, the names of genes, and the values.
    obs, var
        Columns of obs and var; each has the same value in all rows of a cell, or of a
        gene.
    overwrite
        Replace what is at `path`, once the new dataset is complete.
    options
        `gene_index`, `storage_options` and `progress` of
        :meth:`SLAFConverter.convert`.

    Cells and genes are ordered by their first row. Cells and genes without any value
    are not in such a frame, and so not in the dataset. Each value needs 12 bytes of
    memory. The plan is run three times, for cells, genes and values.

    Raises
    ------
    FileExistsError
        `path` exists, and `overwrite` is not set.
    SlafError
        A column is missing, a name is missing or not text, a cell has two different
        values in a column of obs, a value is repeated, or the plan returns different
        rows each time.
    """
    from slaf.data.converter import SLAFConverter, refuse_existing

    target = os.fspath(path)
    refuse_existing(target, overwrite, options.get("storage_options"))
    SLAFConverter().convert_anndata(
        _matrix(plan, cell, gene, value, list(obs), list(var)),
        target,
        overwrite=overwrite,
        **options,
    )


def _matrix(
    plan: pl.LazyFrame, cell: str, gene: str, value: str, obs: list[str], var: list[str]
) -> anndata.AnnData:
    import anndata as ad
    import numpy as np
    from scipy import sparse

    schema = plan.collect_schema()
    for name in (cell, gene, value, *obs, *var):
        if name not in schema:
            near = _slaf.nearest(name, schema.names())
            raise SlafError(f"The frame has no column `{name}`.{did_you_mean(near)}")
    if not schema[value].is_numeric():
        raise SlafError(f"`{value}` is {schema[value]}, but values must be numbers.")
    cells, genes = _axis(plan, cell, obs, "cell"), _axis(plan, gene, var, "gene")
    found = (
        plan.select(_name(cell).alias(_CELL), _name(gene).alias(_GENE), pl.col(value).alias(_VALUE))
        .join(_numbers(cells[cell], _CELL), on=_CELL, how="left")
        .join(_numbers(genes[gene], _GENE), on=_GENE, how="left")
        .select(f"{_CELL} at", f"{_GENE} at", _VALUE)
        .collect(engine="streaming")
    )
    if found.null_count().sum_horizontal().item():
        if found[_VALUE].null_count():
            raise SlafError(
                f"`{value}` is missing in {found[_VALUE].null_count():,} rows. Leave them out: "
                f'`.filter(pl.col("{value}").is_not_null())`.'
            )
        raise SlafError(
            "The plan returns different rows each time. Collect it, and write `.lazy()` "
            "of the result."
        )
    at = [found[f"{name} at"].to_numpy().astype(np.int32) for name in (_CELL, _GENE)]
    x = sparse.csr_matrix((found[_VALUE].to_numpy(), at), shape=(cells.height, genes.height))
    if (twice := found.height - x.nnz) > 0:
        raise SlafError(
            f"{twice:,} values are repeated, for a cell and a gene that already have one. Add them "
            f'up: `.group_by("{cell}", "{gene}").agg(pl.col("{value}").sum())`.'
        )
    frames = [
        frame.drop(name).to_pandas().set_index(frame[name].to_pandas().astype(str))
        for frame, name in ((cells, cell), (genes, gene))
    ]
    for frame in frames:
        frame.index.name = None
    return ad.AnnData(x, obs=frames[0], var=frames[1])


def _name(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.String)


def _axis(plan: pl.LazyFrame, name: str, columns: list[str], what: str) -> pl.DataFrame:
    """The cells or genes, each once, in the order of their first row."""
    columns = [column for column in columns if column != name]
    rows = plan.select(_name(name), *columns).unique(maintain_order=True).collect()
    if rows[name].null_count():
        raise SlafError(f"`{name}` is missing in some rows, but every {what} needs a name.")
    if rows[name].n_unique() < rows.height:
        twice = rows.filter(rows[name].is_duplicated())
        first = twice.filter(pl.col(name) == twice[name][0])
        column = next(c for c in columns if first[c].n_unique() > 1)
        raise SlafError(
            f"The {what} `{twice[name][0]}` has {first[column].n_unique()} values of `{column}`, "
            "but may have only one."
        )
    return rows


def _numbers(names: pl.Series, key: str) -> pl.LazyFrame:
    return pl.LazyFrame({key: names}).with_row_index(f"{key} at")
