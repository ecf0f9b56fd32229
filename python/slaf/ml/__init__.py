"""Foundation models: tokenizers and random batches of cells.

>>> from slaf.ml import SLAFDataLoader
>>> for batch in SLAFDataLoader(slaf_array, batch_size=64):      # doctest: +SKIP
...     batch["input_ids"], batch["attention_mask"], batch["cell_ids"]
"""

from slaf.ml.aggregators import GeneformerWindow, ScGPTWindow, SimpleWindow, Window
from slaf.ml.dataloaders import SLAFDataLoader
from slaf.ml.datasets import SLAFIterableDataset
from slaf.ml.samplers import (
    RandomShuffle,
    Shuffle,
    ShuffleType,
    StratifiedShuffle,
    create_shuffle,
)
from slaf.ml.shuffle_quality import batch_entropy
from slaf.ml.tokenizers import (
    GeneformerTokenizer,
    ScGPTTokenizer,
    SlafdbTokenizer,
    SLAFTokenizer,
    TokenizerType,
)

__all__ = [
    "GeneformerTokenizer",
    "GeneformerWindow",
    "RandomShuffle",
    "SLAFDataLoader",
    "SLAFIterableDataset",
    "SLAFTokenizer",
    "ScGPTTokenizer",
    "ScGPTWindow",
    "Shuffle",
    "ShuffleType",
    "SimpleWindow",
    "SlafdbTokenizer",
    "StratifiedShuffle",
    "TokenizerType",
    "Window",
    "batch_entropy",
    "create_shuffle",
]
