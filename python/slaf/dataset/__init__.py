"""An open dataset, below everything that reads from one."""

from slaf.dataset.dataset import Dataset, OverDataset, dataset_of

__all__ = ["Dataset", "OverDataset", "dataset_of"]
