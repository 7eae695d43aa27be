"""Data sets, splits, negatives and loaders: from atomic files and stores to batches."""

from recbole_mm.data.build import create_dataset, data_preparation, loaders_of, split_parts
from recbole_mm.data.dataset import MultimodalDataset, MultimodalSequentialDataset

__all__ = [
    "MultimodalDataset",
    "MultimodalSequentialDataset",
    "create_dataset",
    "data_preparation",
    "loaders_of",
    "split_parts",
]
