"""scanpy's `get` on lazy handles: tables of what is named, and sums of groups, without
reading the rest."""

from slaf.get.aggregated import aggregate
from slaf.get.frames import obs_df, var_df
from slaf.get.ranked import rank_genes_groups_df

__all__ = ["aggregate", "obs_df", "rank_genes_groups_df", "var_df"]
