"""Windows of `%gui` and `%matplotlib qt`: the toolkit's event loop and the kernel's
run in turns, with the input hooks of IPython's terminal."""

from __future__ import annotations

import asyncio
import os
import select
import sys
import threading
from collections.abc import Callable

from IPython.core.error import UsageError

#: Seconds of each turn.
_TURN = 0.01


class GuiLoop:
    """The event loop of one toolkit, which runs for a moment every few ms."""

    def __init__(self):
        self._task: asyncio.Task | None = None
        #: A byte in this pipe ends the turn.
        self._read_end, self._write_end = os.pipe()

    def enable(self, gui: str | None) -> None:
        """Runs the loop of `gui` instead of the previous one; `None` for no loop."""
        hook = None if gui is None else _hook(gui)
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if hook is not None:
            # The first turn makes the toolkit's application. Windows made without
            # it would end the process.
            self._take_turn(hook)
            self._task = asyncio.get_event_loop().create_task(self._serve(hook))

    async def _serve(self, hook: Callable[[GuiLoop], None]) -> None:
        while True:
            await asyncio.sleep(_TURN)
            try:
                self._take_turn(hook)
            except KeyboardInterrupt:
                print("KeyboardInterrupt", file=sys.stderr)

    def _take_turn(self, hook: Callable[[GuiLoop], None]) -> None:
        timer = threading.Timer(_TURN, os.write, (self._write_end, b"!"))
        timer.start()
        try:
            hook(self)
        finally:
            timer.join()
            os.read(self._read_end, 1)

    # A hook takes this object as its context. -----------------------------------

    def fileno(self) -> int:
        """Readable when the turn is over."""
        return self._read_end

    def input_is_ready(self) -> bool:
        return bool(select.select([self._read_end], [], [], 0)[0])


def _hook(gui: str) -> Callable[[GuiLoop], None]:
    from IPython.terminal.pt_inputhooks import UnknownBackend, get_inputhook_name_and_func

    instead = "`%matplotlib inline` and `%matplotlib widget` draw in the notebook."
    screen = {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()
    if sys.platform == "linux" and not screen:
        raise UsageError(
            f"There is no screen here (DISPLAY is not set), so `{gui}` cannot open windows. {instead}"
        )
    try:
        return get_inputhook_name_and_func(gui)[1]
    except UnknownBackend as error:
        raise UsageError(f"{error}. {instead}") from None
    except ImportError as error:
        raise UsageError(f"`{gui}` cannot open windows: {error}. {instead}") from None
