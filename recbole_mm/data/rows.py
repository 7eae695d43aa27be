"""RecBole's table of tensors, whose rows are picked by tensors: RecBole makes a list of the numbers for each column."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction


class Rows(Interaction):
    """The rows and features of a data set; picked rows are ``Rows``, too, with RecBole's values."""

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            return self.interaction[index]
        if isinstance(index, (np.ndarray, torch.Tensor)):
            index = torch.as_tensor(index) if index.ndim and len(index) else index.tolist()
        return Rows({field: values[index] for field, values in self.interaction.items()})
