"""Compares slafdb's public names, signatures and defaults with ours, so that code for
slafdb runs unchanged. They are read from slafdb's source in its own environment
(`SLAFDB_PYTHON`)."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

#: The modules that we stand in for.
MODULES = [
    "core.fragment_processor",
    "core.query_optimizer",
    "core.slaf",
    "core.sparse_ops",
    "core.tabular_schema",
    "data.chunked_reader",
    "data.converter",
    "data.utils",
    "integrations.anndata",
    "integrations.scanpy",
    "ml.aggregators",
    "ml.dataloaders",
    "ml.datasets",
    "ml.distributed",
    "ml.samplers",
    "ml.tokenizers",
]
PACKAGES = ["", "core", "data", "integrations", "ml"]

#: What there is none of, on purpose; `docs/slafdb.md` says what to do instead.
ABSENT_MODULES = {
    "cli",
    "data.dataset",
    "distributed",
    "ml.tiledb_dataloaders",
}
ABSENT = {
    "AsyncPrefetcher",
    "PrefetchBatch",
    "PrefetchBatchProcessor",
    "RawPrefetchBatch",
    "TileDBDataLoader",
    "TileDBIterableDataset",
    "TokenizedPrefetchBatch",
    "create_app",
    "create_window",
    "deploy_dataloader_app",
    "print_completion",
    "print_epoch_transition",
    "print_prefetch",
    "print_training",
    "print_warning",
}
DOCS = Path(__file__).parent.parent / "docs/slafdb.md"


@cache
def folder() -> Path:
    """The folder in which slafdb is installed."""
    where = "import importlib.util as u; print(u.find_spec('slaf').submodule_search_locations[0])"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [os.environ["SLAFDB_PYTHON"], "-c", where]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment, cwd="/"
    )
    return Path(done.stdout.strip())


def source_of(module: str) -> ast.Module:
    return ast.parse((folder() / f"{module.replace('.', '/')}.py").read_text())


def public(nodes) -> dict[str, ast.AST]:
    kinds = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
    return {n.name: n for n in nodes if isinstance(n, kinds) and not n.name.startswith("_")}


def is_property(function: ast.FunctionDef) -> bool:
    names = [d.id for d in function.decorator_list if isinstance(d, ast.Name)]
    return "property" in names or "cached_property" in names


def parameters(function: ast.FunctionDef, bound: bool) -> list[tuple[str, str | None]]:
    """Names, and defaults as written in the source."""
    arguments = function.args
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
    found = list(zip(plain, defaults, strict=True))
    found += list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    static = any(
        isinstance(d, ast.Name) and d.id == "staticmethod" for d in function.decorator_list
    )
    if bound and not static:
        found = found[1:]
    return [(a.arg, None if d is None else ast.unparse(d)) for a, d in found]


def compare(name: str, function: ast.FunctionDef, ours, bound: bool) -> list[str]:
    wanted = parameters(function, bound)
    try:
        signature = inspect.signature(ours)
    except (TypeError, ValueError):
        return [f"{name}: no signature"]
    got = dict(signature.parameters)
    got.pop("self", None)
    takes_all = any(p.kind is p.VAR_KEYWORD for p in got.values())
    wrong = []
    order = [p for p in got if p in dict(wanted)]
    if order != [p for p, _ in wanted if p in got]:
        wrong.append(f"{name}: the parameters are in the order {order}")
    for parameter, default in wanted:
        if parameter not in got:
            if not takes_all:
                wrong.append(f"{name}: there is no parameter {parameter}")
            continue
        ours_default = got[parameter].default
        if default is None:
            continue
        if ours_default is inspect.Parameter.empty:
            wrong.append(f"{name}: {parameter} has no default")
        elif default in ("np.inf", "float('inf')"):
            wrong += [] if ours_default == float("inf") else [f"{name}: {parameter}"]
        elif isinstance(theirs := ast.parse(default, mode="eval").body, ast.Constant):
            if ours_default != theirs.value:
                wrong.append(f"{name}: {parameter} is {ours_default!r}, theirs {default}")
    for parameter, found in got.items():
        needed = found.default is found.empty and found.kind in (
            found.POSITIONAL_OR_KEYWORD,
            found.KEYWORD_ONLY,
        )
        if needed and parameter not in dict(wanted):
            wrong.append(f"{name}: {parameter} must be given")
    return wrong


@pytest.mark.parametrize("module", MODULES)
def test_a_module_stands_in_for_slafdbs(module):
    ours = importlib.import_module(f"slaf.{module}")
    wrong = []
    for name, node in public(source_of(module).body).items():
        found = getattr(ours, name, None)
        if found is None:
            wrong += [] if name in ABSENT else [f"{name} is missing"]
        elif isinstance(node, ast.FunctionDef):
            wrong += compare(name, node, found, bound=False)
        else:
            wrong += compare_class(name, node, found)
    assert not wrong, "\n".join(wrong)


def test_every_module_is_ours_or_absent_on_purpose():
    """Checks all of slafdb's modules."""
    files = (path.relative_to(folder()).with_suffix("") for path in folder().rglob("*.py"))
    modules = {".".join(path.parts).removesuffix("__init__").rstrip(".") for path in files}
    unknown = {
        name
        for name in modules - set(MODULES) - set(PACKAGES)
        if name not in ABSENT_MODULES and name.partition(".")[0] not in ABSENT_MODULES
    }
    assert not unknown
    told = DOCS.read_text()
    silent = [name for name in ABSENT | ABSENT_MODULES if f"`{name}`" not in told]
    assert not silent, "docs/slafdb.md does not say what is instead of it"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_gives_slafdbs_names(package):
    tree = source_of(f"{package}.__init__".lstrip("."))
    names = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    } | set(public(tree.body))
    ours = importlib.import_module(f"slaf.{package}".rstrip("."))
    missing = [n for n in names - ABSENT if n[0] != "_" and not hasattr(ours, n)]
    assert not missing


