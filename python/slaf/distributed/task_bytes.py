"""The bytes that are sent to a worker and back; they contain no secrets."""

from __future__ import annotations

import hashlib
import os
import pickle
import platform
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from io import BytesIO
from typing import Any

from slaf import _slaf
from slaf._slaf import SlafError
from slaf.dataset import Dataset
from slaf.dataset.secrets import HOW_TO_SUPPLY, without_secrets
from slaf.ground.progress_views import quiet

#: Versions that have to be the same on both sides.
VERSIONS = {"slaf": _slaf.__version__, "Python": platform.python_version().rpartition(".")[0]}


def packed(work: Callable[[Any], Any], task: Any) -> bytes:
    """Pickles `work` and `task`, so that :func:`run` can call `work(task)`.

    Raises
    ------
    SlafError
        A dataset of the task is in the memory of this process (`memory://`).
    """
    body = BytesIO()
    _Pickler(body, protocol=5).dump((work, task))
    return pickle.dumps((VERSIONS, body.getvalue()), protocol=5)


def run(payload: bytes) -> bytes:
    """Runs in a worker: calls what :func:`packed` has packed. Returns what
    :func:`unpacked` reads: the result, or the error."""
    try:
        versions, body = pickle.loads(payload)
        _compare(versions)
        with _one_thread(), quiet():
            work, task = pickle.loads(body)
            answer = True, work(task)
    except Exception as error:
        answer = False, _known_error(error)
    return pickle.dumps(answer, protocol=5)


def unpacked(answer: bytes) -> Any:
    """The result of the worker. Raises the error that it raised."""
    done, found = pickle.loads(answer)
    if done:
        return found
    raise found from None


class _Pickler(pickle.Pickler):
    """Pickles a dataset as its address and version."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Dataset):
            return _opened, _address(obj.engine, obj.options)
        if isinstance(obj, _slaf.Dataset):
            return _engine, _address(obj, obj.options)
        return NotImplemented


#: Address, version, settings, whether some are withheld, and fingerprint.
_Address = tuple[str, int | None, tuple[tuple[str, str], ...] | None, bool, str]


def _address(engine: _slaf.Dataset, options: dict[str, str] | None) -> _Address:
    uri = engine.uri
    if uri.startswith("memory:"):
        raise SlafError(
            f"`{uri}` is in the memory of this process, which workers cannot read. Write the "
            "dataset to a folder or an object store that they reach."
        )
    sent = without_secrets(options)
    settings = None if sent is None else tuple(sorted(sent.items()))
    return uri, engine.version, settings, sent != options, _fingerprint(engine)


def _fingerprint(engine: _slaf.Dataset) -> str:
    return hashlib.sha256(engine.config.encode()).hexdigest()


def _engine(*address: Any) -> _slaf.Dataset:
    return _opened(*address).engine


@lru_cache(maxsize=8)
def _opened(
    uri: str,
    version: int | None,
    options: tuple[tuple[str, str], ...] | None,
    withheld: bool,
    fingerprint: str,
) -> Dataset:
    """Opens the dataset that the driver has open. It is cached, because a worker runs many
    tasks of one dataset."""
    try:
        dataset = Dataset.open(uri, version, None if options is None else dict(options))
    except (OSError, SlafError) as error:
        message = f"{_here()} cannot open `{uri}`. {_sentence(error)}{_hint(uri, withheld)}"
        raise type(error)(message) from None
    if _fingerprint(dataset.engine) != fingerprint:
        raise SlafError(
            f"{_here()} finds another dataset at `{uri}` than was opened: it was replaced "
            "meanwhile, or the worker sees another disk. Open it again, at an address that all see."
        )
    return dataset


def _hint(uri: str, withheld: bool) -> str:
    if "://" not in uri:
        return " A local path has to be one that all workers see."
    if withheld:
        return f" {HOW_TO_SUPPLY}"
    return " Workers take credentials from their own environment."


def _compare(versions: dict[str, str]) -> None:
    for name, theirs in versions.items():
        if VERSIONS.get(name) != theirs:
            raise SlafError(
                f"{_here()} has {name} {VERSIONS.get(name)}, and the process that sends its tasks "
                f"has {name} {theirs}: install the same on both."
            )


def _one_thread() -> AbstractContextManager[Any]:
    """Limits BLAS to one thread, so that the order of its sums is fixed."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    return threadpool_limits(1)


#: Classes of errors that are sent to the driver.
_KNOWN = (SlafError, MemoryError, OSError, ValueError, TypeError, KeyError, IndexError, ImportError)


def _known_error(error: Exception) -> Exception:
    """The error as one of `_KNOWN`, because the driver may not have its class."""
    if type(error) in (*_KNOWN, FileNotFoundError, PermissionError):
        return error
    known = next((kind for kind in _KNOWN if isinstance(error, kind)), None)
    if known is None:
        return SlafError(f"A task failed: {type(error).__name__}: {_sentence(error)}")
    return known(str(error))


def _sentence(error: Exception) -> str:
    text = str(error)
    return text if text.endswith((".", "?", ")", "`")) else f"{text}."


def _here() -> str:
    return f"The worker {platform.node()} (process {os.getpid()})"
