"""`slaf repair`."""

from __future__ import annotations

import argparse

SUMMARY = "repair row offsets that slafdb wrote wrongly"
EPILOG = "examples:\n  slaf repair old.slaf\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset")


def run(options: argparse.Namespace) -> None:
    from slaf import _slaf
    from slaf.ground.progress import job

    dataset = _slaf.Dataset(options.dataset)
    defect = dataset.defect()
    if defect is None:
        print(f"{options.dataset}: nothing to repair")
        return
    with job("repair", unit="value") as reading:
        version, *_ = _slaf.repair(dataset, reading)
    print(f"{options.dataset}: repaired as version {version} ({defect})")
