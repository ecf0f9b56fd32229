"""`slaf vacuum`."""

from __future__ import annotations

import argparse

SUMMARY = "remove old versions, and what killed writers left behind"
EPILOG = "examples:\n  slaf vacuum atlas.slaf\n  slaf vacuum atlas.slaf --keep 3\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset")
    parser.add_argument(
        "--keep", type=int, default=1, help="number of versions to keep (default: 1)"
    )


def run(options: argparse.Namespace) -> None:
    from slaf import _slaf
    from slaf.ground.progress import job

    if options.keep < 1:
        raise ValueError("--keep is at least 1: the current version stays.")
    with job("vacuum", unit="table") as cleaning:
        versions, freed = _slaf.vacuum(options.dataset, options.keep, None, cleaning)
    listed = ", ".join(map(str, versions)) or "none"
    print(f"{options.dataset}: versions removed: {listed}; {freed / 1e6:,.1f} MB freed")
