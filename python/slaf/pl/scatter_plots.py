"""Scatter plots of two variables, and the plots of quality control."""

from __future__ import annotations

from typing import Any

from anndata import AnnData
from matplotlib.colors import is_color_like

from slaf.lazy.handle import LazyHandle
from slaf.pl.genes_by_group import MAX_CELLS, violin
from slaf.pl.plot_data import cells, embedding_key, flat
from slaf.pl.with_scanpy import Given, drawn, finish, lent, require_data, scanpy


@drawn(scanpy.pl.scatter)
def scatter(handle: LazyHandle, given: Given) -> Any:
    """A scatter plot of cells by columns of obs and genes, of genes by columns of var
    and cells, or of cells in an embedding. Reads only what is named."""
    basis = given.get("basis")
    if basis is None and (given.get("x") is None or given.get("y") is None):
        raise ValueError("Give `x` and `y`, or a `basis`.")
    names = _named(handle, given)
    layers = given.get("layers")
    layers = (layers,) * 3 if layers is None or isinstance(layers, str) else tuple(layers)
    if basis is None and _are_of_genes(handle, names):
        part = cells(handle.T, names, layers=layers).T
    else:
        obsm = [] if basis is None else [embedding_key(handle, f"X_{basis}")]
        use_raw = given.get("use_raw")
        part = cells(handle, names, use_raw=use_raw, layers=layers, obsm=obsm)
    with lent(handle, part):
        return scanpy.pl.scatter(part, **given)


def _named(handle: LazyHandle, given: Given) -> list[str]:
    """The names to look up: all except plain colours."""
    colours = given.get("color")
    colours = [colours] if is_color_like(colours) else flat(colours)
    known = lambda name: name in handle.obs.columns or name in handle.var_names  # noqa: E731
    looked_up = [c for c in colours if not is_color_like(c) or known(c)]
    return [name for name in (given.get("x"), given.get("y"), *looked_up) if name is not None]


def _are_of_genes(handle: LazyHandle, names: list[str]) -> bool:
    """Whether all are columns of var or cells. scanpy tries this if not all are columns
    of obs or genes."""
    holders = [handle] if handle.raw is None else [handle, handle.raw]
    of_cells = lambda name: (  # noqa: E731
        name in handle.obs.columns or any(name in holder.var_names for holder in holders)
    )
    return not all(map(of_cells, names)) and all(
        name in handle.var.columns or name in handle.obs_names for name in names
    )


def qc(
    handle: LazyHandle | AnnData,
    *,
    groupby: str | None = None,
    share: str | None = None,
    jitter: float | bool = 0.4,
    size: int = 1,
    show: bool | None = None,
    save: str | bool | None = None,
    **kwds: Any,
) -> list[Any] | None:
    """Quality control before cells are filtered: violins of `n_genes_by_counts`,
    `total_counts` and a percentage of counts, and the first two against each other,
    coloured by the percentage. Reads these columns of obs, and no matrix.

    Parameters
    ----------
    groupby
        A column of obs; each of its groups gets a violin.
    share
        A column of obs with the percentage; by default `pct_counts_mt` or the only
        column of this kind, if there is one.
    jitter, size, kwds
        Passed to :func:`violin`. With more than 200,000 cells, points are drawn only
        with `stripplot=True`.
    show, save
        As for scanpy's plots.

    Returns
    -------
    The four axes (three without a percentage), unless they are shown.

    Raises
    ------
    KeyError
        The columns do not exist; `pp.calculate_qc_metrics` makes them.
    """
    from matplotlib import pyplot

    require_data(handle)
    columns = [str(name) for name in handle.obs.columns]
    for name in ("n_genes_by_counts", "total_counts"):
        if name not in columns:
            raise KeyError(
                f"obs has no column {name!r}: `pp.calculate_qc_metrics` of slaf.scanpy makes it."
            )
    share = _share_of(columns) if share is None else share
    keys = ["n_genes_by_counts", "total_counts", *([share] if share else [])]
    width, height = pyplot.rcParams["figure.figsize"]
    figure, axes = pyplot.subplots(
        1, len(keys) + 1, figsize=(width * (len(keys) + 1), height), layout="constrained"
    )
    how = {"groupby": groupby, "jitter": jitter, "size": size, "show": False, "save": False}
    kwds.setdefault("stripplot", handle.n_obs <= MAX_CELLS)
    for key, ax in zip(keys, axes, strict=False):
        violin(handle, key, ax=ax, **how, **kwds)
    counts = {"x": "total_counts", "y": "n_genes_by_counts", "color": share}
    scatter(handle, **counts, ax=axes[-1], show=False, save=False)
    # scanpy places the colour bar as if there were only one plot.
    for misplaced in figure.axes[len(axes) :]:
        misplaced.remove()
        figure.colorbar(axes[-1].collections[0], ax=axes[-1])
    return None if finish("qc", {"show": show, "save": save}) else list(axes)


def _share_of(columns: list[str]) -> str | None:
    kinds = [c for c in columns if c.startswith("pct_counts_") and "_in_top_" not in c]
    return "pct_counts_mt" if "pct_counts_mt" in kinds else kinds[0] if len(kinds) == 1 else None
