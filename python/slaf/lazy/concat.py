"""Joins handles along the cells, as `anndata.concat` joins AnnData objects."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from slaf._slaf import SlafError
from slaf.lazy.columns import Framed
from slaf.lazy.concat_arrays import Diagonal, Joined, Stacked, StackedVectors
from slaf.lazy.content import Content
from slaf.lazy.frame import frame_of, whole
from slaf.lazy.handle import LazyHandle
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.readers import held, held_pairs
from slaf.lazy.sources import Held
from slaf.lazy.state import HandleState, state_of
from slaf.lazy.steps import Step

if TYPE_CHECKING:
    import anndata

    Merge = str | Callable[[list[Mapping[str, Any]]], Mapping[str, Any]] | None


def concat(
    adatas: Iterable[LazyHandle] | Mapping[str, LazyHandle],
    *,
    axis: str | int = "obs",
    join: str = "inner",
    merge: Merge = None,
    uns_merge: Merge = None,
    label: str | None = None,
    keys: Iterable[str] | None = None,
    index_unique: str | None = None,
    fill_value: Any = None,
    pairwise: bool = False,
) -> LazyHandle:
    """Joins several handles along the cells, lazily: X, layers, obsm, obsp and raw are
    read from their datasets on demand. Parameters and results are those of
    `anndata.concat` on `to_adata()` of the handles.

    Parameters
    ----------
    adatas
        The handles, or a mapping whose keys are `keys`.
    axis
        "obs". To join genes, join the handles' transposes: `concat([a.T, b.T]).T`.
    join
        "inner" keeps the genes (and layers, columns, embeddings) that all handles have,
        "outer" those that any handle has.
    merge, uns_merge
        How to merge var columns, varm and varp, and uns: None, "same", "unique",
        "first" or "only".
    label, keys
        The name of a new obs column, and its value for each handle.
    index_unique
        The separator between a cell's name and its handle's key, to make names unique.
    fill_value
        The value for genes, layers, columns or embeddings that a handle lacks, with
        `join="outer"`: by default zero in sparse matrices and NaN elsewhere.
    pairwise
        Whether to keep obsp. There are no edges between handles.

    Raises
    ------
    SlafError
        The handles cannot be joined: some have no X, a handle has several genes of the
        same name, or an embedding is a frame in one and an array in another.
    """
    if axis not in ("obs", 0):
        raise SlafError(
            f"`slaf.concat` joins cells, not the axis {axis!r}. To join genes, join the "
            "transposes: `slaf.concat([a.T, b.T]).T`."
        )
    if isinstance(adatas, Mapping):
        if keys is not None:
            raise TypeError("Give `keys`, or a mapping of handles, not both.")
        keys, adatas = list(adatas), list(adatas.values())
    # Copies, independent of later changes to the handles.
    adatas = [_checked(handle) for handle in adatas]
    states = [state_of(handle).copy() for handle in adatas]
    names = {
        "label": label,
        "keys": list(map(str, range(len(states)))) if keys is None else list(keys),
        "index_unique": index_unique,
    }
    _check(states, join, names["keys"])
    joined = _joined(states, join, merge, uns_merge, names, fill_value, pairwise)
    return type(adatas[0]).over(joined)


def _checked(handle: Any) -> LazyHandle:
    if not isinstance(handle, LazyHandle):
        raise TypeError(
            f"`slaf.concat` takes lazy handles, not {type(handle).__name__}; for AnnData "
            "objects there is `anndata.concat`."
        )
    return handle


def _check(states: list[HandleState], join: str, keys: list[Any]) -> None:
    if not states:
        raise SlafError("There is nothing to concatenate.")
    if join not in ("inner", "outer"):
        raise SlafError(f"`join` is 'inner' or 'outer', not {join!r}.")
    if len(keys) < len(states) or len(set(keys)) < len(keys):
        raise SlafError(
            f"`keys` needs a name for each of the {len(states)} handles, without repeats."
        )
    for key, state in zip(keys, states, strict=False):
        if not state.names(1).is_unique:
            twice = state.names(1)[state.names(1).duplicated()][0]
            raise SlafError(
                f"Handle {key!r} has the gene {twice!r} twice, and genes are joined by their "
                "names. Call its `var_names_make_unique()` first."
            )
    lacking = [key for key, state in zip(keys, states, strict=False) if state.x is None]
    if 0 < len(lacking) < len(states):
        raise SlafError(
            f"Handle {lacking[0]!r} has no X, and others have one. Leave it out, or set X of all "
            "of them."
        )


def _joined(
    states: list[HandleState],
    join: str,
    merge: Merge,
    uns_merge: Merge,
    names: dict[str, Any],
    fill_value: Any,
    pairwise: bool,
) -> HandleState:
    import anndata

    samples = [_sample(state, pairwise) for state in states]
    _check_kinds([sample.obsm for sample in samples], join, names["keys"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        how = {"join": join, "fill_value": fill_value, "pairwise": pairwise}
        sample = anndata.concat(samples, **how)
    joined = anndata.concat(
        [_without_matrices(state, merge, uns_merge) for state in states],
        join=join,
        merge=merge,
        uns_merge=uns_merge,
        fill_value=fill_value,
        **names,
    )
    content = Content((joined.n_obs, joined.n_vars))
    for axis in ("obs", "var"):
        content.frames[axis] = frame_of(axis, Framed(getattr(joined, axis)))
    content.uns = copy.deepcopy(dict(joined.uns))
    content.arrays["varm"] = {k: held(copy.deepcopy(v)) for k, v in joined.varm.items()}
    content.arrays["varp"] = {k: held_pairs(copy.deepcopy(v)) for k, v in joined.varp.items()}
    content.arrays["obsp"] = {k: Diagonal(states, k, v.dtype) for k, v in sample.obsp.items()}
    for key, value in sample.obsm.items():
        content.arrays["obsm"][key] = _rows(states, samples, key, value, join, fill_value)
    genes = [state.names(1).get_indexer(joined.var_names) for state in states]
    if sample.X is not None:
        matrices = [state.x for state in states]
        content.x = _matrix(content, states, matrices, genes, sample.X, fill_value)
    for key, value in sample.layers.items():
        if key is not None:  # anndata 0.13's name for X
            matrices = [state.held("layers").get(key) for state in states]
            content.layers[key] = _matrix(content, states, matrices, genes, value, fill_value)
    content.raw = _raw(states, join, names, fill_value)
    return HandleState(content)


def _sample(state: HandleState, pairwise: bool) -> anndata.AnnData:
    """The first cell, with only the dtypes of its matrices: anndata's result for it
    shows the result for all cells."""
    import anndata

    head = state.at(range(min(1, state.shape[0])), range(state.shape[1]))

    def empty(matrix: MatrixPlan) -> Any:
        return (np.zeros if matrix.is_dense else sparse.csr_matrix)(head.shape, dtype=matrix.dtype)

    layers = state.held("layers")
    return anndata.AnnData(
        X=None if state.x is None else empty(state.x),
        obs=pd.DataFrame(index=head.names(0)),
        var=pd.DataFrame(index=state.names(1)),
        obsm=_values(head, "obsm"),
        obsp=_values(head, "obsp") if pairwise else None,
        layers={key: empty(layer) for key, layer in layers.items()},
        shape=head.shape if state.x is None else None,
    )


def _values(state: HandleState, section: str) -> dict[str, Any]:
    return {key: state.value(section, key) for key in state.held(section)}


def _without_matrices(state: HandleState, merge: Merge, uns_merge: Merge) -> anndata.AnnData:
    """obs, and those parts of the rest that `merge` and `uns_merge` can keep."""
    import anndata

    kept = merge is not None
    return anndata.AnnData(
        obs=whole(state.frame("obs")),
        var=whole(state.frame("var")) if kept else pd.DataFrame(index=state.names(1)),
        varm=_values(state, "varm") if kept else None,
        varp=_values(state, "varp") if kept else None,
        uns=None if uns_merge is None else dict(state.uns),
        shape=state.shape,
    )


def _check_kinds(found: list[Mapping[str, Any]], join: str, keys: list[Any]) -> None:
    for name in dict.fromkeys(name for obsm in found for name in obsm):
        kinds: dict[str, Any] = {}
        for key, obsm in zip(keys, found, strict=False):
            if name in obsm:
                kinds.setdefault(_kind(obsm[name]), key)
            elif join == "inner":
                break
        else:
            if len(kinds) > 1:
                listed = " and ".join(f"{kind} in handle {key!r}" for kind, key in kinds.items())
                raise SlafError(
                    f"`obsm/{name}` is {listed}, and these cannot be joined. Bring it to one kind, "
                    "or delete it from one of them."
                )


def _kind(value: Any) -> str:
    if isinstance(value, pd.DataFrame):
        return "a table"
    return "an array" if isinstance(value, np.ndarray) or sparse.issparse(value) else "nested"


def _rows(
    states: list[HandleState],
    samples: list[anndata.AnnData],
    key: str,
    value: Any,
    join: str,
    fill_value: Any,
) -> StackedVectors | Joined:
    """Joins an embedding: arrays of floats, which can be in files, by rows; anything
    else, which is in memory, with anndata."""
    found = [sample.obsm[key] for sample in samples if key in sample.obsm]
    if all(isinstance(v, np.ndarray) and v.ndim == 2 and v.dtype.kind == "f" for v in found):
        fill = np.nan if fill_value is None else fill_value
        return StackedVectors(states, key, value.shape[1], value.dtype, fill)
    return Joined(states, key, join, fill_value)


def _matrix(
    content: Content,
    states: list[HandleState],
    matrices: list[MatrixPlan | None],
    genes: list[np.ndarray],
    sample: Any,
    fill_value: Any,
) -> MatrixPlan:
    dense = not sparse.issparse(sample)
    fill = (np.nan if dense else 0) if fill_value is None else fill_value
    parts, columns = [], []
    for state, matrix, places in zip(states, matrices, genes, strict=True):
        if matrix is None:
            matrix = MatrixPlan.of(Held(sparse.csr_matrix((state.shape[0], 0))))
            places = np.full(len(places), -1)
        # Names are the whole's.
        parts.append(matrix.named(None))
        columns.append(places)
    stacked = Stacked(parts, columns, sample.dtype, fill)
    joined = MatrixPlan.of(stacked, content.names)
    return joined.after(Step("subtract", np.zeros(joined.shape[1]))) if dense else joined


def _raw(
    states: list[HandleState], join: str, names: dict[str, Any], fill_value: Any
) -> HandleState | None:
    raws = [state.raw for state in states]
    if None not in raws:
        parts = [_plain(state, raw) for state, raw in zip(states, raws, strict=True)]
        try:
            _check(parts, join, names["keys"])
        except SlafError as error:
            raise SlafError(f"`raw` cannot be joined. {error}") from None
        return _joined(parts, join, None, None, names, fill_value, False)
    if any(raw is not None for raw in raws):
        warnings.warn(
            "Only some AnnData objects have `.raw` attribute, not concatenating `.raw` attributes.",
            UserWarning,
            stacklevel=4,
        )
    return None


def _plain(state: HandleState, raw: HandleState) -> HandleState:
    """X and the names of `raw`; nothing else of raw is joined."""
    content = Content(raw.shape)
    frames = {"obs": state.names(0), "var": raw.names(1)}
    for axis, index in frames.items():
        content.frames[axis] = frame_of(axis, Framed(pd.DataFrame(index=index)))
    content.x = raw.x
    return HandleState(content)
