"""Everything that pandas holds in obs and var comes back equal, from the dataset and from
an exported file, or raises a clear error."""

from __future__ import annotations

import datetime as dt
import decimal
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import sparse
from slaf import SLAFArray, SlafError
from slaf.data import SLAFConverter
from slaf.dataset import dataset_of
from slaf.integrations import read_slaf

N = 4
STR = "str" if pd.__version__ >= "3" else "string[pyarrow_numpy]"
DAYS = pd.to_datetime(
    ["2024-01-02", None, "2024-03-04 05:06:07.123456789", "1999-12-31"], format="ISO8601"
)
ZONED = pd.DatetimeIndex(["2024-07-02 03:04", "2024-01-02 03:04", None, "2024-10-27 02:30"])
TIMES = pd.Series(DAYS)


def objects(*values) -> pd.Series:
    return pd.Series(list(values), dtype=object)


def arrow(values, kind) -> pd.Series:
    return pd.Series(pd.arrays.ArrowExtensionArray(pa.array(values, kind)))


COLUMNS = {
    "text": objects("a", "", "µ", "NaN"),
    "text with gaps": objects("a", None, np.nan, "b"),
    "all missing": objects(None, np.nan, None, pd.NA),
    "bools and None": objects(True, None, False, True),
    "ints as objects": objects(1, None, 2**60, -1),
    "huge ints as objects": objects(2**64 - 1, None, 0, 1),
    "floats as objects": objects(1.5, None, np.nan, 2),
    "dates": objects(dt.date(2024, 1, 2), None, dt.date(1, 1, 1), dt.date(9999, 1, 1)),
    "times of day": objects(dt.time(1, 2, 3), None, dt.time(0), dt.time(23, 59, 59, 999)),
    "decimals": objects(decimal.Decimal("1.10"), None, decimal.Decimal("-3"), decimal.Decimal("0")),
    "datetimes as objects": objects(dt.datetime(2024, 1, 2, 3), None, pd.NaT, DAYS[3]),
    "durations as objects": objects(dt.timedelta(1), None, pd.Timedelta("1ns"), pd.NaT),
    "bool": pd.Series([True, False, True, True]),
    "complex": pd.Series([1 + 2j, 0.1 - 1e-300j, 3, -1j]),
    "complex64": pd.Series([1 + 2j, 0.1, 3, -1j], dtype="complex64"),
    "float16": pd.Series([1.5, np.nan, np.inf, -0.1], dtype="float16"),
    "float32": pd.Series([0.1, np.nan, np.inf, -0.0], dtype="float32"),
    "longdouble": pd.Series([0.1, np.nan, np.inf, 2], dtype="longdouble"),
    "big-endian": pd.Series(np.array([0.1, np.nan, 1, 2], ">f8")),
    "big-endian ints": pd.Series(np.array([1, 2, 3, 2**40], ">i8")),
    "uint64": pd.Series([0, 1, 2, 2**64 - 1], dtype="uint64"),
    "Int64": pd.Series([1, None, 2**62 + 1, 3], dtype="Int64"),
    "UInt8": pd.Series([1, None, 255, 3], dtype="UInt8"),
    "Float32": pd.Series([0.1, None, 1, 3], dtype="Float32"),
    "Float64": pd.Series([0.1, None, 1, 3], dtype="Float64"),
    "boolean": pd.Series([True, None, False, True], dtype="boolean"),
    "string": pd.Series(["a", None, "", "b"], dtype="string[python]"),
    "string of pyarrow": pd.Series(["a", None, "", "b"], dtype="string[pyarrow]"),
    "string of numpy": pd.Series(["a", None, "", "b"], dtype=STR),
    "sparse floats": pd.Series([0, 0.5, np.nan, 0]).astype(pd.SparseDtype("float64", np.nan)),
    "sparse ints": pd.Series([0, 5, 0, 0]).astype(pd.SparseDtype("int64", 0)),
    "sparse bools": pd.Series([False, True, False, False]).astype(pd.SparseDtype(bool, False)),
    "timedelta[s]": pd.Series(pd.to_timedelta([1, 2, None, 4], unit="h")).astype("timedelta64[s]"),
    "timedelta": pd.Series(pd.to_timedelta([1, -2, None, 4], unit="ns")),
    "month": pd.Series(pd.PeriodIndex(["2024-01", "NaT", "1999-12", "2000-01"], freq="M")),
    "week": pd.Series(pd.PeriodIndex(["2024-01-03", "NaT", "1999-12", "2000-01"], freq="W-WED")),
    "interval": pd.Series(pd.arrays.IntervalArray.from_tuples([(0.1, 0.3), None, (1, 2), (2, 9)])),
    "interval of days": pd.Series(pd.interval_range(pd.Timestamp("2024-01-01"), periods=N)),
    "interval of ints": pd.Series(pd.interval_range(0, 4, closed="both")),
    **{f"datetime[{u}]": TIMES.astype(f"datetime64[{u}]") for u in ("s", "ms", "us", "ns")},
    "UTC": pd.Series(DAYS.tz_localize("UTC")),
    "zone": pd.Series(ZONED.tz_localize("UTC").tz_convert("Europe/Berlin")),
    "offset": pd.Series(DAYS.tz_localize(dt.timezone(dt.timedelta(hours=5, minutes=30)))),
    "cat": pd.Series(pd.Categorical(["b", None, "a", "b"], ["c", "b", "a"], ordered=True)),
    "cat of strings": pd.Series(pd.Categorical(pd.array(["b", None, "a", "b"], dtype="string"))),
    "cat of ints": pd.Series(pd.Categorical([3, None, 1, 2**60])),
    "cat of floats": pd.Series(pd.Categorical([0.1 + 0.2, np.nan, 1e300 / 3, np.inf])),
    "cat of bools": pd.Series(pd.Categorical([True, None, False, True])),
    "cat of days": pd.Series(pd.Categorical(DAYS)),
    "cat of zoned": pd.Series(pd.Categorical(DAYS.tz_localize("Europe/Berlin"))),
    "cat of durations": pd.Series(pd.Categorical(pd.to_timedelta([1, 2, None, 1], unit="h"))),
    "cat of dates": pd.Series(
        pd.Categorical(objects(dt.date(2024, 1, 2), None, *[dt.date(1, 1, 1)] * 2))
    ),
    "cat of bins": pd.cut(pd.Series([0.5, np.nan, 1.7, 3]), 3),
    "cat of months": pd.Series(pd.Categorical(pd.PeriodIndex(["2024-01"] * N, freq="M"))),
    "cat of nothing": pd.Series(pd.Categorical([None] * N)),
    "arrow int": arrow([1, None, 2**60, 3], pa.int64()),
    "arrow float": arrow([1.5, None, float("nan"), 3], pa.float32()),
    "arrow half": arrow(np.array([1.5, 2, 0.1, 3], np.float16), pa.float16()),
    "arrow bool": arrow([True, None, False, True], pa.bool_()),
    "arrow text": arrow(["a", None, "", "b"], pa.large_string()),
    "arrow date": arrow([dt.date(2024, 1, 2), None, None, dt.date(1, 1, 1)], pa.date32()),
    "arrow time": arrow([1, None, 2, 3], pa.time64("us")),
    "arrow moment": arrow([1, None, 2, 3], pa.timestamp("us")),
    "arrow zone": arrow([1, None, 2, 3], pa.timestamp("ns", "Europe/Berlin")),
    "arrow duration": arrow([1, None, 2, 3], pa.duration("ms")),
    "arrow decimal": arrow(
        [decimal.Decimal("1.10"), None, decimal.Decimal(2), None], pa.decimal128(5, 2)
    ),
    "arrow dictionary": arrow(["a", None, "b", "a"], pa.dictionary(pa.int8(), pa.string())),
    "arrow bytes": arrow([b"a", None, b"b", b"c"], pa.binary()),
    "arrow nothing": arrow([None] * N, pa.null()),
}
#: What no file of HDF5 has a place for.
ARROW_ONLY = {
    "arrow list": arrow([[1, 2], None, [], [3]], pa.list_(pa.int64())),
    "arrow struct": arrow([{"a": 1}, None, {"a": None}, {"a": 2}], pa.struct({"a": pa.int64()})),
}
#: What has another dtype when it comes back, of the same values.
OTHER_DTYPE = ("string of numpy", "big-endian", "big-endian ints", "arrow dictionary")


