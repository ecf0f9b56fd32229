"""`slaf index`."""

from __future__ import annotations

import argparse

from slaf.cli.arguments import worker_options, workers
from slaf.cli.job import Job

SUMMARY = "write the copy of X sorted by gene and the sums again, or build an index of vectors"
EPILOG = """\
examples:
  slaf index atlas.slaf
  slaf index atlas.slaf --workers dask --address tcp://head:8786
  slaf index atlas.slaf --vector X_pca --metric cosine
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset")
    parser.add_argument("--no-gene-index", action="store_true", help="write only the sums")
    parser.add_argument("--vector", metavar="KEY", help="index an embedding in obsm or varm")
    parser.add_argument("--metric", choices=["l2", "cosine", "dot"], default="l2")
    parser.add_argument(
        "--partitions",
        type=int,
        metavar="N",
        help="number of partitions (default: the square root of the number of vectors)",
    )
    worker_options(parser)


def run(options: argparse.Namespace) -> None:
    if options.vector is None:
        _sums(options)
    else:
        _vectors(options)


def _sums(options: argparse.Namespace) -> None:
    from slaf.data.upkeep import index
    from slaf.dataset import Dataset

    job = Job()
    with workers(options):
        index(Dataset.open(options.dataset), not options.no_gene_index)
    job.done_with(options.dataset)


def _vectors(options: argparse.Namespace) -> None:
    from slaf.data.vector_index import index_vectors
    from slaf.dataset import Dataset

    if options.workers is not None:
        raise ValueError("--vector builds its index in this process, without --workers.")
    dataset = Dataset.open(options.dataset)
    made = index_vectors(dataset, options.vector, options.metric, options.partitions)
    print(
        f"{options.dataset}: {options.vector} by {made.metric} in {made.partitions:,} partitions; "
        f"of the 10 nearest, {made.visited} of them hold {100 * made.recall:.1f} %"
    )
