"""How long queries took, for each way of running them."""

from __future__ import annotations


class PerformanceMetrics:
    """Times of queries, by strategy and by number of cells or genes."""

    def __init__(self) -> None:
        #: `strategy_count` → the seconds of each query.
        self.query_times: dict[str, list[float]] = {}
        #: `strategy_count` → the number of queries.
        self.query_counts: dict[str, int] = {}

    def record_query(self, strategy: str, entity_count: int, query_time: float) -> None:
        """Records a query of `entity_count` cells or genes that took `query_time`
        seconds."""
        key = f"{strategy}_{entity_count}"
        self.query_times.setdefault(key, []).append(query_time)
        self.query_counts[key] = self.query_counts.get(key, 0) + 1

    def get_average_time(self, strategy: str, entity_count: int) -> float | None:
        """Mean time of such queries in seconds; None if there was none."""
        times = self.query_times.get(f"{strategy}_{entity_count}")
        return sum(times) / len(times) if times else None

    def get_performance_summary(self) -> dict[str, dict[int, dict[str, float | int]]]:
        """Strategy → number of cells or genes → `avg_time`, `min_time`, `max_time`
        (seconds) and `count` (queries)."""
        summary: dict[str, dict[int, dict[str, float | int]]] = {}
        for key, times in self.query_times.items():
            strategy, count = key.rsplit("_", 1)
            summary.setdefault(strategy, {})[int(count)] = {
                "avg_time": sum(times) / len(times),
                "min_time": min(times),
                "max_time": max(times),
                "count": self.query_counts[key],
            }
        return summary
