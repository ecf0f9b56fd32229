"""Runs the command against an S3 server, and reads its error messages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import anndata as ad
from commands import here
from s3 import S3
from slaf.integrations import read_slaf

#: The query that tables in a bucket and in a folder have to answer alike.
QUESTIONS = [
    "SELECT louvain, COUNT(*) AS n FROM cells GROUP BY louvain ORDER BY louvain",
    "SELECT cell_integer_id, COUNT(*) AS n, MAX(value) AS top FROM expression "
    "GROUP BY cell_integer_id ORDER BY cell_integer_id",
    "SELECT * FROM expression WHERE cell_integer_id BETWEEN 300 AND 309 "
    "AND gene_integer_id < 40 ORDER BY cell_integer_id, gene_integer_id",
]


def environment(server: S3 | None, **changes: str) -> dict[str, str]:
    """Our environment variables, without settings for other clouds. Progress is left
    out of stderr: slow servers are not what is tested."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return kept | {"SLAF_PROGRESS": "0"} | (server.environment if server else {}) | changes


def slaf(server: S3, *arguments: object) -> subprocess.CompletedProcess:
    return here(*arguments, env=environment(server))


def start(server: S3, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "slaf.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(server),
    )


def complaint(returncode: int, stderr: str, names: str) -> str:
    """The sentence with which a command fails; it must name the place."""
    assert returncode == 1, stderr
    lines = [line for line in stderr.splitlines() if not line.endswith(" s left")]
    assert len(lines) == 1, stderr
    assert_plain(lines[0], names)
    assert lines[0].startswith("slaf: ")
    return lines[0]


def assert_plain(message: str, names: str) -> None:
    """Checks that a message is a sentence for people, without library names or source
    positions."""
    assert names in message
    assert not re.search(r"panick|Traceback|LanceError|\.rs\b|Generic S3|<\?xml|\n", message)
    assert message.rstrip()[-1] in ".?`)"


def whole(path: str | Path) -> ad.AnnData:
    return read_slaf(path).to_adata()
