"""`slaf convert`."""

from __future__ import annotations

import argparse

from slaf.cli.arguments import (
    how_inputs_are_read,
    input_options,
    inputs,
    worker_options,
    workers,
)
from slaf.cli.job import Job

SUMMARY = "convert files to a dataset"
EPILOG = """\
INPUT is an h5ad, h5mu or zarr AnnData, a 10x h5 file, a folder or prefix of
matrix.mtx, barcodes.tsv and features.tsv (10x, GEO), an output folder of
STARsolo, kb, alevin-fry or Parse, a SLAF dataset, a TileDB-SOMA experiment, or
a folder that contains some of these. Several inputs become one dataset: genes
are matched by id, and `source_file` says where a cell is from (`source_file_1`,
if obs already has such a column).

If a conversion is interrupted, run it again to continue where it stopped. There
is no dataset at OUTPUT until it is complete.

examples:
  slaf convert pbmc.h5ad pbmc.slaf
  slaf convert filtered_feature_bc_matrix/ sample.slaf
  slaf convert GSM123_sampleA_ a.slaf
  slaf convert pbmc.h5mu rna.slaf --modality rna
  slaf convert runs/ all.slaf --join inner --unique-cells
  slaf convert all.slaf t_cells.slaf --cells "cell_type = 'T cell'"
  slaf convert all.slaf shuffled.slaf --shuffle 0
  slaf convert donors/ all.slaf --workers dask --address tcp://head:8786
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", nargs="+")
    parser.add_argument("output", help="the dataset to make")
    input_options(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace an existing dataset")
    parser.add_argument(
        "--join",
        choices=["outer", "inner"],
        default="outer",
        help="for several inputs: all genes (outer) or the shared ones (inner)",
    )
    parser.add_argument(
        "--counts",
        action=argparse.BooleanOptionalAction,
        help="raise an error if X is not counts (default for 10x files)",
    )
    parser.add_argument(
        "--no-gene-index", action="store_true", help="do not write the copy of X sorted by gene"
    )
    parser.add_argument(
        "--cells", metavar="SQL", help="of a SLAF input, only the cells that meet this condition"
    )
    parser.add_argument(
        "--shuffle",
        metavar="SEED",
        type=int,
        help="of a SLAF input, the cells in random order with this seed",
    )
    worker_options(parser)


def run(options: argparse.Namespace) -> None:
    from slaf.data import SLAFConverter
    from slaf.data.selection import selected
    from slaf.dataset import Dataset

    written = {"overwrite": options.overwrite, "gene_index": not options.no_gene_index}
    job = Job()
    with workers(options):
        if options.cells is not None or options.shuffle is not None:
            if len(options.input) != 1:
                raise ValueError("--cells and --shuffle take one SLAF dataset as input.")
            whole = Dataset.open(options.input[0])
            handle = selected(whole, where=options.cells, seed=options.shuffle)
            SLAFConverter().convert_handle(handle, options.output, **written)
        else:
            SLAFConverter().convert(
                inputs(options),
                options.output,
                options.format,
                join=options.join,
                counts=options.counts,
                **how_inputs_are_read(options),
                **written,
            )
    job.done_with(options.output)
