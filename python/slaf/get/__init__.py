"""scanpy's `get` on lazy handles: tables of named columns, and aggregates of groups. No other
columns are read."""

from slaf.get.aggregated import aggregate
from slaf.get.frames import obs_df, var_df
from slaf.get.ranked_genes import rank_genes_groups_df

__all__ = ["aggregate", "obs_df", "rank_genes_groups_df", "var_df"]
