"""`slaf tokens`."""

from __future__ import annotations

import argparse

from slaf.cli.arguments import version_option, worker_options, workers
from slaf.cli.job import Job

SUMMARY = "write the tokens of cells as Parquet files"
EPILOG = """\
One row per cell: `cell_id`, `cell_integer_id`, `input_ids` without padding, and for
scGPT `values`. `tokens.json` describes the tokens, and is written last. If it is
interrupted, run it again to continue.

examples:
  slaf tokens atlas.slaf shards/ --tokenizer geneformer --dictionary tokens.pkl --medians medians.pkl
  slaf tokens atlas.slaf shards/ --tokenizer scgpt --dictionary vocab.json --workers processes
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset")
    parser.add_argument("output", help="the folder to make")
    parser.add_argument(
        "--tokenizer", default="geneformer", metavar="NAME", help="geneformer, geneformer-v1, scgpt"
    )
    parser.add_argument(
        "--dictionary", metavar="FILE", help="Geneformer's token dictionary, scGPT's vocabulary"
    )
    parser.add_argument("--medians", metavar="FILE", help="Geneformer's medians of genes")
    parser.add_argument("--gene-mapping", metavar="FILE", help="Geneformer's mapping of gene ids")
    parser.add_argument("--gene-key", metavar="COLUMN", help="column of var with the ids of genes")
    parser.add_argument("--max-genes", type=int, metavar="N", help="tokens of a cell, at most")
    parser.add_argument("--vocab-size", type=int, metavar="N", help="tokens that the model knows")
    parser.add_argument("--cells", metavar="SQL", help="only cells that meet this condition")
    parser.add_argument(
        "--shard-cells", type=int, default=10_000, metavar="N", help="of a file (default: 10,000)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of everything random (default: 0)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing tokens")
    version_option(parser)
    worker_options(parser)


def run(options: argparse.Namespace) -> None:
    from slaf.dataset import Dataset
    from slaf.ml.token_shards import write_token_shards
    from slaf.sql.filters import rows_where

    dataset = Dataset.open(options.dataset, options.version)
    cells = None if options.cells is None else rows_where(dataset, "cells", options.cells)
    scgpt = options.tokenizer == "scgpt"
    job = Job()
    with workers(options):
        write_token_shards(
            dataset,
            options.output,
            options.tokenizer,
            cells=cells,
            shard_cells=options.shard_cells,
            seed=options.seed,
            overwrite=options.overwrite,
            gene_key=options.gene_key,
            max_genes=options.max_genes,
            vocab_size=options.vocab_size,
            **{"vocabulary" if scgpt else "token_dictionary": options.dictionary},
            **({} if scgpt else {"medians": options.medians, "gene_mapping": options.gene_mapping}),
        )
    n = dataset.shape[0] if cells is None else len(cells)
    job.done(f"{options.output}:", (n, dataset.shape[1]))
