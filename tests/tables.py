"""A table with columns of every kind, and a front end for it without a browser."""

from __future__ import annotations

import datetime
import json
import math
import queue

import numpy as np
import polars as pl
import slaf
from polars.testing import assert_frame_equal

D, T = datetime.date, datetime.datetime


def made(n: int, seed: int = 0) -> pl.DataFrame:
    """A frame with columns of every kind that can be filtered, with missing values."""
    rng = np.random.default_rng(seed)
    some = lambda values: [None if rng.random() < 0.15 else v for v in values]  # noqa: E731
    numbers = [float(x) for x in rng.normal(0, 3, n).round(2)]
    numbers = [
        x if rng.random() > 0.2 else rng.choice([math.nan, math.inf, -math.inf]) for x in numbers
    ]
    days = [D(2024, 1, 1) + datetime.timedelta(int(d)) for d in rng.integers(0, 40, n)]
    texts = ["T cells", "B cells", "NK", "it's", "50%_\\", "🧬 Zelle", "", "<b>"]
    return pl.DataFrame(
        {
            "number": pl.Series(some(numbers), dtype=pl.Float64),
            "small": pl.Series(some(numbers), dtype=pl.Float32),
            "count": pl.Series(some(rng.integers(-5, 20, n).tolist()), dtype=pl.Int32),
            "big": pl.Series(some((rng.integers(0, 9, n) + 2**60).tolist()), dtype=pl.Int64),
            "text": pl.Series(some(rng.choice(texts, n).tolist()), dtype=pl.String),
            "category": pl.Series(some(rng.choice(texts, n).tolist()), dtype=pl.Categorical),
            "flag": pl.Series(some((rng.random(n) < 0.5).tolist()), dtype=pl.Boolean),
            "day": pl.Series(some(days), dtype=pl.Date),
            "moment": pl.Series(some([T(d.year, d.month, d.day, 3, 4) for d in days])),
        }
    )


def plain(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col(pl.Categorical).cast(pl.String))


def same_as(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert_frame_equal(plain(found), plain(expected))


class Browser:
    """The messages of a front end, without one."""

    def __init__(self, table):
        self.table, self.heard, self.ask = table, queue.Queue(), 0
        # Without a kernel, nothing receives messages.
        table.comm.send = lambda data, *_, **__: self.heard.put(
            json.loads(json.dumps(data["content"], allow_nan=False))
        )
        self.says({"type": "hello"})
        self.page = self.until("page")

    def says(self, content: dict) -> None:
        data = {"method": "custom", "content": {"view": "here", "ask": self.ask, **content}}
        self.table.comm.handle_msg({"content": {"data": data}, "buffers": []})

    def until(self, *kinds: str, name: str | None = None, asked: int | None = None) -> dict:
        while True:
            message = self.heard.get(timeout=60)
            same = (name in (None, message.get("name"))) and asked in (None, message.get("ask"))
            if message["type"] in kinds and same:
                return message

    def asks(self, state: dict) -> dict:
        self.ask += 1
        self.says({"type": "state", "state": json.loads(json.dumps(state, default=str))})
        return self.until("page", "error", asked=self.ask)

    def state(self, **change) -> dict:
        return {**self.page["state"], "filters": {}, **change}


def state_of(browser: Browser) -> dict:
    """The state on screen in a newly opened view."""
    browser.ask += 1
    browser.says({"type": "hello"})
    return browser.until("page", asked=browser.ask)["state"]


N = 60
FRAME = made(N)
ROWS = FRAME.rows(named=True)

TABLE = slaf.table(FRAME)
BROWSER = Browser(TABLE)
