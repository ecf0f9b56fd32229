"""Transfers labels and embeddings from one dataset to the cells of another, with scanpy's
`Ingest`."""

from __future__ import annotations

from collections.abc import Iterable
from traceback import extract_tb
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from slaf.lazy import reduce
from slaf.lazy.handle import LazyHandle
from slaf.pp.graph import scanpy_for
from slaf.pp.handles import matrix_of, own, require

if TYPE_CHECKING:
    from anndata import AnnData


def ingest(
    adata: LazyHandle,
    adata_ref: LazyHandle,
    *,
    obs: str | Iterable[str] | None = None,
    embedding_method: str | Iterable[str] = ("umap", "pca"),
    labeling_method: str = "knn",
    neighbors_key: str | None = None,
    inplace: bool = True,
    **kwargs: Any,
) -> LazyHandle | None:
    """Maps labels and embeddings of a reference to the cells of `adata`: scanpy's
    `tl.ingest`. X of `adata` is projected on the principal components of the reference,
    block by block (two passes), and scanpy continues with the result. X of the reference
    is not read.

    Parameters
    ----------
    adata_ref
        The reference, after `pp.pca`, `pp.neighbors` and, for "umap", `tl.umap`. It needs
        the genes of `adata` in the same order.
    obs
        Columns of the reference's obs.
    embedding_method
        "umap", "pca" or both.
    neighbors_key
        The key of the reference's uns with the neighbours.
    kwargs
        As in scanpy: `k`, `queue_size`, `epsilon`, `random_state`.

    Returns
    -------
    With `inplace=False`, a copy of `adata`. Sets `obs[...]`, `obsm["X_umap"]`,
    `obsm["X_pca"]` and `obsm["rep"]`.

    Raises
    ------
    ValueError
        The genes differ, the reference lacks components or neighbours, or its neighbours
        were computed on X.
    KeyError
        The reference has no such column.
    ImportError
        scanpy is not installed, or does not work with the installed pynndescent.
    """
    from anndata import AnnData

    require(adata)
    require(adata_ref)
    scanpy = scanpy_for("tl.ingest")
    labels = [obs] if isinstance(obs, str) else list(obs or ())
    methods = [embedding_method] if isinstance(embedding_method, str) else list(embedding_method)
    key = neighbors_key or "neighbors"
    _check(adata, adata_ref, methods, key)
    reference = _reference(adata_ref, labels, key, scanpy.settings.N_PCS)
    new = AnnData(
        _projected(adata, adata_ref),
        obs=pd.DataFrame(index=adata.obs_names),
        var=reference.var,
        obsm=_own_array(adata, reference.uns[key]["params"]),
    )
    options = {"obs": labels or None, "embedding_method": methods, "neighbors_key": neighbors_key}
    try:
        scanpy.tl.ingest(new, reference, labeling_method=labeling_method, **options, **kwargs)
    except TypeError as error:
        if "make_forest" not in {frame.name for frame in extract_tb(error.__traceback__)}:
            raise
        raise ImportError(
            f"scanpy {scanpy.__version__} does not ingest with this pynndescent: "
            "`pip install 'pynndescent<0.7'`. `slaf.tl.transfer_labels` needs neither."
        ) from None
    if not inplace:
        adata = adata.copy()
    own(adata)
    for name, array in new.obsm.items():
        adata.obsm[name] = array
    for name in labels:
        adata.obs[name] = new.obs[name].array
    return None if inplace else adata


def _check(adata: LazyHandle, ref: LazyHandle, methods: list[str], key: str) -> None:
    if not ref.var_names.str.upper().equals(adata.var_names.str.upper()):
        raise ValueError(
            "The reference has other genes. Take those that both have: "
            "`both = ref.var_names.intersection(handle.var_names)`, `ref[:, both]`, "
            "`handle[:, both]`."
        )
    needed = {"pca": ref.uns, key: ref.uns, "PCs": ref.varm, "X_pca": ref.obsm}
    if "umap" in methods:
        needed["X_umap"] = ref.obsm
    made = {"pca": "pp.pca", "PCs": "pp.pca", "X_pca": "pp.pca", "X_umap": "tl.umap"}
    for name, section in needed.items():
        if name not in section:
            raise ValueError(
                f"The reference has no {name!r}: run `{made.get(name, 'pp.neighbors')}` on it first."
            )


def _reference(ref: LazyHandle, labels: list[str], key: str, most: int) -> AnnData:
    """The reference as an AnnData whose genes are the components. Its loadings are the
    identity, so that scanpy's projection leaves the projected cells as they are."""
    from anndata import AnnData

    n = ref.varm["PCs"].shape[1]
    neighbors = dict(ref.uns[key])
    params = neighbors["params"] = dict(neighbors["params"])
    if "use_rep" not in params and "n_pcs" not in params:
        if ref.n_vars <= most:
            params["use_rep"] = "X"
        else:
            params["n_pcs"] = min(most, n)
    if params.get("use_rep") == "X":
        raise ValueError(
            "The neighbours of the reference are those of X, which is not read. Make them of "
            "components: `pp.neighbors(ref, use_rep='X_pca')`."
        )
    pca = {"params": {"zero_center": False, "use_highly_variable": False}}
    distances = neighbors.get("distances_key", "distances")
    uns = {"pca": pca, key: neighbors}
    if "umap" in ref.uns:
        uns["umap"] = ref.uns["umap"]
    return AnnData(
        ref.obsm["X_pca"],
        obs=ref.obs[labels] if labels else pd.DataFrame(index=ref.obs_names),
        var=pd.DataFrame(index=[f"PC{at + 1}" for at in range(n)]),
        varm={"PCs": np.eye(n)},
        obsm={name: ref.obsm[name] for name in _arrays(ref, params)},
        obsp={distances: ref.obsp[distances]},
        uns=uns,
    )


def _arrays(ref: LazyHandle, params: dict[str, Any]) -> list[str]:
    wanted = {"X_pca", "X_umap", str(params.get("use_rep"))}
    return [name for name in ref.obsm if name in wanted]


def _own_array(adata: LazyHandle, params: dict[str, Any]) -> dict[str, Any]:
    """The array of obsm in which neighbours are searched, unless it is X or the
    components."""
    name = str(params.get("use_rep", "X_pca"))
    if name in adata.obsm and "use_rep" in params:
        return {name: adata.obsm[name]}
    if name != "X_pca":
        raise ValueError(
            f"The neighbours of the reference are those of obsm[{name!r}], and the handle has none."
        )
    return {}


def _projected(adata: LazyHandle, ref: LazyHandle) -> np.ndarray:
    """Cells × components: X times the loadings. X is centred if the reference was."""
    loadings = np.asarray(ref.varm["PCs"], dtype=np.float64)
    used = np.flatnonzero(loadings.any(axis=1))
    part = matrix_of(adata)[:, used]
    scores = np.asarray(reduce.times(part, loadings[used]))
    if ref.uns["pca"]["params"]["zero_center"]:
        scores = scores - reduce.moments(part, 0).mean() @ loadings[used]
    return scores
