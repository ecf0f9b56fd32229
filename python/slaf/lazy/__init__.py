"""The lazy handle, room by room: where values come from, what is done to them
once they are read, and the AnnData around them.

`slaf.integrations.anndata` is the public face."""
