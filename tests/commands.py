"""Runs the command `slaf`, in its own process or, which is faster, in this one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from tempfile import TemporaryFile
from typing import IO
from unittest.mock import patch

from slaf.cli import main


def apart(*arguments: object, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess:
    """Runs it as a shell does."""
    return subprocess.run(
        [sys.executable, "-m", "slaf.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=env,
    )


def here(*arguments: object, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess:
    """Runs it in this process, and also captures what Rust writes to the file
    descriptors."""
    environment = dict(os.environ if env is None else env)
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        with (
            patch.dict(os.environ, environment, clear=True),
            written_to(1, out),
            written_to(2, err),
        ):
            with redirect_stdout(out), redirect_stderr(err):
                try:
                    main([str(argument) for argument in arguments])
                except SystemExit as end:
                    code = end.code
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read())
    return subprocess.CompletedProcess(arguments, code, *texts)


@contextmanager
def written_to(descriptor: int, file: IO[str]) -> Iterator[None]:
    before = os.dup(descriptor)
    os.dup2(file.fileno(), descriptor)
    try:
        yield
    finally:
        file.flush()
        os.dup2(before, descriptor)
        os.close(before)
