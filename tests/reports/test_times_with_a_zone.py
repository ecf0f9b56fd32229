"""A time with a zone that is bound in SQL keeps its instant."""

from __future__ import annotations

import datetime
import multiprocessing
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from conftest import make_counts
from slaf import SLAFArray, SlafError
from slaf.data import SLAFConverter

START = pd.Timestamp("2024-07-01 00:00", tz="UTC")


@pytest.fixture(scope="module")
def array(tmp_path_factory):
    adata = make_counts()
    hours = pd.Series(pd.date_range(START, periods=60, freq="h"), index=adata.obs_names)
    adata.obs["utc"] = hours
    adata.obs["berlin"] = hours.dt.tz_convert("Europe/Berlin")
    path = tmp_path_factory.mktemp("zones") / "x.slaf"
    SLAFConverter().convert_anndata(adata, path)
    return SLAFArray(path)


@pytest.mark.parametrize("column", ["utc", "berlin"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_a_bound_time_lost_its_zone(array, column, zone):
    """A time was compared as if its clock stood in the column's zone."""
    moment = datetime.datetime(2024, 7, 2, 3, 0, tzinfo=ZoneInfo(zone))
    want = sum(START + pd.Timedelta(hours=h) >= moment for h in range(60))
    found = array.query(f"SELECT COUNT(*) AS n FROM cells WHERE {column} >= $moment", moment=moment)
    assert found["n"][0] == want
    assert array.filter_cells(**{column: moment}).height == 1


def work(array, say):
    try:
        say.put(array.obs.height)
    except SlafError as error:
        say.put(str(error))


def test_a_forked_child_waited_for_ever(array):
    """scverse/anndata#767 workers of a forked pool"""
    context = multiprocessing.get_context("fork")
    say = context.Queue()
    child = context.Process(target=work, args=(SLAFArray(array.slaf_path), say))
    array.query("SELECT 1")
    child.start()
    assert "a forked process does not have" in say.get()
    child.join()