def compare_class(name: str, node: ast.ClassDef, ours) -> list[str]:
    wrong = []
    methods = public(node.body)
    begin = next((n for n in node.body if getattr(n, "name", "") == "__init__"), None)
    if begin is not None:
        wrong += compare(name, begin, ours, bound=True)
    for method, definition in methods.items():
        if not isinstance(definition, ast.FunctionDef):
            continue
        label = f"{name}.{method}"
        found = inspect.getattr_static(ours, method, None)
        if found is None:
            wrong += [] if method in ABSENT else [f"{label} is missing"]
            continue
        if is_property(definition):
            if callable(found) and not isinstance(found, type):
                wrong.append(f"{label} is a property")
            continue
        wrong += compare(label, definition, getattr(ours, method), bound=True)
    return wrong


def theirs(module: str):
    """A module of slafdb that needs only Polars."""
    path = folder() / f"{module.replace('.', '/')}.py"
    spec = importlib.util.spec_from_file_location(f"slafdbs_{path.stem}", path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def rows() -> pl.DataFrame:
    """The values of six cells, some of them equal."""
    rng = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "cell_integer_id": np.repeat(np.arange(6), 20),
            "gene_integer_id": np.tile(np.arange(20), 6),
            "value": rng.integers(1, 12, 120),
            "cell_type": np.repeat(["a", "b", "a", "a", "b", "a"], 20),
        }
    )


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("simple", {}),
        ("scgpt", {}),
        ("scgpt", {"n_expression_bins": 3}),
        ("scgpt", {"use_binned_expressions": False}),
        ("geneformer", {}),
        ("geneformer", {"min_percentile": 40}),
    ],
)
def test_windows_are_slafdbs(rows, kind, options):
    from slaf.core import SLAF_LANCE_COO_SCHEMA
    from slaf.ml.aggregators import create_window

    got, want = (
        make(kind).apply(rows, SLAF_LANCE_COO_SCHEMA, 4, **options)
        for make in (create_window, theirs("ml.aggregators").create_window)
    )
    assert_frame_equal(got, want)


