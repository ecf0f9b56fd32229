"""Read tasks of Ray Data for a handle."""

from __future__ import annotations

import inspect
import pickle
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import ray
from ray.data.block import BlockAccessor, BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from slaf.handle import LazyAnnData
from slaf.ray.row_formats import Cells, Long, Reader, Tokens

#: The readers of this process, kept for later tasks: the key of a dataset → its reader.
_READERS: dict[str, Reader] = {}
#: The number of readers to keep.
_KEPT = 4


def dataset_of_tasks(
    handle: LazyAnnData,
    form: Long | Cells | Tokens,
    cells_per_task: int,
    ray_remote_args: dict[str, Any] | None,
) -> ray.data.Dataset:
    """`handle` in a form, with `cells_per_task` cells per task."""
    source = SLAFDatasource(handle, form, cells_per_task)
    return ray.data.read_datasource(
        source, override_num_blocks=source.n_tasks, ray_remote_args=ray_remote_args
    )


class SLAFDatasource(Datasource):
    """The cells of a handle, split into tasks."""

    def __init__(self, handle: LazyAnnData, form: Long | Cells | Tokens, cells_per_task: int):
        super().__init__()
        # A missing column is an error before anything is read.
        form.check(handle)
        self._n_cells, self._step, self._form = len(handle), cells_per_task, form
        self._key = uuid.uuid4().hex
        # Sent once for all tasks, which map it from shared memory.
        self._sent = ray.put(np.frombuffer(pickle.dumps(handle), np.uint8))

    @property
    def n_tasks(self) -> int:
        return max(1, -(-self._n_cells // self._step))

    def get_name(self) -> str:
        return "SLAF"

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        options = {}
        if "per_task_row_limit" in inspect.signature(ReadTask).parameters:
            options["per_task_row_limit"] = per_task_row_limit
        tasks = []
        for at in range(self.n_tasks):
            cells = slice(at * self._step, min((at + 1) * self._step, self._n_cells))
            known = {"num_rows": cells.stop - cells.start if self._form.a_row_a_cell else None}
            metadata = BlockMetadata(**known, size_bytes=None, input_files=None, exec_stats=None)
            read = partial(_read, self._key, [self._sent], self._form, cells)
            tasks.append(ReadTask(read, metadata, **options))
        return tasks


def _read(
    key: str, sent: list[ray.ObjectRef], form: Long | Cells | Tokens, cells: slice
) -> Iterator[Any]:
    reader = _READERS.get(key)
    if reader is None:
        while len(_READERS) >= _KEPT:
            _READERS.pop(next(iter(_READERS)), None)
        reader = _READERS[key] = form.reader(pickle.loads(ray.get(sent[0])))
    rows = reader(cells)
    yield BlockAccessor.batch_to_arrow_block(rows) if isinstance(rows, dict) else rows
