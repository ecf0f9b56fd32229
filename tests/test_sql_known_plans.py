"""A statement that is asked again keeps its plan, and nothing else: its answer follows
the rows, the columns, the views, the clock and the slice."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from conftest import make_counts
from slaf import SLAFArray, SlafError
from slaf.data import SLAFConverter
from slaf.dataset import dataset_of
from slaf.sql import session_of

OF_EVERY_KIND = [
    "SELECT COUNT(*) AS n, SUM(n_counts) AS m, MIN(mark) AS least FROM cells",
    "SELECT cell_type, COUNT(*) AS n FROM cells WHERE n_counts > 3 GROUP BY cell_type ORDER BY 1",
    "SELECT cell_id FROM cells WHERE n_counts > (SELECT AVG(n_counts) FROM cells) ORDER BY 1",
    "WITH few AS (SELECT * FROM cells LIMIT 5) SELECT * FROM few ORDER BY cell_integer_id",
    "SELECT c.cell_type, SUM(e.value) AS s FROM expression e JOIN cells c USING (cell_integer_id) "
    "GROUP BY 1 ORDER BY 1",
]


@pytest.fixture
def datasets(tmp_path):
    """Two of the same names, with other rows and types of a column."""
    made = []
    for place, mark in enumerate((np.arange(60), np.char.add("m", np.arange(80).astype(str)))):
        counts = make_counts(len(mark), 40, seed=place)
        counts.obs["n_counts"] = np.asarray(counts.X.sum(1)).ravel()
        counts.obs["mark"] = mark
        counts.write_h5ad(tmp_path / f"{place}.h5ad")
        SLAFConverter().convert(tmp_path / f"{place}.h5ad", tmp_path / f"{place}.slaf")
        made.append(tmp_path / f"{place}.slaf")
    return made


@pytest.mark.parametrize("sql", OF_EVERY_KIND)
def test_of_two_datasets_by_turns(datasets, sql):
    arrays = [SLAFArray(place) for place in datasets]
    first = [array.query(sql) for array in arrays]
    assert not first[0].equals(first[1])
    for _ in range(3):
        for array, before in zip(arrays, first, strict=True):
            assert array.query(sql).equals(before)


def test_of_a_slice_and_the_whole(datasets):
    dataset = dataset_of(SLAFArray(datasets[0]))
    sql = "SELECT COUNT(*) AS n FROM cells"
    sessions = [session_of(dataset), session_of(dataset, cells=np.array([1, 4, 5]))]
    for _ in range(2):
        assert [pl.DataFrame(s.run(sql)).item() for s in sessions] == [60, 3]


def test_of_a_dataset_that_was_appended_to(datasets, tmp_path):
    sql = "SELECT COUNT(*) AS n, MAX(cell_integer_id) AS last FROM cells"
    assert SLAFArray(datasets[0]).query(sql).row(0) == (60, 59)
    old = SLAFArray(datasets[0])
    counts = make_counts(7, 40, seed=9)
    counts.obs["n_counts"], counts.obs["mark"] = 1.0, 5
    counts.obs_names = [f"new{i}" for i in range(7)]
    counts.write_h5ad(tmp_path / "more.h5ad")
    SLAFConverter().append(tmp_path / "more.h5ad", datasets[0])
    assert SLAFArray(datasets[0]).query(sql).row(0) == (67, 66)
    assert old.query(sql).row(0) == (60, 59)


def test_limits_and_engines(datasets):
    session = session_of(dataset_of(SLAFArray(datasets[0])))
    sql = "SELECT cell_id FROM cells ORDER BY cell_id"
    for limit in (3, None, 7, 3):
        for engine in ("polars", "datafusion"):
            answer = session.run(sql, limit=limit, engine=engine)
            assert (len(answer), answer.engine[0]) == (limit or 60, engine)


def test_parameters_and_views_have_their_present_values(datasets):
    session = session_of(dataset_of(SLAFArray(datasets[0])))
    counts = []
    for least in (0, 30, 0):
        session.run(f"CREATE OR REPLACE VIEW some AS SELECT * FROM cells WHERE mark >= {least}")
        session.namespace["upto"] = least + 10
        counts.append(
            pl.DataFrame(session.run("SELECT COUNT(*) FROM some WHERE mark < $upto")).item()
        )
    assert counts == [10, 10, 10]
    session.namespace["upto"] = 5
    assert pl.DataFrame(session.run("SELECT COUNT(*) FROM some WHERE mark < $upto")).item() == 5


def test_frames_of_one_name(datasets):
    session = session_of(dataset_of(SLAFArray(datasets[0])))
    sql = "SELECT * FROM f JOIN cells ON f.mark = cells.mark"
    for values in ([1, 2], [1, 2, 3], ["x"]):
        session.namespace["f"] = pl.DataFrame({"mark": values})
        if values == ["x"]:
            assert len(session.run("SELECT * FROM f")) == 1
        else:
            assert len(session.run(sql)) == len(values)


def test_clocks_go_on_and_dice_roll(datasets):
    array = SLAFArray(datasets[0])
    for sql in ("SELECT now() AS t", "SELECT MIN(now()) AS t FROM cells", "SELECT random() AS t"):
        assert array.query(sql).item() != array.query(sql).item()


def test_errors_are_said_each_time(datasets):
    array = SLAFArray(datasets[0])
    for _ in range(2):
        with pytest.raises(SlafError, match="cell_type"):
            array.query("SELECT cell_typ FROM cells")


def test_rows_that_were_read_are_counted_each_time(datasets):
    session = session_of(dataset_of(SLAFArray(datasets[0])))
    sql = "SELECT SUM(value * value) FROM expression"
    read = {session.run(sql).profile[0] for _ in range(3)}
    assert len(read) == 1 and read.pop() > 0
