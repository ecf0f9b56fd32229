"""Converts the messages of IPython and of libraries to JSON that every front end can
read."""

from __future__ import annotations

import enum
import json
import math
import numbers
import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from jupyter_client.jsonutil import json_default

_SURROGATES = re.compile("[\ud800-\udfff]")
#: How deep containers may be nested. json itself gives up at Python's limit.
_MAX_DEPTH = 200


def dumps(value: Any) -> str:
    """`value` as JSON. NaN becomes null, keys become strings.

    Raises ValueError if it holds something that JSON cannot express.
    """
    try:
        text = json.dumps(value, default=json_default, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        text = json.dumps(_plain(value), ensure_ascii=False)
    return without_surrogates(text)


def without_surrogates(text: str) -> str:
    """`text` that UTF-8 can encode. File names that are not UTF-8 hold lone
    surrogates; each is replaced."""
    return text if text.isascii() else _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)


def _plain(value: Any, depth: int = 0) -> Any:
    """`value` in JSON's own types."""
    if depth > _MAX_DEPTH:
        raise ValueError("This is nested too deeply for a message, or contains itself.")
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Mapping):
        return {
            k if isinstance(k, str) else _key(k): _plain(v, depth + 1) for k, v in value.items()
        }
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        return number if math.isfinite(number) else None
    if isinstance(value, (date, bytes)):
        return json_default(value)
    if isinstance(value, enum.Enum):
        return _plain(value.value, depth + 1)
    if hasattr(value, "tolist"):  # numpy's
        return _plain(value.tolist(), depth + 1)
    if isinstance(value, Iterable):
        return [_plain(v, depth + 1) for v in value]
    raise ValueError(f"A message cannot hold a {type(value).__name__}.")


def _key(key: Any) -> str:
    """A key of a dict as `json.dumps` writes it, or as its text."""
    plain = key is None or isinstance(key, (bool, int, float))
    return next(iter(json.loads(json.dumps({key: 0})))) if plain else str(key)
