"""Arguments that several subcommands share."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, nullcontext
from typing import Any


def input_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options for reading inputs."""
    from slaf.data.sources import FORMATS

    parser.add_argument("--format", choices=FORMATS, default="auto", help="format of the input")
    parser.add_argument("--genome", help="the genome, if a 10x h5 file has several")
    parser.add_argument("--modality", metavar="NAME", help="modality of a MuData file, such as rna")
    parser.add_argument(
        "--skip",
        action="append",
        default=[],
        metavar="ENTRY",
        help="leave out an entry, such as obsm/airr; can be repeated",
    )
    parser.add_argument(
        "--unique-cells",
        action="store_true",
        help="append the number of its input to each cell id",
    )


def inputs(options: argparse.Namespace) -> str | list[str]:
    """One input as it is, several as a list."""
    return options.input[0] if len(options.input) == 1 else options.input


def how_inputs_are_read(options: argparse.Namespace) -> dict[str, object]:
    """:func:`input_options` as the converter's parameters."""
    return {
        "unique_cells": options.unique_cells,
        "genome": options.genome,
        "modality": options.modality,
        "skip": options.skip,
    }


def version_option(parser: argparse.ArgumentParser) -> None:
    """Adds the option for the version of a dataset."""
    parser.add_argument("--version", type=int, metavar="N", help="an earlier version")


def worker_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options for workers."""
    parser.add_argument(
        "--workers", choices=["processes", "dask", "ray"], help="share the work among these"
    )
    parser.add_argument(
        "--address", help="address of a Dask scheduler or a Ray cluster; by default a local one"
    )
    parser.add_argument(
        "--n-workers",
        type=int,
        metavar="N",
        help="number of local workers (default: one per processor)",
    )


def workers(options: argparse.Namespace) -> AbstractContextManager[Any]:
    """The workers that :func:`worker_options` describes, as a context manager."""
    if options.workers is None:
        if options.address is not None or options.n_workers is not None:
            raise ValueError("--address and --n-workers need --workers dask, ray or processes.")
        return nullcontext()
    from slaf.distributed import executor

    return executor(options.workers, options.address, n_workers=options.n_workers)
