"""The summary in the header of a column: the distribution of its values, for all rows and
for the filtered rows."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass, field
from typing import Any

from slaf.sql.names import quoted
from slaf.table_view.columns import Column, as_typed
from slaf.table_view.rows import Rows, Watch
from slaf.table_view.source import Source
from slaf.table_view.state import State
from slaf.table_view.values import cell

_BINS, _BARS = 20, 8
#: Rows that are sampled to estimate the number of different texts. If there are more
#: than `_MANY`, or more than `_FEW` and more than half of the rows, the texts are not
#: counted.
_LOOKED_AT, _MANY, _FEW = 10_000, 1000, 20
#: Up to here, DOUBLE holds all integers.
_EXACT = 2**53


@dataclass
class Spread:
    """The distribution of a column before any filter: the edges of its bins or its most
    common values, and the number of rows in each."""

    column: Column
    #: The SQL expression for the number of a bin or the value of a bar.
    key: str = "NULL"
    edges: list[Any] = field(default_factory=list)
    bars: list[Any] = field(default_factory=list)
    whole: dict[Any, int] = field(default_factory=dict)


class Summaries:
    """Summaries of the columns of a source. The counts of all rows are kept.

    Each column has its own statement: a single one (UNION ALL) took longer, and between
    statements, a newer request can take over.
    """

    def __init__(self, source: Source, rows: Rows):
        self._source, self._rows = source, rows
        self._spreads: dict[str, Spread] = {}

    def of(self, name: str, state: State, watch: Watch | None = None) -> dict[str, Any]:
        """A summary for the browser: `[of all rows, of the remaining rows]` for each
        bin or bar, for missing values, and for others (rarer texts; NaN and infinite
        numbers)."""
        spread = self._spreads.get(name)
        if spread is None:
            spread = self._spread(self._source.columns[name], watch)
            spread.whole = self._counts(spread, State(), watch)
            self._spreads[name] = spread
        left = self._counts(spread, state, watch) if state.filters else spread.whole
        pair = lambda key: [spread.whole.get(key, 0), left.get(key, 0)]  # noqa: E731
        summary: dict[str, Any] = {"null": pair(None)}
        if spread.edges:
            summary["edges"] = [as_typed(edge) for edge in spread.edges]
            summary["bins"] = [pair(at) for at in range(len(spread.edges) - 1)]
            summary["other"] = pair("other")
        elif spread.bars:
            summary["bars"] = [[cell(value), *pair(value)] for value in spread.bars]
            summary["values"] = [as_typed(value) for value in spread.bars]
            summary["other"] = pair("other")
        return summary

    def _spread(self, column: Column, watch: Watch | None) -> Spread:
        if column.is_range:
            return self._of_range(column, watch)
        if column.kind == "boolean":
            return Spread(column, quoted(column.name), bars=[True, False])
        if column.kind == "text" and not self._has_many(column, watch):
            counted = self._grouped(quoted(column.name), State(), watch)
            counted.pop(None, None)
            common = sorted(counted, key=lambda value: (-counted[value], value))[:_BARS]
            return Spread(column, quoted(column.name), bars=common)
        return Spread(column)

    def _of_range(self, column: Column, watch: Watch | None) -> Spread:
        name = quoted(column.name)
        finite = f"CASE WHEN isfinite({name}) THEN {name} END" if column.dtype.is_float() else name
        found = self._ask(f"MIN({finite}) AS low, MAX({finite}) AS high", State(), watch=watch)
        low, high = found.row(0)
        if low is None:
            return Spread(column)
        if column.kind == "integer" and int(high) - int(low) < _EXACT and int(high) < 2**63:
            signed = column.dtype.is_signed_integer()
            value = name if signed else f"CAST({name} AS BIGINT)"
            return _whole_bins(column, value, int(low), int(high))
        if column.kind in ("date", "moment"):
            return _of_dates(column, f"CAST({name} AS BIGINT)", low, high)
        return _bins(column, f"CAST({name} AS DOUBLE)", float(low), float(high))

    def _has_many(self, column: Column, watch: Watch | None) -> bool:
        row, name = quoted(self._source.row), quoted(column.name)
        n = self._rows.count(State(), watch)
        some = f"{row} % {max(n // _LOOKED_AT, 1)} = 0"
        select = f"COUNT(DISTINCT {name}), COUNT({name})"
        distinct, there = self._ask(select, State(), also=some, watch=watch).row(0)
        return distinct > min(_MANY, max(_FEW, there // 2))

    def _counts(self, spread: Spread, state: State, watch: Watch | None) -> dict[Any, int]:
        """Number of rows by bin or bar; the key None counts missing values, and `other`
        the rest."""
        name = quoted(spread.column.name)
        missing = f"CASE WHEN {name} IS NOT NULL THEN 'other' END"
        if not (spread.edges or spread.bars):
            return self._grouped(missing, state, watch)
        if spread.bars:
            counted = self._grouped(spread.key, state, watch)
            counts = {value: counted.pop(value, 0) for value in spread.bars}
            counts[None] = counted.pop(None, 0)
            return {**counts, "other": sum(counted.values())}
        return self._binned(spread, state, watch)

    def _binned(self, spread: Spread, state: State, watch: Watch | None) -> dict[Any, int]:
        counted = self._grouped(spread.key, state, watch)
        last = len(spread.edges) - 2
        counts: dict[Any, int] = {None: counted.pop(None, 0), "other": counted.pop(_ODD, 0)}
        for at, n in counted.items():
            at = min(max(int(at), 0), last)
            counts[at] = counts.get(at, 0) + n
        return counts

    def _grouped(self, key: str, state: State, watch: Watch | None) -> dict[Any, int]:
        found = self._ask(f"{key} AS k, COUNT(*) AS n", state, "GROUP BY 1", watch=watch)
        return dict(found.iter_rows())

    def _ask(
        self, select: str, state: State, more: str = "", also: str = "", *, watch: Watch | None
    ) -> Any:
        text, values = self._rows.statement(select, state, more, also)
        # DataFusion counts groups in half of Polars' time, and can be interrupted.
        return self._source.frame(text, values, watch=watch, engine="datafusion")


#: The bin of NaN and infinite numbers.
_ODD = -1


def _whole_bins(column: Column, value: str, low: int, high: int) -> Spread:
    """Bins of integers, with edges between two of them."""
    width = max(math.ceil((high - low + 1) / _BINS), 1)
    edges = [*range(low, high + 1, width), high]
    return Spread(column, f"({value} - {low}) // {width}", edges)


def _bins(column: Column, value: str, low: float, high: float) -> Spread:
    width = (high / _BINS - low / _BINS) or 1.0
    edges = [low + width * at for at in range(_BINS)] if high > low else [low]
    key = f"CAST(floor(({value} - {low!r}) / {width!r}) AS BIGINT)"
    if column.dtype.is_float():
        key = f"CASE WHEN isfinite({value}) THEN {key} WHEN {value} IS NOT NULL THEN {_ODD} END"
    return Spread(column, key, [*edges, high])


def _of_dates(column: Column, value: str, low: Any, high: Any) -> Spread:
    """Bins of dates in days, or of timestamps in their unit, since 1970."""
    if column.kind == "date":
        epoch, unit = datetime.date(1970, 1, 1), datetime.timedelta(days=1)
    else:
        epoch = datetime.datetime(1970, 1, 1, tzinfo=low.tzinfo and datetime.timezone.utc)
        written_in = getattr(column.dtype, "time_unit", None)
        unit = datetime.timedelta(microseconds=1000 if written_in == "ms" else 1)
        if written_in == "ns":
            value = f"{value} // 1000"
    bins = _whole_bins(column, f"({value})", (low - epoch) // unit, (high - epoch) // unit)
    bins.edges = [*(epoch + unit * edge for edge in bins.edges[:-1]), high]
    return bins
