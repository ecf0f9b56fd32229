"""scanpy's functions on embeddings and graphs, for a handle. They never use the matrix, so
they run on an AnnData without one, and their results are copied to the handle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slaf.lazy.frame import whole
from slaf.lazy.handle import LazyHandle
from slaf.pp.handles import own, require


def without_matrix(part: str, name: str) -> Callable[..., Any]:
    """`scanpy.<part>.<name>` for lazy handles."""

    def call(adata: LazyHandle, *args: Any, copy: bool = False, **kwargs: Any) -> Any:
        require(adata)
        function = getattr(getattr(scanpy_for(f"{part}.{name}"), part), name)
        if copy:
            adata = adata.copy()
        own(adata)
        bare = _bare(adata)
        before = {section: dict(getattr(bare, section)) for section in _SECTIONS}
        obs = dict(bare.obs.items())
        returned = function(bare, *args, **kwargs)
        for column, values in bare.obs.items():
            if column not in obs or not values.equals(obs[column]):
                adata.obs[column] = values.array
        for section in _SECTIONS:
            for key, value in getattr(bare, section).items():
                if before[section].get(key) is not value:
                    getattr(adata, section)[key] = value
        return adata if copy else returned

    call.__name__ = call.__qualname__ = name
    call.__doc__ = (
        f"scanpy's `{part}.{name}` on a lazy handle: X is not read. Parameters, and what is set "
        "in obs, obsm, obsp and uns, are scanpy's.\n\n"
        "Raises\n------\nImportError\n    scanpy is not installed."
    )
    return call


_SECTIONS = ("obsm", "obsp", "uns")


def _bare(adata: LazyHandle) -> Any:
    import anndata

    return anndata.AnnData(
        obs=whole(adata.obs),
        obsm=dict(adata.obsm),
        obsp=dict(adata.obsp),
        uns=dict(adata.uns),
        shape=adata.shape,
    )


def scanpy_for(called: str) -> Any:
    """The module scanpy, for the function `called`.

    Raises
    ------
    ImportError
        scanpy is not installed.
    """
    try:
        import scanpy
    except ImportError:
        raise ImportError(f"`{called}` needs scanpy: `pip install scanpy`.") from None
    return scanpy
