"""What a saved notebook shows of a widget: on GitHub, and in exports, with scripts or
without."""

from __future__ import annotations

from typing import Any

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def where_no_widgets_run(data: dict[str, Any]) -> dict[str, Any]:
    """`data` as a display of its own, after that of a widget. Front ends that run widgets
    hide one without an id; all others show `data`, even if the state of the widget is
    saved."""
    return {WIDGET_VIEW: {"version_major": 2, "version_minor": 0, "model_id": ""}, **data}
