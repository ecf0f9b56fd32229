"""Writing to a copy or a view does not change the original, and writing to the original
does not change them: every section, in place and by assignment."""

from __future__ import annotations

import copy
import pickle
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from checks import assert_same
from scipy import sparse
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slaf.lazy.state import state_of

N, M = 6, 4


def made() -> ad.AnnData:
    cells, genes = [f"c{i}" for i in range(N)], [f"g{i}" for i in range(M)]
    adata = ad.AnnData(
        sparse.csr_matrix(np.arange(1, N * M + 1).reshape(N, M).astype(np.float32)),
        obs=pd.DataFrame(
            {"kind": ["T"] * N, "n": np.arange(N), "f": 0.5, "cat": pd.Categorical(list("aabbcc"))},
            index=cells,
        ),
        var=pd.DataFrame({"v": np.arange(M)}, index=genes),
    )
    for axis, n, names in (("obs", N, cells), ("var", M, genes)):
        m, p = getattr(adata, f"{axis}m"), getattr(adata, f"{axis}p")
        m["float"] = np.ones((n, 2), np.float32)
        m["int"] = np.ones((n, 2), int)
        m["frame"] = pd.DataFrame({"u": np.ones(n)}, index=names)
        m["sparse"] = sparse.csr_matrix(np.eye(n))
        p["sparse"] = sparse.csr_matrix(np.eye(n))
        p["dense"] = np.ones((n, n))
    adata.layers["l"] = adata.X.copy()
    adata.uns["array"] = np.zeros(3)
    adata.uns["deep"] = {"er": {"x": np.zeros(2), "list": np.arange(2)}}
    adata.uns["cat_colors"] = np.array(["#000000", "#111111", "#222222"], dtype=object)
    adata.raw = adata.copy()
    return adata


