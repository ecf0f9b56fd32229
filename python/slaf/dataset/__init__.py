"""The open dataset, which all higher floors read from."""

from slaf.dataset.dataset import Dataset, OverDataset, dataset_of

__all__ = ["Dataset", "OverDataset", "dataset_of"]
