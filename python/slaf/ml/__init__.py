"""Foundation models: tokenizers and random batches of cells.

>>> from slaf.ml import SLAFDataLoader
>>> for batch in SLAFDataLoader(slaf_array, batch_size=64):      # doctest: +SKIP
...     batch["input_ids"], batch["attention_mask"], batch["cell_ids"]
"""

from slaf.ml.dataloaders import SLAFDataLoader
from slaf.ml.datasets import SLAFIterableDataset
from slaf.ml.entropy import batch_entropy
from slaf.ml.tokenizers import (
    GeneformerTokenizer,
    ScGPTTokenizer,
    SlafdbTokenizer,
    SLAFTokenizer,
    TokenizerType,
)

__all__ = [
    "GeneformerTokenizer",
    "SLAFDataLoader",
    "SLAFIterableDataset",
    "SLAFTokenizer",
    "ScGPTTokenizer",
    "SlafdbTokenizer",
    "TokenizerType",
    "batch_entropy",
]
