"""Turns scanpy's functions into functions of lazy handles, with a clear error if scanpy is
not installed."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData, ImplicitModificationWarning

from slaf.lazy.handle import LazyHandle

try:
    import scanpy
except ImportError:
    raise ImportError("`slaf.pl` draws with scanpy: `pip install scanpy`.") from None

#: The arguments of a plot, by name.
Given = dict[str, Any]


def drawn(function: Callable[..., Any], **own: Any) -> Callable[..., Any]:
    """Makes `draw(handle, given)` a plot with the parameters and docstring of scanpy's
    `function`, and the defaults of its `own` parameters. What is not a handle is passed
    to scanpy."""

    def decorate(draw: Callable[[LazyHandle, Given], Any]) -> Callable[..., Any]:
        signature = inspect.signature(function)

        @wraps(function)
        def plot(adata: Any, *args: Any, **kwargs: Any) -> Any:
            if not isinstance(adata, LazyHandle):
                require_data(adata)
                return function(adata, *args, **kwargs)
            named = list(signature.bind_partial(adata, *args).arguments.items())[1:]
            given = {**own, **dict(named), **kwargs}
            _require_all(function, signature, given)
            return draw(adata, given)

        plot.__module__ = draw.__module__
        plot.__signature__ = _with(signature, own)  # type: ignore[attr-defined]
        plot.__doc__ = f"{draw.__doc__}\n\nOf scanpy:\n\n{inspect.getdoc(function)}"
        return plot

    return decorate


def require_data(adata: Any) -> None:
    """Raises
    ------
    TypeError
        `adata` is neither a handle nor anything that scanpy draws.
    """
    if not (hasattr(adata, "obsm") or isinstance(adata, (pd.DataFrame, np.ndarray))):
        raise TypeError(
            f"slaf.pl draws lazy handles and AnnData objects, not {type(adata).__name__}. "
            "A handle of a dataset is `read_slaf(path)`."
        )


def _require_all(function: Any, signature: inspect.Signature, given: Given) -> None:
    of_all = list(signature.parameters.values())[1:]
    needed = [p.name for p in of_all if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    if missing := [name for name in needed if name not in given]:
        raise TypeError(f"`{function.__name__}` needs `{'` and `'.join(missing)}`.")


def _with(signature: inspect.Signature, own: Given) -> inspect.Signature:
    """The signature with one more keyword for each of `own`."""
    kind = inspect.Parameter.KEYWORD_ONLY
    more = [inspect.Parameter(name, kind, default=value) for name, value in own.items()]
    known = list(signature.parameters.values())
    at = len(known) - (known[-1].kind is inspect.Parameter.VAR_KEYWORD)
    return signature.replace(parameters=[*known[:at], *more, *known[at:]])


@contextmanager
def lent(handle: LazyHandle, part: AnnData) -> Iterator[None]:
    """Copies colours and similar entries that scanpy adds to `part.uns` to the handle."""
    before = dict(part.uns)
    yield
    for key, value in part.uns.items():
        if before.get(key) is not value:
            keep(handle, key, value)


def keep(handle: LazyHandle, key: str, value: Any) -> None:
    """Sets `uns[key]`. For this, a view becomes an independent handle, as in AnnData,
    but without a warning, because the user only asked for a plot."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImplicitModificationWarning)
        handle.uns[key] = value


def finish(name: str, given: Given) -> bool:
    """Saves and shows the current figure as scanpy's plots do; returns whether it was
    shown."""
    from scanpy.plotting._utils import savefig_or_show

    show = given.get("show")
    savefig_or_show(name, show=show, save=given.get("save"))
    return scanpy.settings.autoshow if show is None else show