@pytest.mark.parametrize("batch_size", [None, 4])
def test_shuffles_are_slafdbs(rows, batch_size):
    from slaf.ml import create_shuffle

    got = create_shuffle("random").apply(rows, 3, batch_size)
    want = theirs("ml.samplers").create_shuffle("random").apply(rows, 3, batch_size)
    for ours, other in zip(*([x] if batch_size is None else x for x in (got, want)), strict=True):
        assert_frame_equal(ours, other)
    got = create_shuffle("stratified").apply(rows, 3, batch_size)
    whole = got if batch_size is None else pl.concat(got)
    assert_frame_equal(whole.sort(rows.columns[:2]), rows)
    cells = whole.group_by("cell_integer_id", maintain_order=True).first()
    assert cells["cell_type"].to_list() == ["a", "b", "a", "b", "a", "a"]
    assert len(create_shuffle("stratified").apply(rows[:0], 3, 4)) == 0


def test_text_of_pandas_can_be_written(tmp_path):
    """`ensure_h5ad_writable` works for every dtype of text."""
    import anndata as ad
    import pandas as pd
    from slaf.integrations import ensure_h5ad_writable

    texts = ("string[python]", "string[pyarrow]", "large_string[pyarrow]")
    obs = pd.DataFrame({name: pd.array(["x", None], dtype=name) for name in texts})
    obs["kind"] = pd.Categorical(["u", "v"]).rename_categories(pd.array(["u", "v"], "string"))
    obs.index = pd.Index(["c1", "c2"], dtype="string[pyarrow]")
    adata = ad.AnnData(np.eye(2), obs=obs)
    ensure_h5ad_writable(adata)
    assert {str(t) for t in adata.obs.dtypes} == {"object", "category"}
    assert adata.obs_names.dtype == object
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    assert list(back.obs["kind"]) == ["u", "v"]
    assert list(back.obs["string[pyarrow]"])[0] == "x"


def test_lazy_import_helpers():
    import slaf
    from slaf.integrations.anndata import LazyAnnData, LazyExpressionMatrix
    from slaf.integrations.scanpy import pp

    assert slaf.get_integrations() == (LazyAnnData, LazyExpressionMatrix, pp)
    loader, tokenizer, kinds, shuffle = slaf.get_ml_components()
    assert (loader.__name__, tokenizer.__name__) == ("SLAFDataLoader", "SLAFTokenizer")
    assert kinds("scgpt") is kinds.SCGPT
    assert type(shuffle("random")).__name__ == "RandomShuffle"
    assert slaf.get_converter() is importlib.import_module("slaf.data").SLAFConverter


def test_slafdbs_pieces_of_distributed_loading_do_what_they_did(rows):
    from slaf.core import SLAF_LANCE_COO_SCHEMA as schema
    from slaf.distributed import loading

    got, want = (
        module.Window().apply(rows, schema, 4).sort("cell_integer_id")
        for module in (loading, theirs("distributed.window"))
    )
    assert_frame_equal(got, want)
    got, want = (
        module.Shuffle().apply(rows, schema, 7)
        for module in (loading, theirs("distributed.shuffle"))
    )
    assert_frame_equal(got, want)

    class Source(loading.DataSource):
        def get_partition_count(self):
            return 23

        def create_reader(self, partition_index, batch_size):
            return iter([])

    got, want = (
        module.Coordinator(Source(), 5).assign_partitions()
        for module in (loading, theirs("distributed.coordinator"))
    )
    assert {name: one.partition_indices for name, one in got.items()} == {
        name: one.partition_indices for name, one in want.items()
    }
    for name in ("BatchProcessor", "DistributedDataLoader", "GroupBoundaryHandler"):
        with pytest.raises(ImportError, match=f"There is no `{name}` here: .*\\.$"):
            getattr(loading, name)
