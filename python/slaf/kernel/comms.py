"""Comms, for widgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import comm
from comm.base_comm import BaseComm, CommManager
from ipykernel.jsonutil import json_clean

if TYPE_CHECKING:
    from slaf.kernel.session import KernelSession


def install_comms(kernel: KernelSession) -> CommManager:
    """Makes `comm.create_comm` ours; to be called before widgets are imported."""

    class Comm(BaseComm):
        def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **keys):
            kernel.session.send(
                None,
                msg_type,
                json_clean({"data": data or {}, "comm_id": self.comm_id} | keys),
                metadata=json_clean(metadata or {}),
                parent=kernel.get_parent(),
                buffers=buffers,
            )

    manager = CommManager()
    comm.create_comm = Comm
    comm.get_comm_manager = lambda: manager
    return manager
