"""Numbers that float32 cannot hold, times above all, as float64: RecBole rounds 1.7e9 seconds to steps of 128."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.utils import FeatureType
from torch.nn.utils.rnn import pad_sequence

from recbole_mm.data.rows import Rows

_Host: Any = object  # RecBole's data set, before which the mixin stands; to mypy it may hold anything
_WHOLE = 2**24  # float32 holds every whole number up to it


class ExactMixin(_Host):
    """Keeps times, and float fields of numbers beyond 2^24, as they are in the file.

    A field is float64 where float32 would change it, so that sorting, splits and histories see the order of the file;
    batches hold it so, too. What a model multiplies with its weights is float32 in a batch: the fields of
    ``numerical_features`` and the label.
    """

    def _dataframe_to_interaction(self, data: Any) -> Rows:
        feat = Rows(super()._dataframe_to_interaction(data).interaction)
        for field in feat.columns:
            kind = self.field2type[field]
            is_time = field in (self.time_field, f"{self.time_field}{self.config['LIST_SUFFIX']}")
            if field in self.config["numerical_features"] and not (is_time and kind == FeatureType.FLOAT):
                continue
            if kind == FeatureType.FLOAT:
                column = data[field]  # of a numerical feature it holds lists
                values = column.tolist() if column.dtype == object else column.to_numpy()
                exact = torch.tensor(values, dtype=torch.float64)
            elif kind == FeatureType.FLOAT_SEQ:
                size = self.field2seqlen[field]
                rows = [torch.from_numpy(np.asarray(row[:size], dtype=np.float64)) for row in data[field]]
                exact = pad_sequence(rows, batch_first=True)
            else:
                continue
            changed = exact != feat[field]
            if (changed if is_time else changed & (exact.abs() > _WHOLE)).any():
                feat[field] = exact
        return feat

    def __getitem__(self, index: Any, join: bool = True) -> Any:
        batch, suffix = super().__getitem__(index, join), self.config["LIST_SUFFIX"]
        computed = {*self.config["numerical_features"], self.label_field}
        for field, values in batch.interaction.items():
            if values.dtype == torch.float64 and not computed.isdisjoint((field, field.removesuffix(suffix))):
                batch[field] = values.float()
        return batch


def times(feat: Interaction, field: str) -> np.ndarray:
    """``[n]`` float64 time of each row of ``feat``; of a numerical feature ``[n, 2]`` its number."""
    values = feat[field]
    return (values[:, 0] if values.dim() == 2 else values).numpy()
