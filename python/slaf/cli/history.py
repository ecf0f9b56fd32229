"""`slaf history`."""

from __future__ import annotations

import argparse

SUMMARY = "list a dataset's versions"
EPILOG = "examples:\n  slaf history atlas.slaf\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset")


def run(options: argparse.Namespace) -> None:
    from slaf import _slaf

    versions = _slaf.history(options.dataset)
    for version, _, operation, at, cells, genes in versions:
        print(f"{version:>4}  {at[:19].replace('T', ' ')}  {operation:<8}  {cells:,} × {genes:,}")
    if not versions:
        print(f"{options.dataset}: no versions; slafdb wrote it")
