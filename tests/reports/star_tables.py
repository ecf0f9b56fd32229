"""The tables of a dataset in memory, made from its AnnData."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
from scipy import sparse

OBS = ["cell_id", "cell_type", "batch", "doublet", "score", "donor", "age"]
VAR = ["gene_id", "symbol", "mt"]


def texts(column: pd.Series) -> pl.Series:
    return pl.Series([None if pd.isna(text) else str(text) for text in column], dtype=pl.String)


def obs_of(adata: ad.AnnData, cells: np.ndarray | None = None) -> pl.DataFrame:
    obs = adata.obs
    ids = np.arange(adata.n_obs) if cells is None else cells
    score = [None if np.isnan(x) else x for x in obs["score"]]
    return pl.DataFrame(
        {
            "cell_integer_id": pl.Series(ids, dtype=pl.UInt32),
            "cell_id": texts(pd.Series(adata.obs_names)),
            "cell_type": texts(obs["cell_type"]),
            "batch": texts(obs["batch"]),
            "doublet": pl.Series(obs["doublet"].to_numpy()),
            "score": pl.Series(score, dtype=pl.Float64),
            "donor": texts(obs["donor"]),
            "age": pl.Series([None if x is pd.NA else int(x) for x in obs["age"]], dtype=pl.Int64),
        }
    )


def var_of(adata: ad.AnnData, genes: np.ndarray | None = None) -> pl.DataFrame:
    ids = np.arange(adata.n_vars) if genes is None else genes
    return pl.DataFrame(
        {
            "gene_integer_id": pl.Series(ids, dtype=pl.UInt32),
            "gene_id": texts(pd.Series(adata.var_names)),
            "symbol": texts(adata.var["symbol"]),
            "mt": pl.Series(adata.var["mt"].to_numpy()),
        }
    )


def star(x, obs: pl.DataFrame, var: pl.DataFrame) -> pl.DataFrame:
    """The long table of a matrix; of a dense one, of all its values."""
    if sparse.issparse(x):
        x = sparse.csr_matrix(x)
        x.sort_indices()
        cell = np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))
        gene, value = x.indices, x.data
    else:
        cell, gene = np.indices(x.shape).reshape(2, -1)
        value = x.ravel()
    obs, var = obs[cell], var[gene]
    return pl.concat(
        [
            obs.select("cell_integer_id"),
            var.select("gene_integer_id"),
            pl.DataFrame({"value": value}),
            obs.drop("cell_integer_id"),
            var.drop("gene_integer_id"),
        ],
        how="horizontal",
    )
