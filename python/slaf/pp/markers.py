"""Ranks the genes that differ between groups of cells: t-tests from group means and
variances, rank-sum tests on a few hundred genes at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from slaf import _slaf
from slaf._slaf import SlafError
from slaf.ground.dtypes import engine_values
from slaf.ground.hints import did_you_mean
from slaf.ground.workers import each
from slaf.lazy import reduce
from slaf.lazy.handle import LazyHandle
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.stream import columns_of_a_block
from slaf.pp.handles import cells_of, mask_of, matrix_of, own, warn_of_skipped

_METHODS = ("t-test", "t-test_overestim_var", "wilcoxon")
_CORRECTIONS = ("benjamini-hochberg", "bonferroni")


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
    found = _Statistics(matrix, tested)
    tests = found.wilcoxon(tie_correct) if method == "wilcoxon" else found.t_test(method)
    base = dict(adata.uns.get("log1p") or {}).get("base")
    ranking = _Ranking(names, min(n_genes or len(names), len(names)), rankby_abs, corr_method)
    for group, scores, p_values in tests:
        ranking.add(tested.order[group], scores, p_values, found.fold_changes(group, base))
    params = {
        "groupby": groupby,
        "reference": reference,
        "method": method,
        "use_raw": use_raw,
        "layer": layer,
        "corr_method": corr_method,
    }
    shares = _shares(found, names) if pts else {}
    adata.uns[key_added or "rank_genes_groups"] = {
        "params": params,
        **shares,
        **ranking.tables(),
    }
    return adata if copy else None


class _Ranking:
    """The genes of each group, the best first."""

    def __init__(self, names: pd.Index, n_top: int, by_abs: bool, corr_method: str):
        self.names, self.n_top = names, n_top
        self.by_abs, self.corr_method = by_abs, corr_method
        self._columns: dict[str, dict[str, np.ndarray]] = {}

    def add(
        self, group: Any, scores: np.ndarray, p_values: np.ndarray, fold_changes: np.ndarray
    ) -> None:
        top = _top(np.abs(scores) if self.by_abs else scores, self.n_top)
        columns = {
            "names": self.names.to_numpy(dtype=object),
            "scores": scores.astype(np.float32),
            "pvals": p_values,
            "pvals_adj": _adjusted(p_values, self.corr_method),
            "logfoldchanges": fold_changes.astype(np.float32),
        }
        for column, values in columns.items():
            self._columns.setdefault(column, {})[str(group)] = values[top]

    def tables(self) -> dict[str, np.recarray]:
        """Record arrays of ranks × groups, as scanpy stores them."""
        return {
            column: pd.DataFrame(groups).to_records(index=False)
            for column, groups in self._columns.items()
        }


def _shares(found: _Statistics, names: pd.Index) -> dict[str, pd.DataFrame]:
    """The shares of cells that have each gene: genes × groups, and of all other cells."""
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
        #: The rest of the cells is one more group.
        codes = np.array([place.get(c, self.n) for c in categories] + [self.n], dtype=np.int32)
        self.codes = codes[labels.cat.codes.to_numpy()]
        self.sizes = np.bincount(self.codes, minlength=self.n + 1)
        self.reference = None if reference == "rest" else place[reference]
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
    """Means and variances of each group and of the rest, from one pass."""

    def __init__(self, matrix: MatrixPlan, groups: _Groups):
        self.matrix, self.groups = matrix, groups
        moments = reduce.grouped(matrix, groups.codes, groups.n + 1)
        self._counts = groups.sizes[:, None].astype(np.float64)
        self._totals, self._squares = moments.total, moments.squares
        self._nonzero = moments.nnz.astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            self._means = np.nan_to_num(moments.total / self._counts)

    def of(self, group: int) -> tuple[float, np.ndarray, np.ndarray]:
        """Cells, mean and variance (with n - 1)."""
        n = self._counts[group, 0]
        return n, self._means[group], self._squares[group] / (n - 1)

    def other(self, group: int) -> tuple[float, np.ndarray, np.ndarray]:
        """The same of what the group is compared with."""
        if self.groups.reference is not None:
            return self.of(self.groups.reference)
        others = np.arange(len(self._counts)) != group
        n = self._counts[others].sum()
        mean = self._totals[others].sum(axis=0) / n
        apart = self._counts[others] * (self._means[others] - mean) ** 2
        squares = (self._squares[others] + apart).sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return n, mean, squares / (n - 1)

    def fold_changes(self, group: int, base: float | None) -> np.ndarray:
        """log2 of the ratio of the means, logarithms undone."""
        scale = 1.0 if base is None else np.log(base)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            means = (self.of(group)[1], self.other(group)[1])
            undone = [np.expm1(mean * scale) + 1e-9 for mean in means]
            return np.log2(undone[0] / undone[1])

    def shares(self) -> np.ndarray:
        """Of the cells of each group, those that have each gene."""
        return self._nonzero[: self.groups.n] / self._counts[: self.groups.n]

    def shares_rest(self) -> np.ndarray:
        rest = self._nonzero.sum(axis=0) - self._nonzero[: self.groups.n]
        return rest / (self._counts.sum() - self._counts[: self.groups.n])

    def t_test(self, method: str) -> Iterable[tuple[int, np.ndarray, np.ndarray]]:
        """Welch's; see scipy's `ttest_ind_from_stats`."""
        from scipy import stats

        for group in self.groups.tested():
            n, mean, variance = self.of(group)
            n_other, mean_other, variance_other = self.other(group)
            if method == "t-test_overestim_var":
                n_other = n
            with np.errstate(invalid="ignore", divide="ignore"):
                scores, p_values = stats.ttest_ind_from_stats(
                    mean,
                    np.sqrt(variance),
                    n,
                    mean_other,
                    np.sqrt(variance_other),
                    n_other,
                    equal_var=False,
                )
            yield group, np.nan_to_num(scores, nan=0.0), np.where(np.isnan(p_values), 1, p_values)

    def wilcoxon(self, tie_correct: bool) -> Iterable[tuple[int, np.ndarray, np.ndarray]]:
        """Rank sums with the normal approximation."""
        from scipy.stats import norm

        groups = self.groups
        whole = groups.reference is None
        ranks = self._ranks(groups.codes, groups.n + 1) if whole else None
        for group in groups.tested():
            n = float(groups.sizes[group])
            if ranks is not None:
                (sums, ties), at, total = ranks, group, float(len(groups.codes))
            else:
                pair = np.full(len(groups.codes), -1, dtype=np.int32)
                pair[groups.codes == group], pair[groups.codes == groups.reference] = 0, 1
                sums, ties = self._ranks(pair, 2)
                at, total = 0, n + float(groups.sizes[groups.reference])
            coefficient = 1.0 - ties / (total**3 - total) if tie_correct else 1.0
            spread = np.sqrt(coefficient * n * (total - n) * (total + 1) / 12.0)
            with np.errstate(invalid="ignore", divide="ignore"):
                scores = (sums[:, at] - n * (total + 1) / 2.0) / spread
            scores = np.where(np.isnan(scores), 0.0, scores)
            yield group, scores, 2 * norm.sf(np.abs(scores))

    def _ranks(self, codes: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Rank sums, genes × groups, and the ties of each gene."""
        width, step = self.matrix.shape[1], columns_of_a_block(self.matrix)
        genes = [range(start, min(start + step, width)) for start in range(0, width, step)]
        found = list(each(_ranked, [_Ranks(self.matrix, part, codes, n) for part in genes]))
        return tuple(map(np.concatenate, zip(*found, strict=True)))


