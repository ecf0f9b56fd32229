"""The explorer as a notebook shows it."""

from __future__ import annotations

from typing import Any

from slaf._slaf import SlafError
from slaf.explorer.state import State
from slaf.explorer.still_picture import png


class Explorer(State):
    __doc__ = (
        (State.__doc__ or "")
        + """
    As the last line of a cell, the explorer is shown to be used with the mouse, and
    beside that a picture of its state is kept in the notebook, for where nothing
    runs, such as on GitHub."""
    )

    _view: Any = None

    @property
    def view(self) -> Any:
        """The explorer as an ipywidgets widget, to combine with others.

        Raises
        ------
        SlafError
            anywidget or ipywidgets is missing.
        """
        if self._view is None:
            try:
                from slaf.explorer.view import View
            except ModuleNotFoundError as error:
                raise SlafError(
                    f"The explorer needs {error.name} to be used with the mouse: "
                    "`pip install anywidget ipywidgets`."
                ) from None
            self._view = View(self)
        return self._view.widget

    def picture(self) -> bytes:
        """A still picture of the state, as PNG."""
        return png(self)

    def __repr__(self) -> str:
        return f"Explorer: {super().__repr__()}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"image/png": self.picture(), "text/plain": repr(self)}

    def _ipython_display_(self) -> None:
        from IPython.display import display

        try:
            view = self.view
        except SlafError as error:
            print(error)
            display(self._repr_mimebundle_(), raw=True)
            return
        bundle = view._repr_mimebundle_()
        display({**bundle, "text/plain": repr(self)}, raw=True)
        self._view.keep_picture()
