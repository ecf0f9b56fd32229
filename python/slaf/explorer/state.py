"""The state of an explorer: colours, filters and selections, without a screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from slaf._slaf import SlafError
from slaf.explorer import colours, filters
from slaf.explorer.annotate import annotate
from slaf.explorer.colours import Colouring
from slaf.explorer.compare import Comparison, compare
from slaf.explorer.embedding import Embedding, first_embedding
from slaf.explorer.genes import Genes, expression, said_of_values
from slaf.explorer.similar import similar
from slaf.ground import axes

if TYPE_CHECKING:
    from slaf.lazy.handle import LazyHandle


class State:
    """A handle's cells as points: their colours, and which of them are shown and
    selected.

    Parameters
    ----------
    handle
        A lazy handle.
    embeddings
        Keys of obsm, whose first two columns are the positions; by default the most
        usual key. Several are shown side by side.
    layer
        The layer for colours and comparisons; None for X.
    gene_symbols
        The column of var with the names of genes; None for `var_names`.

    Attributes
    ----------
    handle
        The explored handle. :meth:`annotate` writes to its obs.
    places
        The positions of the cells, by key of obsm.
    genes
        The genes by name.
    colouring
        The colours of all cells.
    filters
        Conditions on columns of obs, by column.
    kept
        The selections that :meth:`keep` stored, by name: masks.

    Raises
    ------
    KeyError
        There is no such obsm or column of var.
    SlafError
        No obsm has two columns.
    """

    def __init__(
        self,
        handle: LazyHandle,
        *embeddings: str,
        layer: str | None = None,
        gene_symbols: str | None = None,
    ):
        self.handle, self.layer = handle, layer
        keys = embeddings or (first_embedding(handle),)
        if keys[0] is None:
            raise SlafError(
                "The handle has no obsm of two columns or more, so its cells have no positions. "
                "scanpy's `tl.umap` makes some."
            )
        self.places: dict[str, Embedding] = {}
        self._watchers: list[Callable[[str], None]] = []
        self.show_embeddings(*keys)
        names = handle.var_names if gene_symbols is None else handle.var[gene_symbols]
        self.genes = Genes(pd.Index(names))
        self.filters: dict[str, filters.Condition] = {}
        self.kept: dict[str, np.ndarray] = {}
        self._annotated: list[str] = []
        self._selected = np.zeros(handle.n_obs, dtype=bool)
        self._visible = np.ones(handle.n_obs, dtype=bool)
        self.colouring = colours.plain(handle.n_obs)
        coloured = (c for c in handle.obs.columns if f"{c}_colors" in handle.uns)
        if (first := next(coloured, None)) is not None:
            self.color_by(first)

    def show_embeddings(self, *keys: str) -> None:
        """Shows these keys of obsm side by side. Errors as for the class."""
        places = {key: self.places.get(key) or Embedding.of(self.handle, key) for key in keys}
        self.places = places
        self._notify("places")

    # Colours ----------------------------------------------------------------

    def color_by(
        self,
        key: str | None = None,
        *,
        gene: str | int | None = None,
        vmin: float | None = None,
        vmax: float | None = None,
    ) -> None:
        """Colours the cells.

        Parameters
        ----------
        key
            A column of obs, or else a gene; None for the same colour for all cells.
        gene
            A gene, by name or position, even if a column has the same name.
        vmin, vmax
            The ends of the scale of numbers; by default the minimum and the maximum.

        Raises
        ------
        KeyError
            There is no such column or gene.
        SlafError
            Several genes have this name, or the column has too many categories.
        """
        columns = self.handle.obs.columns
        if key is None and gene is None:
            self.colouring = colours.plain(self.handle.n_obs)
        elif gene is None and key in columns:
            self.colouring = self._of_column(key, (vmin, vmax))
        else:
            wanted = key if gene is None else gene
            at = self.genes.find(wanted, columns if gene is None else ())
            values = expression(self.handle, self.layer, at)
            note = said_of_values(self.handle, self.layer)
            self.colouring = colours.of_numbers(self.genes.labels[at], values, note, (vmin, vmax))
        self._notify("colours")

    def _of_column(self, key: str, ends: tuple[float | None, float | None]) -> Colouring:
        column = self.handle.obs[key]
        if colours.is_numeric(column):
            note = "seconds since 1970" if colours.is_time(column) else ""
            return colours.of_numbers(key, colours.as_numbers(column), note, ends)
        return colours.of_categories(key, column, self.handle.uns.get(f"{key}_colors"))

    # What is shown ----------------------------------------------------------

    @property
    def visible(self) -> np.ndarray:
        """The cells that meet all filters: bool, one per cell."""
        return self._visible.copy()

    def filter(self, column: str, wanted: Any = None) -> None:
        """Shows only cells with the wanted values in a column of obs; None removes the
        column's filter. Cells must meet the filters of all columns.

        Parameters
        ----------
        wanted
            For numbers `(low, high)`, both included, None for an open end; missing
            numbers are hidden. For categories, text and bools, the values to show;
            "(missing)" stands for missing values.

        Raises
        ------
        KeyError
            There is no such column or category.
        ValueError
            The column has numbers or times, and `wanted` is not `(low, high)`.
        """
        series = self.handle.obs[column]
        if wanted is None:
            self.filters.pop(column, None)
        else:
            self.filters[column] = filters.condition(series, wanted)
        self._filter()

    def show_all(self) -> None:
        """Removes all filters."""
        self.filters.clear()
        self._filter()

    @property
    def hidden(self) -> frozenset[str]:
        """Hidden categories of the current colours."""
        without = self.filters.get(self.colouring.title)
        return without.hidden if isinstance(without, filters.Without) else frozenset()

    def hide(self, *categories: str) -> None:
        """Hides categories of the current colours."""
        self._set_hidden(self.hidden | set(self._checked(categories)))

    def show(self, *categories: str) -> None:
        """Shows hidden categories again."""
        self._set_hidden(self.hidden - set(self._checked(categories)))

    def isolate(self, *categories: str) -> None:
        """Hides all categories of the current colours except these."""
        self._set_hidden(frozenset(self._legend()) - set(self._checked(categories)))

    def _legend(self) -> list[str]:
        if not self.colouring.categories:
            raise SlafError(
                "The colours are not categories, so none can be hidden. Colour by a column of "
                "categories."
            )
        return [*self.colouring.categories, filters.MISSING]

    def _checked(self, categories: tuple[str, ...]) -> list[str]:
        return filters.checked(self.colouring.title, categories, self._legend())

    def _set_hidden(self, hidden: frozenset[str]) -> None:
        column = self.colouring.title
        if hidden:
            self.filters[column] = filters.Without(hidden)
        else:
            self.filters.pop(column, None)
        self._filter()

    def _filter(self) -> None:
        obs = self.handle.obs
        self._visible = np.ones(len(obs), dtype=bool)
        for column, condition in self.filters.items():
            self._visible &= condition.mask(obs[column])
        self._notify("visible")

    # Selections -------------------------------------------------------------

    @property
    def mask(self) -> np.ndarray:
        """The selected cells: bool, one per cell."""
        return self._selected.copy()

    @property
    def selection(self) -> LazyHandle:
        """The selected cells as a lazy handle."""
        return self.handle[self.mask]

    def select(self, cells: Any = None) -> None:
        """Selects cells by a mask, positions, or names; None selects nothing."""
        selected = np.zeros(self.handle.n_obs, dtype=bool)
        if cells is not None:
            selected[self._positions(cells)] = True
        self._selected = selected
        self._notify("selection")

    def _positions(self, cells: Any) -> np.ndarray:
        handle = self.handle
        found = axes.positions(cells, handle.n_obs, lambda: handle.obs_names, "obs")
        return np.asarray(found, dtype=np.int64)

    def lasso(self, polygon: Any, embedding: str | None = None) -> None:
        """Selects the shown cells inside a polygon.

        Parameters
        ----------
        polygon
            Its corners in the embedding's coordinates: corners × 2.
        embedding
            A key of :attr:`places`; by default the first.
        """
        place = self.places[embedding or next(iter(self.places))]
        corners = (np.asarray(polygon, dtype=np.float64) - place.corner) / place.side
        if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3:
            raise ValueError("A polygon has three corners or more, each of two numbers.")
        self.select(place.within(corners) & self._visible)

    def annotate(self, name: str, value: str) -> None:
        """Sets `handle.obs[name]` of the selected cells to `value`. In a new column,
        the other cells have a missing value; in an existing column of categories or
        text, they keep theirs. See :meth:`save`.

        Raises
        ------
        ValueError
            The name or the value is empty.
        SlafError
            Nothing is selected, or the column has numbers or bools.
        """
        name = name.strip()
        annotate(self.handle, name, value, self._selected)
        if name not in self._annotated:
            self._annotated.append(name)
        if name in self.filters:
            self._filter()
        if self.colouring.title == name and self.colouring.categories is not None:
            self.color_by(name)

    def save(self) -> int | None:
        """Stores the annotated columns, and nothing else, in the dataset. Returns the
        number of its version; None if nothing was annotated. Errors as for
        `handle.save`."""
        return self.handle.save(obs=self._annotated) if self._annotated else None

    def keep(self, name: str) -> None:
        """Stores the selection under a name, for :meth:`compare`."""
        self.kept[name] = self.mask
        self._notify("kept")

    def find_similar(self, k: int = 100, key: str | None = None) -> np.ndarray:
        """Selects the `k` cells that are most similar to any of the selected cells,
        without these, and returns their positions, nearest first. If more than 64 cells
        are selected, 64 of them, evenly spread, are used.

        Parameters
        ----------
        key
            The obsm to search: by default `X_pca` if it exists, otherwise the first one
            that is shown.

        Raises
        ------
        SlafError
            Nothing is selected.
        """
        if key is None:
            key = "X_pca" if "X_pca" in self.handle.obsm else next(iter(self.places))
        found = similar(self.handle, self._selected, k, key)
        self.select(found)
        return found

    def compare(
        self, a: Any = None, b: Any = None, *, method: str = "t-test", n_genes: int = 100
    ) -> Comparison:
        """Ranks the genes that are higher in `a` than in `b`, with `rank_genes_groups`
        on the values that are used for colours, which should be logarithms.

        Parameters
        ----------
        a, b
            The name of a kept selection, or a mask, positions or names. By default
            `a` is the present selection, and `b` all other cells that are shown.
        method
            "t-test", "t-test_overestim_var" or "wilcoxon".
        n_genes
            Number of genes in the result.

        Raises
        ------
        KeyError
            No selection was kept under this name.
        SlafError
            One of the selections has fewer than two cells, or a cell is in both.
        """
        name_a, mask_a = ("selection", self.mask) if a is None else self._named("a", a)
        name_b, mask_b = ("rest", self._visible & ~mask_a) if b is None else self._named("b", b)
        if name_a == name_b:
            raise SlafError(f"{name_a} cannot be compared with itself.")
        return compare(
            self.handle,
            {name_a: mask_a, name_b: mask_b},
            self.genes.labels,
            layer=self.layer,
            values=said_of_values(self.handle, self.layer),
            method=method,
            n_genes=n_genes,
        )

    def _named(self, role: str, cells: Any) -> tuple[str, np.ndarray]:
        if isinstance(cells, str):
            if cells not in self.kept:
                kept = ", ".join(map(repr, self.kept)) or "none"
                raise KeyError(f"No selection was kept as {cells!r}; there is {kept}.")
            return cells, self.kept[cells]
        mask = np.zeros(self.handle.n_obs, dtype=bool)
        mask[self._positions(cells)] = True
        return role, mask

    # Watching ---------------------------------------------------------------

    def watch(self, told: Callable[[str], None]) -> None:
        """Calls `told` after each change, with "colours", "visible", "selection",
        "kept" or "places"."""
        self._watchers.append(told)

    def _notify(self, what: str) -> None:
        for watcher in self._watchers:
            watcher(what)

    def __repr__(self) -> str:
        n, shown, chosen = self.handle.n_obs, self._visible.sum(), self._selected.sum()
        text = f"{n:,} cells on {', '.join(self.places)}"
        text += f", coloured by {self.colouring.title}" if self.colouring.title else ""
        text += f", {shown:,} shown" if shown < n else ""
        return f"{text}{f', {chosen:,} selected' if chosen else ''}"
