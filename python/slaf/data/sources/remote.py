"""A file on an object store or a web server, read in ranges."""

from __future__ import annotations

import io
import time
import urllib.error
import urllib.request
from collections import OrderedDict
from collections.abc import Callable, Collection
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any

from slaf import _slaf
from slaf._slaf import SlafError
from slaf.data.sources.anndata_encodings import damaged
from slaf.data.sources.base import Parts, Source, loaded
from slaf.data.sources.h5ad import group_source, more_filters
from slaf.data.sources.tenx_h5 import file_source, is_tenx
from slaf.ground.metadata.frames import frame_of

if TYPE_CHECKING:
    from anndata import AnnData

#: Bytes per read, and the number of such blocks that are kept.
_BLOCK = 4 << 20
_KEPT = 16


def remote_source(
    uri: str,
    kind: str,
    *,
    genome: str | None = None,
    modality: str | None = None,
    skip: Collection[str] = (),
    options: dict[str, str] | None = None,
) -> Source:
    """A source for the HDF5 file at `uri`: h5ad, h5mu, or one of 10x.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    SlafError
        It has another format, or is damaged.
    OSError
        It cannot be reached.
    """
    import h5py

    if kind not in ("h5ad", "10x_h5"):
        raise SlafError(f"`{uri}`: {kind} is read from a local folder. Copy it there first.")
    more_filters()
    remote = RemoteFile(uri, options)
    try:
        file = h5py.File(remote, "r")
    except OSError as error:
        raise damaged(uri, error) from None
    name = uri.split("?")[0].rsplit("/", 1)[-1]
    if kind == "10x_h5" or is_tenx(file):
        return file_source(file, uri, name, genome)
    source = group_source(file, name, file.close, modality=modality, skip=skip)
    for one in (source, source.raw):
        if one is not None:
            one.parts = _in_memory(one.parts)
    return source


def _in_memory(parts: Callable[[], Parts | AnnData]) -> Callable[[], Parts | AnnData]:
    """The source with frames and vectors in memory. The engine requests them on its own
    threads, where waiting for the network is not possible."""

    def read() -> Parts | AnnData:
        found = parts()
        if isinstance(found, Parts):
            found.obs, found.var = frame_of(found.obs), frame_of(found.var)
            found.obsm = {key: loaded(value) for key, value in found.obsm.items()}
            found.varm = {key: loaded(value) for key, value in found.varm.items()}
        return found

    return read


class RemoteFile(io.RawIOBase):
    """The file at `uri` as a Python file object, for libraries that read local files
    only."""

    def __init__(self, uri: str, options: dict[str, str] | None = None):
        self._uri, self._options, self._at = uri, options, 0
        self._web = uri.startswith(("http://", "https://"))
        self._size = _web_size(uri) if self._web else _slaf.file_size(uri, options)
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def __repr__(self) -> str:
        """HDF5 shows this as the name of the file."""
        return self._uri

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fills the whole buffer, as HDF5 expects, unless the file ends."""
        view, done = memoryview(buffer).cast("B"), 0
        while done < len(view):
            number, offset = divmod(self._at, _BLOCK)
            part = self._block(number)[offset : offset + len(view) - done]
            if not part:
                break
            view[done : done + len(part)] = part
            done += len(part)
            self._at += len(part)
        return done

    def _block(self, number: int) -> bytes:
        start, end = number * _BLOCK, min((number + 1) * _BLOCK, self._size)
        if start >= end:
            return b""
        if number not in self._blocks:
            if len(self._blocks) == _KEPT:
                self._blocks.popitem(last=False)
            self._blocks[number] = self._read(start, end)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _read(self, start: int, end: int) -> bytes:
        if not self._web:
            return _slaf.read_range(self._uri, start, end, self._options)
        for pause in (1, 5, 0):
            try:
                with _ask(self._uri, f"bytes={start}-{end - 1}") as answer:
                    return _all_of(answer, end - start)
            except (OSError, HTTPException) as error:
                failed = error
            time.sleep(pause)
        raise OSError(f"`{self._uri}` cannot be read to its end: {failed}")


def _all_of(answer: HTTPResponse, length: int) -> bytes:
    found = answer.read()
    if len(found) != length:
        raise OSError(f"{len(found)} bytes came, and {length} were asked for.")
    return found


def _web_size(uri: str) -> int:
    with _ask(uri, "bytes=0-0") as answer:
        size = answer.headers.get("Content-Range", "").rpartition("/")[2]
    if answer.status != 206 or not size.isdigit():
        raise SlafError(
            f"The server of `{uri}` does not send parts of files. Download the file, and convert "
            "that."
        )
    return int(size)


def _ask(uri: str, span: str) -> HTTPResponse:
    request = urllib.request.Request(uri, headers={"Range": span})
    try:
        return urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise FileNotFoundError(f"There is nothing at `{uri}`. Check the spelling.") from None
        raise OSError(f"The server of `{uri}` answers {error.code}: {error.reason}.") from None
    except urllib.error.URLError as error:
        raise OSError(f"`{uri}` cannot be reached: {error.reason}.") from None
