"""The lazy handle: where its values come from, which steps are applied to them, and the
AnnData attributes around them.

`slaf.integrations.anndata` is its public module."""