def held(handle) -> None:
    """Sets in memory what a dataset would hold otherwise."""
    n, m = handle.shape
    handle.obs["new"] = np.arange(n) * 1.0
    handle.obs["newcat"] = pd.Categorical(["x", "y"] * (n // 2))
    handle.obsm["set"] = np.ones((n, 2))
    handle.obsp["set"] = np.ones((n, n))
    handle.varm["set"] = np.ones((m, 2))
    handle.layers["set"] = sparse.csr_matrix(np.ones((n, m), np.float32))
    handle.layers["dense"] = np.ones((n, m), np.float32)
    handle.uns["set"] = {"x": [1, 2]}
    handle.X = handle.X.compute()


def looked_at(handle) -> None:
    """Has everything handed out."""
    handle.to_adata(), list(map(handle.obs.__getitem__, handle.obs.columns)), handle.obs_names
    for name in ("obsm", "varm", "obsp", "varp", "uns", "layers"):
        dict(getattr(handle, name))
    handle.raw.var["v"], handle.raw.X


def materialised(handle) -> None:
    handle.obs.loc["c0", "f"] = 0.5
    handle.var.loc["g0", "v"] = 0


def writes(a):
    """Everything that one can write into, one after the other."""
    for frame in (a.obs, a.var):
        for name in list(frame.columns):
            yield lambda f=frame, n=name: f[n].values.__setitem__(slice(None), f[n].values[::-1])
            yield lambda f=frame, n=name: f[n].iloc.__setitem__(0, f[n].iloc[-1])
            yield lambda f=frame, n=name: f[n].array.__setitem__(0, f[n].array[-1])
            yield lambda f=frame, n=name: f.loc.__setitem__((f.index[0], n), f[n].iloc[-1])
            yield lambda f=frame, n=name: f[n].replace({"T": "B"}, inplace=True)
        yield lambda f=frame: f.index.set_names("called", inplace=True)
        yield lambda f=frame: f.__setitem__("fresh", 1)
        yield lambda f=frame: f.drop(columns=f.columns[0], inplace=True)
    for name in ("obsm", "varm", "obsp", "varp"):
        section = getattr(a, name)
        for key in list(section.keys()):
            yield lambda s=section, k=key: written(s[k])
            yield lambda s=section, k=key: s.__setitem__(k, s[k] * 2)
        yield lambda s=section: s.__delitem__(next(iter(s)))
    for key in list(a.layers.keys()):
        yield lambda k=key: written(read(a.layers[k]))
        yield lambda k=key: a.layers.__setitem__(k, a.layers[k] * 2)
    yield lambda: written(read(a.X))
    yield lambda: setattr(a, "X", a.X * 2)
    yield lambda: a.uns["array"].__setitem__(0, 9)
    yield lambda: a.uns["deep"]["er"]["x"].__setitem__(0, 9)
    yield lambda: a.uns["deep"]["er"].update(more=1)
    yield lambda: a.uns["set"]["x"].append(9)
    yield lambda: a.uns.__setitem__("fresh", 1)
    yield lambda: a.uns.__delitem__("array")
    yield lambda: a.raw.var.loc.__setitem__(("g0", "v"), 9)
    yield lambda: written(a.raw.varm["float"])
    yield lambda: setattr(a, "obs_names", [f"other{i}" for i in range(a.n_obs)])
    yield lambda: setattr(a, "raw", None)


def read(matrix):
    return matrix.compute() if hasattr(matrix, "compute") else matrix


def written(value) -> None:
    if isinstance(value, pd.DataFrame):
        value.iloc[0, 0] = 9.0
    elif sparse.issparse(value):
        value.data[:] = 9
    else:
        value[:] = 9


def write_everything(handle) -> int:
    done = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for write in writes(handle):
            try:
                write()
                done += 1
            except (ValueError, TypeError, KeyError, AttributeError):
                # Read-only to pandas, or gone by now.
                pass
    return done


def state(handle):
    raw = handle.raw
    others = [handle.obs_names.copy(), handle.X.obs_names, None if raw is None else raw.to_adata()]
    return handle.to_adata(), others


def assert_state(handle, before) -> None:
    adata, (names, of_x, raw) = before
    assert_same(handle.to_adata(), adata)
    assert handle.obs_names.equals(names)
    assert handle.obs_names.name == names.name
    assert handle.X.obs_names.equals(of_x)
    if raw is not None:
        assert_same(handle.raw.to_adata(), raw)


TAKEN = {
    "copy": lambda h: h.copy(),
    "copy.deepcopy": copy.deepcopy,
    "pickled": lambda h: pickle.loads(pickle.dumps(h)),
    "view of all": lambda h: h[:],
    "view of a slice": lambda h: h[0:4],
    "view of a mask": lambda h: h[np.arange(N) < 4],
    "view of genes": lambda h: h[:, :3],
    "view of a view": lambda h: h[1:][:, :3][:4],
    "copy of a view": lambda h: h[0:4].copy(),
    "view of a copy": lambda h: h.copy()[:4],
    "transposed": lambda h: h.T,
    "transposed view": lambda h: h[:4].T,
}

STATES = {
    "as stored": lambda h: None,
    "set": held,
    "set and looked at": lambda h: (held(h), looked_at(h)),
    "read whole": materialised,
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("copies") / "x.slaf"
    SLAFConverter().convert_anndata(made(), path)
    return path


@pytest.fixture(params=STATES)
def handle(request, path):
    handle = read_slaf(path)
    STATES[request.param](handle)
    return handle


@pytest.mark.parametrize("taken", TAKEN)
def test_what_is_written_to_it_is_in_it_alone(handle, path, taken):
    """scverse/anndata#1118, #571 uns of views and copies; #383 copies; #1840 .loc"""
    before, other = state(handle), handle[1:5]
    beside = state(other)
    it = TAKEN[taken](handle)
    at_first = state(it)
    assert write_everything(it) > 40
    assert_state(handle, before)
    assert_state(other, beside)
    assert_state(TAKEN[taken](handle), at_first)
    # Nor are the dataset's own caches written to.
    assert_same(read_slaf(path).to_adata(), made())


@pytest.mark.parametrize("taken", [name for name in TAKEN if not name.startswith("view")])
def test_what_is_written_to_the_original_is_not_in_it(handle, taken):
    """scverse/anndata#1118 uns of a view changes the parent"""
    it = TAKEN[taken](handle)
    before = state(TAKEN[taken](handle))
    assert write_everything(handle) > 40
    assert_state(it, before)


def loc(a):
    a.obs.loc[a.obs_names[:2], "kind"] = "B"


@pytest.mark.parametrize("key", [slice(0, 4), [0, 2, 4], np.arange(N) > 1, slice(None)], ids=str)
@pytest.mark.parametrize(
    "write",
    [
        loc,
        lambda a: a.obs.__setitem__("kind", "Z"),
        lambda a: a.obs.drop(columns="n", inplace=True),
        lambda a: a.obsm["float"].__setitem__((slice(None), 0), 5),
        lambda a: a.obsm.__setitem__("int", np.zeros((a.n_obs, 3))),
        lambda a: a.obsm.__delitem__("int"),
        lambda a: a.varm["float"].__setitem__(0, 5),
        lambda a: a.layers.__setitem__("l", np.ones(a.shape)),
        lambda a: a.uns.__setitem__("fresh", 1),
        lambda a: a.uns["deep"]["er"].__setitem__("fresh", 1),
        lambda a: setattr(a, "obs_names", [f"other{i}" for i in range(a.n_obs)]),
    ],
)
def test_a_view_that_is_written_to_is_as_anndatas(path, key, write):
    """scverse/anndata#1840 .loc on a subset; #894 views"""
    handle, adata = read_slaf(path), made()
    views = handle[key], adata[key]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for view in views:
            write(view)
        ours, theirs = views
        assert_same(ours.to_adata(), theirs.copy())
        # AnnData's view of such a view is without what `.loc` wrote.
        assert_same(ours[1:3].to_adata(), theirs.copy()[1:3].copy())
        assert_same(ours.copy().to_adata(), theirs.copy())
        state_of(ours).actualise()
        assert_same(ours.to_adata(), theirs.copy())
    assert_same(handle.to_adata(), made())


def test_what_was_handed_out_stays_the_value(path):
    """scverse/anndata#811 in-place edits of arrays"""
    handle = read_slaf(path)
    for look in (
        lambda: handle.obsm["float"],
        lambda: handle.obsm["frame"],
        lambda: handle.obsp["sparse"],
        lambda: handle.varp["dense"],
        lambda: handle.uns["deep"]["er"],
        lambda: handle.raw,
        lambda: handle.obs,
    ):
        assert look() is look()
    view = handle[:3]
    assert view.obsm["float"] is view.obsm["float"]
    value = view.obsm["float"]
    value[:] = 3
    with pytest.warns(ad.ImplicitModificationWarning):
        view.obs["x"] = 1
    assert view.obsm["float"] is value


def test_a_matrix_in_memory_is_not_what_was_set(path):
    """scverse/anndata#894 X of a view is that of the parent"""
    handle, matrix = read_slaf(path), sparse.csr_matrix(np.ones((N, M), np.float32))
    handle.layers["set"], handle.X = matrix, matrix
    matrix.data[:] = 9
    handle.X.compute().data[:] = 8
    handle.layers["set"].T.compute().data[:] = 7
    for found in (handle.layers["set"], handle.X, handle.T.X):
        assert found.toarray().max() == 1


def test_a_frame_of_other_names_is_refused_as_by_anndata(path):
    """scverse/anndata#299 frames in obsm and obs_names"""
    for data in (read_slaf(path), made()):
        with pytest.raises(ValueError, match="index"):
            data.obsm["new"] = pd.DataFrame({"a": range(N)})
