"""The architecture page matches the code."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_pictures_are_of_this_code():
    spec = importlib.util.spec_from_file_location("draw", DOCS / "draw_architecture.py")
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    page = draw.PAGE.read_text()
    assert draw.drawn(page) == page, "Run `python docs/draw_architecture.py`."


def test_every_path_on_the_page_is_there():
    page = (DOCS / "architecture.md").read_text()
    written = re.sub(r"<!-- (\w+) -->.*?<!-- /\1 -->", "", page, flags=re.DOTALL)
    named = set(
        re.findall(r"`((?:python|slaf-core|kernel|magics|tests|docs|install)/[\w./-]+)`", written)
    )
    assert len(named) > 20
    missing = [path for path in sorted(named) if not (DOCS.parent / path).exists()]
    assert not missing
