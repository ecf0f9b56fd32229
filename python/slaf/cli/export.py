"""`slaf export`."""

from __future__ import annotations

import argparse

from slaf.cli.arguments import version_option
from slaf.cli.job import Job

SUMMARY = "write an h5ad file, in limited memory"
EPILOG = """\
examples:
  slaf export pbmc.slaf pbmc.h5ad --compression gzip
  slaf export pbmc.slaf b_cells.h5ad --cells "louvain = 'B cells'"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset")
    parser.add_argument("output", help="the h5ad file")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_argument("--compression", choices=["gzip", "lzf"])
    parser.add_argument("--cells", metavar="SQL", help="only cells that meet this condition")
    version_option(parser)


def run(options: argparse.Namespace) -> None:
    from slaf.data.exporter import export_h5ad
    from slaf.data.selection import selected
    from slaf.dataset import Dataset

    job = Job()
    whole = Dataset.open(options.dataset, options.version)
    handle = selected(whole, where=options.cells)
    export_h5ad(
        handle,
        options.output,
        overwrite=options.overwrite,
        compression=options.compression,
    )
    job.done(f"{options.output}:", handle.shape)
