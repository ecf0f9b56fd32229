"""An explorer in the browser, and a person's actions in it."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
from lab_page import Notebook
from PIL import Image
from playwright.sync_api import Locator, expect

WAIT = 60_000


class Shown:
    """An explorer on a page."""

    def __init__(self, where: Locator):
        self.where, self.page = where, where.page
        self.stages = where.locator(".slaf-stage")
        expect(where.locator(".slaf-stage[data-updates]").first).to_be_visible(timeout=WAIT)

    def tab(self, name: str) -> None:
        self.where.get_by_role("tab", name=name).click()

    def press(self, name: str) -> None:
        self.where.get_by_role("button", name=name, exact=True).locator("visible=true").click()

    def type_gene(self, text: str) -> None:
        box = self.where.get_by_placeholder("Type a gene")
        box.fill("")
        box.click()
        self.page.keyboard.type(text)

    def choose(self, choice: str, nth: int = 0) -> None:
        """Chooses from a drop-down list in the open tab."""
        lists = self.where.locator("select:not([multiple])").locator("visible=true")
        lists.nth(nth).select_option(label=choice)

    def title(self, text: str) -> None:
        """Waits for the title of the legend."""
        expect(self.where.locator(".slaf-title")).to_have_text(text, timeout=WAIT)

    def says(self, text: str) -> None:
        """Waits for a text anywhere in the explorer."""
        expect(self.where.get_by_text(text).first).to_be_visible(timeout=WAIT)

    def drag(self, corners: list[tuple[float, float]], nth: int = 0) -> np.ndarray:
        """Drags along corners, which are fractions of the stage from its top left.
        Returns the corners in the unit square of the embedding."""
        self.where.scroll_into_view_if_needed()
        box = self.stages.nth(nth).bounding_box()
        inner = self.stages.nth(nth).evaluate("stage => [stage.clientWidth, stage.clientHeight]")
        points = [
            (round(box["x"] + x * box["width"]), round(box["y"] + y * box["height"]))
            for x, y in corners
        ]
        self.page.mouse.move(*points[0])
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*point, steps=4)
        self.page.mouse.up()
        (width, height), side = inner, min(inner)
        return np.array(
            [
                (
                    0.5 + (x - box["x"] - width / 2) / side,
                    0.5 - (y - box["y"] - height / 2) / side,
                )
                for x, y in points
            ]
        )

    def pixels(self, nth: int = 0) -> np.ndarray:
        """The pixels of a stage: RGB."""
        return np.array(Image.open(io.BytesIO(self.stages.nth(nth).screenshot())).convert("RGB"))

    def coloured(self, nth: int = 0) -> int:
        """The number of pixels that are far from grey."""
        pixels = self.pixels(nth).astype(int)
        return int((np.ptp(pixels, axis=2) > 60).sum())


def explored(notebook: Notebook, path: Path, more: str = "", shown: str = "explorer") -> Shown:
    notebook.run(
        "import numpy as np, slaf\n"
        f"pbmc = slaf.read_slaf({str(path)!r})\n"
        f"explorer = slaf.explore(pbmc, 'X_umap', 'X_pca')\n{more}"
    )
    return Shown(notebook.run(shown))


def answered(notebook: Notebook, code: str, expected: str) -> None:
    """Asks the kernel until it gives this answer, because the effect of a click takes a
    moment."""
    deadline = time.monotonic() + 60
    # IPython breaks long answers into lines.
    while (said := " ".join(notebook.answer(code).split())) != expected:
        assert time.monotonic() < deadline, f"{code}: {said}, and not {expected}"
        time.sleep(0.5)
