"""The S3 server as a fixture, apart from the others because it takes a process and a
second to start: only the tests that name it pay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from s3 import S3


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """One server for all tests. Who kills it starts one of their own."""
    with S3() as server:
        yield server