@dataclass(frozen=True)
class _Ranks:
    """Of which genes of all cells rank sums are wanted, for which groups."""

    matrix: MatrixPlan
    genes: range
    codes: np.ndarray
    n: int

    def __getstate__(self) -> dict[str, Any]:
        # What is sent is of these genes alone.
        part = self.matrix.sent(range(self.matrix.shape[0]), self.genes)
        return {**self.__dict__, "matrix": part, "genes": range(len(self.genes))}


def _ranked(task: _Ranks) -> tuple[np.ndarray, np.ndarray]:
    """Rank sums, genes × groups, and ties."""
    columns = sparse.csc_matrix(task.matrix[:, task.genes.start : task.genes.stop].compute("csc"))
    indices, data = columns.indices.astype(np.int32, copy=False), engine_values(columns.data)
    sums, ties = _slaf.rank_sums((columns.indptr, indices, data), task.codes, task.n)
    return sums.reshape(-1, task.n), ties


def _top(scores: np.ndarray, n: int) -> np.ndarray:
    partition = np.argpartition(scores, -n)[-n:]
    return partition[np.argsort(scores[partition])[::-1]]


def _adjusted(p_values: np.ndarray, method: str) -> np.ndarray:
    if method == "bonferroni":
        return np.minimum(p_values * len(p_values), 1.0)
    from scipy.stats import false_discovery_control

    return false_discovery_control(p_values)
