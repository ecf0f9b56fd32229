"""The text display of a dataset."""

from __future__ import annotations

from html import escape

from slaf.dataset.dataset import Dataset


def dataset_html(dataset: Dataset) -> str:
    return f"<pre>{escape(dataset_text(dataset))}</pre>"


def dataset_text(dataset: Dataset) -> str:
    """What a dataset holds, a line each."""
    cells, genes = dataset.shape
    nnz = dataset.engine.nnz
    density = 100 * nnz / (cells * genes) if cells * genes else 0.0
    names = lambda axis: [note["name"] for note in dataset.column_notes(axis)]  # noqa: E731
    lines = [
        f"SLAF dataset  {dataset.path}",
        f"  shape       {cells:,} cells × {genes:,} genes",
        f"  expression  {nnz:,} values, {density:.2f} % dense, read as {dataset.x_dtype}",
        f"  obs         {', '.join(names('obs')) or '-'}",
        f"  var         {', '.join(names('var')) or '-'}",
        f"  obsm        {', '.join(dataset.vector_columns('cells')) or '-'}",
        f"  layers      {', '.join(dataset.keys('layers')) or '-'}",
        f"  format      {dataset.config.get('format_version', 'unknown')}",
        f"  version     {dataset.version or '-'}",
        f"  by gene     {_by_gene(dataset)}",
    ]
    if defect := dataset.engine.defect():
        lines.append(f"  repaired    {defect}; rows are read by their own ids instead")
    return "\n".join(lines)


def _by_gene(dataset: Dataset) -> str:
    by_gene, _ = dataset.engine.companions()
    if by_gene:
        return "yes"
    stale = "companions" in dataset.notes
    return "stale; `slaf index` makes it anew" if stale else "no; `slaf index` makes it"
