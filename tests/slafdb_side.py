"""Runs in slafdb's own environment: reads datasets, and writes them. One process serves
many requests, because slafdb takes seconds to load.

A request is a line of JSON on standard input, `[command, source, target]`:

read DATASET OUT.npz · convert FILE.h5ad DATASET · append FILE.h5ad DATASET · tokens
DATASET OUT.npz

Its answer is a line of JSON, too: null, or an error message."""

import json
import os
import sys
import traceback
import types
from pathlib import Path

import numpy as np
from loguru import logger


def convert(source: str, target: str) -> None:
    from slaf.data import SLAFConverter

    SLAFConverter().convert(source, target)


def append(source: str, target: str) -> None:
    from slaf.data import SLAFConverter

    SLAFConverter().append(source, target)


def without_torch() -> None:
    """Replaces torch, which slafdb imports and whose arrays it makes with numpy. Other
    libraries would take these arrays for torch's, so this process does nothing else
    afterwards."""
    torch = types.ModuleType("torch")
    torch.Tensor, torch.from_numpy = np.ndarray, lambda array: array
    absent = types.SimpleNamespace(is_available=lambda: False)
    torch.cuda, torch.backends = absent, types.SimpleNamespace(mps=absent)
    torch.device = str
    data = types.ModuleType("torch.utils.data")
    data.IterableDataset = object
    sys.modules |= {"torch": torch, "torch.utils": torch, "torch.utils.data": data}


def tokens(source: str, target: str) -> None:
    if "torch" not in sys.modules:
        without_torch()

    import polars as pl
    from slaf import SLAFArray
    from slaf.core.tabular_schema import SLAF_LANCE_COO_SCHEMA
    from slaf.ml.tokenizers import GeneformerTokenizer, ScGPTTokenizer

    array = SLAFArray(source)
    rows = pl.from_arrow(array.expression.to_table())
    arrays = {}
    for kind, make in (("geneformer", GeneformerTokenizer), ("scgpt", ScGPTTokenizer)):
        for width in (6, 2048):
            tokenizer = make(array, max_genes=width)
            grouped = tokenizer.window.apply(
                rows, SLAF_LANCE_COO_SCHEMA, width, use_binned_expressions=False
            )
            values = grouped["expr_sequence"].to_list() if kind == "scgpt" else None
            found = tokenizer.tokenize(grouped["gene_sequence"].to_list(), values)
            names = ("input_ids", "attention_mask", "values")
            for name, made in zip(names, found, strict=True):
                if made is not None:
                    arrays[f"{kind}/{width}/{name}"] = made
    np.savez(target, **arrays)


def read(source: str, target: str) -> None:
    from slaf import SLAFArray
    from slaf.integrations.anndata import read_slaf

    array = SLAFArray(source)
    handle = read_slaf(source)
    names = array.obs["cell_id"].to_list()
    picked = array.get_cell_expression(names[3]).sort("gene_id")
    arrays = {
        "X": handle.X.compute().toarray(),
        "sum": array.query("SELECT SUM(value) AS s FROM expression")["s"].to_numpy(),
        "cell_3_genes": np.array(picked["gene_id"].to_list(), dtype=str),
        "cell_3_values": picked["value"].to_numpy(),
        "obs_names": np.array(names, dtype=str),
        "var_names": np.array(array.var["gene_id"].to_list(), dtype=str),
    }
    for column in array.obs.columns:
        values = array.obs[column]
        arrays[f"obs/{column}"] = np.array([str(v) for v in values], dtype=str)
    for key in handle.obsm.keys():
        arrays[f"obsm/{key}"] = handle.obsm[key]
    for key in handle.obsp.keys():
        arrays[f"obsp/{key}"] = handle.obsp[key]
    for key in handle.layers.keys():
        arrays[f"layers/{key}"] = handle.layers[key].compute().toarray()
    np.savez(target, **arrays)


def serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    # slafdb's own output must not be mixed with the answers.
    os.dup2(2, 1)
    for line in sys.stdin:
        command, source, target = json.loads(line)
        os.chdir(Path(target).parent)
        wrong = None
        try:
            COMMANDS[command](source, target)
        except Exception:
            wrong = traceback.format_exc()
        print(json.dumps(wrong), file=answers, flush=True)
    # slafdb's loading threads would abort the interpreter when it exits.
    os._exit(0)


COMMANDS = {"read": read, "convert": convert, "append": append, "tokens": tokens}

if __name__ == "__main__":
    logger.remove()
    serve()
