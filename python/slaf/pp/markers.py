"""Ranks the genes that differ between groups of cells: t-tests from group means and
variances, Wilcoxon tests from rank sums."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

from slaf import _slaf
from slaf._slaf import SlafError
from slaf.ground.hints import did_you_mean
from slaf.lazy.gene_groups import Wanted, group_sums
from slaf.lazy.handle import LazyHandle
from slaf.lazy.plan import MatrixPlan
from slaf.pp.handles import cells_of, mask_of, matrix_of, own, warn_of_skipped

_METHODS = ("t-test", "t-test_overestim_var", "wilcoxon")
_CORRECTIONS = ("benjamini-hochberg", "bonferroni")
#: If the squared deviations outside a group are a smaller fraction of those of all
#: cells than this, the subtraction that computes them is too inexact.
_LOST = 1e-6
#: Number of genes that are processed together.
_GENES = 512


def rank_genes_groups(
    adata: LazyHandle,
    groupby: str,
    *,
    mask_var: Any = None,
    use_raw: bool | None = None,
    groups: str | Iterable[str] = "all",
    reference: str = "rest",
    n_genes: int | None = None,
    rankby_abs: bool = False,
    pts: bool = False,
    key_added: str | None = None,
    copy: bool = False,
    method: str = "t-test",
    corr_method: str = "benjamini-hochberg",
    tie_correct: bool = False,
    layer: str | None = None,
) -> LazyHandle | None:
    """Ranks genes by how much they differ between groups of cells. Values must be
    logarithms. The parameters, and the result in `uns["rank_genes_groups"]`, are those of
    scanpy's `tl.rank_genes_groups`. The methods are "t-test", "t-test_overestim_var" and
    "wilcoxon". Groups of fewer than two cells are skipped with a warning that names them,
    or raise an error if they are named in `groups`.

    Raises
    ------
    ValueError
        A group, method or correction does not exist.
    SlafError
        A group in `groups` or `reference` has fewer than two cells, or there is nothing to
        compare.
    """
    _check(method, corr_method, layer, use_raw)
    if use_raw is None:
        use_raw = layer is None and adata.raw is not None
    matrix = matrix_of(adata, layer, use_raw=use_raw)
    source = adata.raw if use_raw else adata
    names = source.var_names
    if mask_var is not None:
        chosen = mask_of(source.var, mask_var, "var")
        matrix, names = matrix[:, chosen], names[chosen]
    tested = _Groups(adata.obs[groupby], groups, reference)
    warn_of_skipped(f"groups of obs[{groupby!r}]", tested.skipped)
    if copy:
        adata = adata.copy()
    own(adata)
    ranks = method == "wilcoxon"
    found = _Statistics(matrix, tested, ranks, pts)
    base = dict(adata.uns.get("log1p") or {}).get("base")
    ranking = _Ranking(names, min(n_genes or len(names), len(names)), rankby_abs, corr_method)

    def first_genes(group: int) -> dict[str, np.ndarray]:
        test = found.wilcoxon(group, tie_correct) if ranks else found.t_test(group, method)
        return ranking.of(*test, found.fold_changes(group, base))

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        columns = list(threads.map(first_genes, tested.tested()))
    params = {
        "groupby": groupby,
        "reference": reference,
        "method": method,
        "use_raw": use_raw,
        "layer": layer,
        "corr_method": corr_method,
    }
    adata.uns[key_added or "rank_genes_groups"] = {
        "params": params,
        **(_shares(found, names) if pts else {}),
        **_tables([str(tested.order[group]) for group in tested.tested()], columns),
    }
    return adata if copy else None


class _Ranking:
    """How the genes of a group are ranked."""

    def __init__(self, names: pd.Index, n_top: int, by_abs: bool, corr_method: str):
        self.names, self.n_top = names.to_numpy(dtype=object), n_top
        self.by_abs, self.corr_method = by_abs, corr_method

    def of(
        self, scores: np.ndarray, p_values: np.ndarray, fold_changes: np.ndarray
    ) -> dict[str, np.ndarray]:
        """The best genes of a group, by the columns of the result."""
        top = _top(np.abs(scores) if self.by_abs else scores, self.n_top)
        return {
            "names": self.names[top],
            "scores": scores[top].astype(np.float32),
            "pvals": p_values[top],
            "pvals_adj": _adjusted(p_values, self.corr_method)[top],
            "logfoldchanges": fold_changes[top].astype(np.float32),
        }


def _tables(groups: list[str], columns: list[dict[str, np.ndarray]]) -> dict[str, np.recarray]:
    """Record arrays of ranks × groups, as scanpy stores them."""
    return {
        name: pd.DataFrame(
            {group: column[name] for group, column in zip(groups, columns, strict=True)}
        ).to_records(index=False)
        for name in columns[0]
    }


def _shares(found: _Statistics, names: pd.Index) -> dict[str, pd.DataFrame]:
    """The fractions of cells that express each gene, in each group and in all other
    cells: genes × groups."""
    labels = [str(name) for name in found.groups.order]
    shares = {"pts": pd.DataFrame(found.shares().T, index=names, columns=labels)}
    if found.groups.reference is None:
        shares["pts_rest"] = pd.DataFrame(found.shares_rest().T, index=names, columns=labels)
    return shares


def _check(method: str, corr_method: str, layer: str | None, use_raw: bool | None) -> None:
    for name, value, known in (
        ("method", method, _METHODS),
        ("corr_method", corr_method, _CORRECTIONS),
    ):
        if value not in known:
            raise ValueError(f"`{name}` is {' or '.join(map(repr, known))}, not {value!r}.")
    if layer is not None and use_raw:
        raise ValueError("Cannot specify `layer` and have `use_raw=True`.")


class _Groups:
    """Which cells are in which of the tested groups."""

    def __init__(self, labels: pd.Series, groups: str | Iterable[str], reference: str):
        if not isinstance(labels.dtype, pd.CategoricalDtype):
            labels = labels.astype("category")
        categories = labels.cat.categories
        if reference != "rest" and reference not in categories:
            raise ValueError(
                f"reference = {reference} needs to be one of groupby = {list(categories)}."
            )
        if _is_all(groups):
            order = list(categories)
        elif isinstance(groups, (str, int)):
            raise ValueError("Specify a sequence of groups")
        else:
            order = [str(g) if isinstance(g, int) else g for g in groups]
            if reference != "rest" and reference not in order:
                order.append(reference)
            for name in order:
                if name not in categories:
                    near = did_you_mean(_slaf.nearest(str(name), [str(c) for c in categories]))
                    raise ValueError(f"There is no group {name!r}.{near}")
        counts = labels.value_counts()
        small = [name for name in order if counts.loc[name] < 2]
        #: Groups that are left out, and why.
        self.skipped = {str(name): cells_of(counts.loc[name]) for name in small}
        if reference in small:
            cells = self.skipped[str(reference)]
            raise SlafError(f"The reference {reference!r} has {cells}, and two are needed.")
        if small and not _is_all(groups):
            raise SlafError(
                f"Could not calculate statistics for groups {', '.join(self.skipped)} since they "
                "have fewer than two cells. Leave them out of `groups`."
            )
        self.order = order = [name for name in order if name not in small]
        place = {name: at for at, name in enumerate(self.order)}
        self.n = len(self.order)
        self.reference = None if reference == "rest" else place[reference]
        #: Without a reference, all other cells are one more group.
        rest = self.n if self.reference is None else -1
        codes = np.array([place.get(c, rest) for c in categories] + [rest], dtype=np.int32)
        self.codes = codes[labels.cat.codes.to_numpy()]
        self.sizes = np.bincount(self.codes[self.codes >= 0], minlength=max(self.n, rest + 1))
        whole = reference == "rest" and self.n == 1 and self.sizes[0] == len(labels)
        if whole or not self.tested():
            raise SlafError(
                f"There is nothing to compare in {labels.name!r}: of its groups, "
                f"{', '.join(map(repr, map(str, order))) or 'none'} with two cells or more."
            )

    def tested(self) -> list[int]:
        return [at for at in range(self.n) if at != self.reference]


def _is_all(groups: str | Iterable[str]) -> bool:
    return isinstance(groups, str) and groups == "all"


class _Statistics:
    """Statistics of each group, and of the cells with which it is compared."""

    def __init__(self, matrix: MatrixPlan, groups: _Groups, ranks: bool, pts: bool):
        self.groups = groups
        reference = groups.reference
        wanted = Wanted(pts, not ranks, ranks, -1 if reference is None else reference)
        self._sums = group_sums(matrix, groups.codes, len(groups.sizes), wanted)
        self._sizes = groups.sizes.astype(np.float64)
        # Sums of all cells, from which those of a group are subtracted.
        if reference is None:
            self._totals = self._sums.totals.sum(axis=0)
            self._squares = None if ranks else self._squares_of_all()

    def mean(self, group: int) -> np.ndarray:
        return self._sums.totals[group] / self._sizes[group]

    def variance(self, group: int) -> np.ndarray:
        """The variance with n - 1 degrees of freedom."""
        return self._sums.squares[group] / (self._sizes[group] - 1)

    def size_of_other(self, group: int) -> float:
        """The number of cells with which the group is compared."""
        if self.groups.reference is not None:
            return self._sizes[self.groups.reference]
        return self._sizes.sum() - self._sizes[group]

    def mean_of_other(self, group: int) -> np.ndarray:
        if self.groups.reference is not None:
            return self.mean(self.groups.reference)
        return self._totals_outside(group) / self.size_of_other(group)

    def variance_of_other(self, group: int) -> np.ndarray:
        if self.groups.reference is not None:
            return self.variance(self.groups.reference)
        n, rest = self._sizes[group], self.size_of_other(group)
        apart = self.mean(group) - self.mean_of_other(group)
        with np.errstate(invalid="ignore"):
            between = apart * apart * n * rest / (n + rest)
            squares = self._squares - self._sums.squares[group] - between
            # If a gene varies only in this group, the subtraction loses all digits.
            lost = ~(squares >= _LOST * self._squares)
        if lost.any():
            totals = self._totals_outside(group)[lost]
            groups, genes = np.ix_(self._others(group), lost)
            squares[lost] = self._squares_of(groups, genes, totals)
        return squares / (rest - 1)

    def _totals_outside(self, group: int) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            totals = self._totals - self._sums.totals[group]
        unknown = ~np.isfinite(totals)
        if unknown.any():
            part = np.ix_(self._others(group), unknown)
            totals[unknown] = self._sums.totals[part].sum(axis=0)
        return totals

    def _others(self, group: int) -> np.ndarray:
        return np.flatnonzero(np.arange(len(self._sizes)) != group)

    def _squares_of_all(self) -> np.ndarray:
        """Squared deviations of all cells, for a few genes at a time."""
        starts = range(0, len(self._totals), _GENES)
        parts = [slice(start, start + _GENES) for start in starts]
        found = [self._squares_of(slice(None), part, self._totals[part]) for part in parts]
        return np.concatenate([np.zeros(0), *found])

    def _squares_of(self, groups: Any, genes: Any, totals: np.ndarray) -> np.ndarray:
        """Squared deviations of the cells of several groups from their mean."""
        sizes = self._sizes[groups].reshape(-1, 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            apart = self._sums.totals[groups, genes] / sizes - totals / sizes.sum()
            between = np.where(sizes > 0, sizes * apart * apart, 0)
        return (self._sums.squares[groups, genes] + between).sum(axis=0)

    def fold_changes(self, group: int, base: float | None) -> np.ndarray:
        """log2 of the ratio of the means of the values before the logarithm."""
        scale = 1.0 if base is None else np.log(base)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            means = (self.mean(group), self.mean_of_other(group))
            undone = [np.expm1(mean * scale) + 1e-9 for mean in means]
            return np.log2(undone[0] / undone[1])

    def shares(self) -> np.ndarray:
        """The fraction of the cells of each group that express each gene."""
        n = self.groups.n
        return self._sums.nonzero[:n] / self._sizes[:n, None]

    def shares_rest(self) -> np.ndarray:
        n, nonzero = self.groups.n, self._sums.nonzero
        rest = nonzero.sum(axis=0, dtype=np.int64) - nonzero[:n]
        return rest / (self._sizes.sum() - self._sizes[:n, None])

    def t_test(self, group: int, method: str) -> tuple[np.ndarray, np.ndarray]:
        """Scores and p-values of Welch's test; see scipy's `ttest_ind_from_stats`."""
        from scipy import stats

        n = self._sizes[group]
        n_other = n if method == "t-test_overestim_var" else self.size_of_other(group)
        with np.errstate(invalid="ignore", divide="ignore"):
            scores, p_values = stats.ttest_ind_from_stats(
                self.mean(group),
                np.sqrt(self.variance(group)),
                n,
                self.mean_of_other(group),
                np.sqrt(self.variance_of_other(group)),
                n_other,
                equal_var=False,
            )
        return np.nan_to_num(scores, nan=0.0), np.where(np.isnan(p_values), 1, p_values)

    def wilcoxon(self, group: int, tie_correct: bool) -> tuple[np.ndarray, np.ndarray]:
        """Scores and p-values of rank sums, by the normal approximation."""
        from scipy.special import ndtr

        n, m = self._sizes[group], self.size_of_other(group)
        coefficient: Any = 1.0
        if tie_correct:
            ties = self._sums.ties[0 if self.groups.reference is None else group]
            coefficient = 1.0 - ties / ((n + m) ** 3 - (n + m))
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = np.sqrt(coefficient * n * m * (n + m + 1) / 12.0)
            scores = (self._sums.ranks[group] - n * (n + m + 1) / 2.0) / spread
        scores = np.where(np.isnan(scores), 0.0, scores)
        return scores, 2 * ndtr(-np.abs(scores))


def _top(scores: np.ndarray, n: int) -> np.ndarray:
    partition = np.argpartition(scores, -n)[-n:]
    return partition[np.argsort(scores[partition])[::-1]]


def _adjusted(p_values: np.ndarray, method: str) -> np.ndarray:
    if method == "bonferroni":
        return np.minimum(p_values * len(p_values), 1.0)
    # scipy's `false_discovery_control` sorts stably, which takes five times as long.
    order = np.argsort(p_values)
    n = len(order)
    found = p_values[order] * (n / np.arange(1, n + 1))
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.minimum.accumulate(found[::-1])[::-1], 1.0)
    return adjusted