def adata_of(columns) -> ad.AnnData:
    names = [f"c{i}" for i in range(N)]
    obs = pd.DataFrame({k: v.set_axis(names) for k, v in columns.items()}, index=names)
    x = sparse.csr_matrix(np.eye(N, 2, dtype=np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ad.AnnData(x, obs=obs, var=pd.DataFrame(index=["g0", "g1"]))


def plain(series: pd.Series) -> list:
    """Values that compare, and None for what is missing."""
    values = zip(series.astype(object), series.isna(), strict=True)
    values = [None if gap else v for v, gap in values]
    values = [v.tolist() if isinstance(v, (np.ndarray, np.generic)) else v for v in values]
    return [None if isinstance(v, float) and v != v else v for v in values]


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoding") / "x.slaf"
    SLAFConverter().convert_anndata(adata_of(COLUMNS | ARROW_ONLY), path)
    return path


@pytest.mark.parametrize("name", [*COLUMNS, *ARROW_ONLY])
def test_what_is_encoded_decodes(everything, name):
    """scverse/anndata#1708, #455, #504; scverse/scanpy#1911."""
    want = (COLUMNS | ARROW_ONLY)[name]
    got = read_slaf(everything).obs[name]
    assert plain(got) == plain(want)
    if isinstance(want.dtype, pd.CategoricalDtype):
        assert got.cat.ordered == want.cat.ordered
        assert list(got.cat.categories) == list(want.cat.categories)
        assert got.cat.categories.dtype == want.cat.categories.dtype
    elif want.dtype == object:
        assert got.dtype in (object, want.infer_objects().dtype)
    elif isinstance(want.dtype, pd.DatetimeTZDtype):
        assert got.dtype.unit == want.dtype.unit
    elif name not in OTHER_DTYPE:
        assert got.dtype == want.dtype


def test_missing_values_are_null_in_sql_whichever_way_they_miss(everything):
    """scverse/scanpy#1651, chanzuckerberg/cellxgene#2379."""
    array = SLAFArray(everything)
    stored = {n["name"]: n["stored"] for n in dataset_of(array).column_notes("obs")}
    asked = ", ".join(f'COUNT("{stored[n]}") AS "{stored[n]}"' for n in (COLUMNS))
    found = array.query(f"SELECT {asked} FROM cells").row(0, named=True)
    want = {n: len([v for v in plain(c) if v is not None and v == v]) for n, c in COLUMNS.items()}
    assert {n: found[stored[n]] for n in COLUMNS} == want


#: What h5ad has as text.
AS_TEXT = (pd.Period, pd.Interval, dt.date, dt.time, dt.timedelta, decimal.Decimal, bytes)


def same(got, want) -> bool:
    if got is None or want is None:
        return got is want
    if isinstance(got, str) and not isinstance(want, str):
        if isinstance(want, (dt.timedelta, np.timedelta64)):
            return pd.Timedelta(got) == pd.Timedelta(want)
        if isinstance(want, (pd.Timestamp, dt.datetime)):
            return pd.Timestamp(got) == want
        return got == (want.decode() if isinstance(want, bytes) else str(want))
    return got == want


def test_an_exported_file_is_read_by_anndata_with_equal_values(everything, tmp_path):
    """scverse/anndata#1708, #455, #558, #1571."""
    handle = read_slaf(everything)
    for name in ARROW_ONLY:
        del handle.obs[name]
    with pytest.warns(UserWarning, match="another form.*`obs/UTC`: .* as text"):
        handle.write_h5ad(tmp_path / "x.h5ad")
    got = ad.read_h5ad(tmp_path / "x.h5ad").obs
    assert list(got.columns) == list(COLUMNS)
    unequal = {
        name: (plain(got[name]), plain(want))
        for name, want in COLUMNS.items()
        if not all(map(same, plain(got[name]), plain(want)))
    }
    assert unequal == {}


@pytest.mark.parametrize("name", ARROW_ONLY)
def test_what_h5ad_has_no_place_for_is_said_before_anything_is_written(everything, tmp_path, name):
    """single-cell-data/TileDB-SOMA#1337."""
    handle = read_slaf(everything)
    for other in ARROW_ONLY.keys() - {name}:
        del handle.obs[other]
    with pytest.raises(SlafError, match=f"`obs/{name}`") as said, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        handle.write_h5ad(tmp_path / "x.h5ad")
    assert "\n" not in str(said.value)
    assert list(tmp_path.iterdir()) == []


def test_filters_know_zones_and_say_what_durations_are_asked_by(everything):
    """pola-rs/polars#8695, scverse/scanpy#2078."""
    array = SLAFArray(everything)
    moment = pd.Timestamp("2024-07-02 03:04", tz="UTC")
    for value in (moment, moment.tz_convert("Asia/Tokyo"), "2024-07-02T05:04"):
        found = array.filter_cells(zone=value)
        assert found["cell_id"].to_list() == ["c0"]
    assert array.filter_cells(float32=None)["cell_id"].to_list() == ["c1"]
    with pytest.raises(SlafError, match="INTERVAL"):
        array.filter_cells(timedelta=">= 2h")


def test_columns_of_every_dtype_are_saved_and_handed_to_arrow(tmp_path):
    """scverse/anndata#1708, #724, #726."""
    SLAFConverter().convert_anndata(adata_of({}), tmp_path / "x.slaf")
    handle = read_slaf(tmp_path / "x.slaf")
    for name, column in (COLUMNS | ARROW_ONLY).items():
        handle.obs[name] = column.array
    assert handle.obs.to_arrow().num_columns == len(COLUMNS | ARROW_ONLY) + 1
    handle.save()
    got = read_slaf(tmp_path / "x.slaf").obs
    want = COLUMNS | ARROW_ONLY
    assert [name for name in want if plain(got[name]) != plain(want[name])] == []
    part = tmp_path / "part.slaf"
    SLAFConverter().convert_handle(handle[[2, 1]], part)
    got = read_slaf(part).obs
    assert [n for n in want if plain(got[n]) != [plain(want[n])[i] for i in (2, 1)]] == []
