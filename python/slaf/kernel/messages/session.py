"""The session of IPython's publishers: their messages leave through the Rust side."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from jupyter_client.session import Session

from slaf.kernel.messages.json_text import dumps
from slaf.kernel.output.current_request import current, running_cell
from slaf.kernel.processes.child_messages import ChildMessages
from slaf.kernel.processes.spawn_links import link_spawned_processes, send_definition

if TYPE_CHECKING:
    from slaf._slaf import Kernel

#: Messages that are part of a cell's output.
_OUTPUT_KINDS = {"display_data", "update_display_data", "clear_output"}


class KernelSession(Session):
    """Publishes messages to all front ends. The Rust side signs and sends them.

    In a forked child, which has none of the threads that send, messages go to the
    kernel's process first.
    """

    def __init__(self, protocol: Kernel):
        super().__init__()
        self._protocol = protocol
        self._pid = os.getpid()
        self.children = ChildMessages(self._publish_for_child, send_definition)
        link_spawned_processes(self.children.descriptor)

    def send(
        self,
        stream,
        msg_or_type,
        content=None,
        parent=None,
        ident=None,
        buffers=None,
        track=False,
        header=None,
        metadata=None,
    ):
        if isinstance(msg_or_type, dict):
            message = msg_or_type
            buffers = buffers or message.get("buffers")
        else:
            message = self.msg(msg_or_type, content, parent, header, metadata)
        kind = message["header"]["msg_type"]
        texts = [dumps(message[part]) for part in ("content", "parent_header", "metadata")]
        plain = [b if isinstance(b, bytes) else bytes(b) for b in buffers or []]
        if os.getpid() == self._pid:
            if kind in _OUTPUT_KINDS and (request := current()) is not None:
                # A thread of an earlier cell may display this. It belongs where
                # the thread's prints go.
                texts[1] = request.header
            self._protocol.publish(kind, *texts, plain)
        else:
            self.children.send([kind, *texts], plain)
        return message

    def _publish_for_child(self, texts: list[str], buffers: list[bytes]) -> None:
        kind, content, parent, metadata = texts
        # An earlier cell may have forked the child, a pool's worker for example.
        cell = running_cell()
        parent = parent if cell is None else cell.header
        self._protocol.publish(kind, content, parent, metadata, buffers)
