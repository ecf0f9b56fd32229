"""Every way to change a handle; the same change is made to an AnnData in memory."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

N, M = 8, 5


def made() -> ad.AnnData:
    rng = np.random.default_rng(0)
    cells = pd.Index([f"c{i}" for i in range(N)], name="barcode")
    adata = ad.AnnData(
        sparse.csr_matrix(rng.integers(0, 3, (N, M)).astype(np.float32)),
        obs=pd.DataFrame(
            {
                "kind": ["T"] * N,
                "n": np.arange(N),
                "score": np.arange(N) / 4,
                "cat": pd.Categorical(list("aabbccaa")),
                "gone.x": 1.0,
                "flag": np.arange(N) % 2 == 0,
                "maybe": pd.array([1, None] * (N // 2), dtype="Int64"),
            },
            index=cells,
        ),
        var=pd.DataFrame({"f": np.arange(M)}, index=[f"g{i}" for i in range(M)]),
    )
    adata.obsm["X_pca"] = rng.normal(size=(N, 3)).astype(np.float32)
    adata.obsm["ints"] = np.ones((N, 2), int)
    adata.obsm["frame"] = pd.DataFrame({"u": np.ones(N)}, index=cells)
    adata.varm["PCs"] = rng.normal(size=(M, 3))
    adata.obsp["near"] = sparse.random(N, N, 0.4, "csr", random_state=0)
    adata.obsp["far"] = sparse.random(N, N, 0.4, "csr", random_state=1)
    adata.varp["alike"] = np.eye(M)
    adata.layers["log"] = adata.X.log1p()
    adata.layers["raw.counts"] = adata.X.copy()
    adata.uns["d"] = {"x": 1, "deep": {"list": np.arange(3)}}
    adata.uns["cat_colors"] = np.array(["#000000", "#111111", "#222222"], dtype=object)
    adata.raw = adata.copy()
    return adata


def attribute(name, value):
    return lambda a: setattr(a, name, value(a) if callable(value) else value)


def item(section, key, value):
    return lambda a: getattr(a, section).__setitem__(key, value() if callable(value) else value)


def without(section, key):
    return lambda a: getattr(a, section).__delitem__(key)


def of_frame(name, method, *args, **kwargs):
    return lambda a: getattr(getattr(a, name), method)(*args, **kwargs)


def loc(a):
    a.obs.loc[a.obs_names[1:3], "kind"] = "B"


def loc_of_mask(a):
    a.obs.loc[a.obs["n"] > 3, ["score", "n"]] = 7


def iloc(a):
    names = list(a.obs.columns)
    # Other edits move, rename and delete columns.
    for name in {"n", "n_"} & set(names):
        a.obs.iloc[0, names.index(name)] = 99


def at(a):
    a.obs.at[a.obs_names[-1], "n"] = 77


def new_by_loc(a):
    a.obs.loc[:, "fresh"] = 2.5


def categories(a):
    a.obs["cat"] = a.obs["cat"].cat.rename_categories({"a": "A", "b": "B", "c": "C"})


def categories_in_order(a):
    a.obs["cat"] = a.obs["cat"].cat.reorder_categories(["c", "b", "a"])


def columns_in_order(a):
    a.obs = a.obs[sorted(a.obs.columns)]


def columns_renamed(a):
    a.obs.columns = [f"{name}_" for name in a.obs.columns]


def swapped(a):
    a.obs.rename(columns={"n": "score", "score": "n"}, inplace=True)


def values_of_a_vector(a):
    a.obsm["X_pca"][:, 0] = 5


def values_of_ints(a):
    a.obsm["ints"] += 3


def values_of_an_obsm_frame(a):
    a.obsm["frame"].loc[a.obs_names[2], "u"] = 9.0


def values_of_varm(a):
    a.varm["PCs"][0] *= 2


def values_of_a_graph(a):
    a.obsp["near"].data[:] = 4


def values_of_a_dense_graph(a):
    a.varp["alike"][0, 1] = 4


def nested(a):
    a.uns["d"]["x"] = 2


def deep(a):
    a.uns["d"]["deep"]["list"][1] = 50
    a.uns["d"]["deep"]["more"] = "text"


def index(a):
    # The first edit breaks AnnData if there are frames in obsm.
    ours = not isinstance(a, ad.AnnData)
    setattr(*((a.obs, "index") if ours else (a, "obs_names")), [f"i{i}" for i in range(N)])


def names_as_a_column(a):
    if isinstance(a, ad.AnnData):
        frame = a.obs.reset_index()
        a.obs = frame.set_axis(frame.index.astype(str))
    else:
        a.obs.reset_index(inplace=True)


def names_of_the_index(a):
    a.obs.index.name = "cell"


EDITS = {
    "obs.loc": loc,
    "obs.loc with a mask": loc_of_mask,
    "obs.iloc": iloc,
    "obs.at": at,
    "a column by obs.loc": new_by_loc,
    "obs[...] =": item("obs", "kind", "S"),
    "a column of dots": item("obs", "percent.mt", lambda: np.arange(N) * 0.5),
    "replace": of_frame("obs", "replace", {"kind": {"T": "Q"}}, inplace=True),
    "update": of_frame("obs", "update", pd.DataFrame({"n": [50]}, index=["c0"])),
    "insert": of_frame("obs", "insert", 0, "first", np.arange(N)),
    "fillna": of_frame("obs", "fillna", {"maybe": 0}, inplace=True),
    "rename": of_frame("obs", "rename", columns={"kind": "sort"}, inplace=True),
    "rename to each other": swapped,
    "drop": of_frame("obs", "drop", columns=["gone.x"], inplace=True),
    "pop": of_frame("obs", "pop", "flag"),
    "del obs": without("obs", "cat"),
    "obs.columns =": columns_renamed,
    "obs = obs.assign": attribute("obs", lambda a: a.obs.assign(kind="Z", new=1)),
    "obs = a frame": attribute("obs", lambda a: pd.DataFrame({"only": 1}, index=a.obs_names)),
    "obs in another order": columns_in_order,
    "categories": categories,
    "order of categories": categories_in_order,
    "var.loc": lambda a: a.var.loc.__setitem__((a.var_names[0], "f"), 5),
    "obs_names": attribute("obs_names", [f"n{i}" for i in range(N)]),
    "obs_names twice": attribute("obs_names", ["a", "a", *"bcdefg"]),
    "obs.index": index,
    "reset_index": names_as_a_column,
    "obs.index.name": names_of_the_index,
    "var_names": attribute("var_names", [f"n{i}" for i in range(M)]),
    "obsm in place": values_of_a_vector,
    "obsm of ints in place": values_of_ints,
    "obsm frame in place": values_of_an_obsm_frame,
    "varm in place": values_of_varm,
    "obsp in place": values_of_a_graph,
    "varp in place": values_of_a_dense_graph,
    "obsm of ints": item("obsm", "X_pca", lambda: np.arange(N * 2).reshape(N, 2)),
    "obsm of floats": item("obsm", "ints", lambda: np.full((N, 4), 0.5)),
    "obsm new": item("obsm", "X_umap", lambda: np.ones((N, 2), np.float32)),
    "obsp new": item("obsp", "new", lambda: sparse.eye(N, format="csr")),
    "del obsm": without("obsm", "X_pca"),
    "del obsm of ints": without("obsm", "ints"),
    "del varm": without("varm", "PCs"),
    "del obsp": without("obsp", "near"),
    "del varp": without("varp", "alike"),
    "del layers": without("layers", "log"),
    "del layers beside the tables": without("layers", "raw.counts"),
    "layers": item("layers", "log", lambda: sparse.csr_matrix(np.full((N, M), 2.0))),
    "layers new": item("layers", "more", lambda: np.ones((N, M), np.float32)),
    "uns nested": nested,
    "uns deep": deep,
    "uns new": item("uns", "list", lambda: np.arange(4)),
    "del uns": without("uns", "d"),
    "del raw": lambda a: delattr(a, "raw"),
    "raw": lambda a: setattr(a, "raw", a[:, :3].copy()),
}
