"""Windows of `%gui` and `%matplotlib qt`: between the kernel's requests, the
toolkit's own loop turns for a moment, by the hooks of IPython's terminal."""

from __future__ import annotations

import asyncio
import os
import select
import sys
import threading
from collections.abc import Callable

from IPython.core.error import UsageError

#: Seconds that the windows and the kernel have in turns.
_TURN = 0.01


class Windows:
    """One toolkit's loop, which gives way to the kernel's every few ms."""

    def __init__(self):
        self._task: asyncio.Task | None = None
        self._ear, self._bell = os.pipe()

    def enable(self, gui: str | None) -> None:
        """Turns the loop of `gui` instead of the one before, or none."""
        hook = None if gui is None else _hook(gui)
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if hook is not None:
            # The first time makes the toolkit's application, without which its
            # windows end the process.
            self._turn(hook)
            self._task = asyncio.get_event_loop().create_task(self._serve(hook))

    async def _serve(self, hook: Callable[[Windows], None]) -> None:
        while True:
            await asyncio.sleep(_TURN)
            try:
                self._turn(hook)
            except KeyboardInterrupt:
                print("KeyboardInterrupt", file=sys.stderr)

    def _turn(self, hook: Callable[[Windows], None]) -> None:
        timer = threading.Timer(_TURN, os.write, (self._bell, b"!"))
        timer.start()
        try:
            hook(self)
        finally:
            timer.join()
            os.read(self._ear, 1)

    # What a hook asks for. ----------------------------------------------------

    def fileno(self) -> int:
        """Readable when the moment is over."""
        return self._ear

    def input_is_ready(self) -> bool:
        return bool(select.select([self._ear], [], [], 0)[0])


def _hook(gui: str) -> Callable[[Windows], None]:
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
