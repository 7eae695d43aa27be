"""Frozen item features on the device: one call, whether the table is a buffer or a memory map."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from recbole_mm.layer.projection import masked


class FeatureSource(Protocol):
    """What a table needs of one modality."""

    width: int
    nbytes: int

    def take(self, items: np.ndarray) -> np.ndarray:
        """Vectors ``[n, D]`` float32 of the items."""


class FeatureTable(nn.Module):
    """Vectors of M modalities for I items, with a presence mask; a part that any model can hold.

    A table that fits into ``budget`` bytes is a buffer on the device; a larger one stays where it is (a memory map)
    and the rows asked for are read at each call. The buffers are not part of the state dict: they come from the
    store, not from training.

    Args:
        sources: modality name to source.
        present: BoolTensor ``[I, M]``, columns in the order of ``sources``.
        budget: bytes that all buffers together may take.
        learning_rate: of the modules that :meth:`read_by` names; None: as all others.
        approximate: items near to each other are sought by HNSW (`recbole_mm.layer.neighbours`).

    Attributes:
        names: the modalities.
        widths: D of each.
        resident: whether the vectors are buffers.
        encoders: by modality the module that makes its vectors anew, see :meth:`train_encoder`.
    """

    present: Tensor

    def __init__(
        self,
        sources: Mapping[str, FeatureSource],
        present: Tensor,
        budget: int = 2 << 30,
        learning_rate: float | None = None,
        approximate: bool = False,
    ):
        super().__init__()
        self.names = list(sources)
        self.widths = {name: sources[name].width for name in self.names}
        self.learning_rate, self.approximate = learning_rate, approximate
        self._readers: list[nn.Module] = []  # a list, so that they stay the model's modules
        self.encoders = nn.ModuleDict()
        self._encoder_rates: list[float] = []
        self.register_buffer("present", present, persistent=False)
        self._sources = dict(sources)
        every = np.arange(present.shape[0])
        self.resident = sum(s.nbytes for s in sources.values()) <= budget
        for k, name in enumerate(self.names if self.resident else ()):
            self.register_buffer(f"table_{k}", torch.from_numpy(sources[name].take(every)), persistent=False)

    def forward(self, name: str, items: Tensor | None = None) -> Tensor:
        """Vectors ``[n, D]`` of ``items [n]`` or of all; rows of absent items mean nothing (see :meth:`mask`)."""
        if items is None and (name in self.encoders or not self.resident):
            items = torch.arange(len(self.present), device=self.present.device)
        vectors = self._stored(name, items)
        return self.encoders[name](items, vectors) if name in self.encoders else vectors

    def _stored(self, name: str, items: Tensor | None) -> Tensor:
        if self.resident:
            table: Tensor = getattr(self, f"table_{self.names.index(name)}")
            return table if items is None else table[items]
        assert items is not None
        return torch.from_numpy(self._sources[name].take(items.cpu().numpy())).to(items.device)

    def held(self, name: str) -> tuple[Tensor, Tensor]:
        """The items that have a modality, ``[n]``, and their vectors ``[n, D]``: no copy where id 0 alone has none."""
        present = self.present[:, self.names.index(name)]
        items = present.nonzero().squeeze(1)
        whole = self.resident and name not in self.encoders and len(items) == len(present) - 1
        return items, self(name)[1:] if whole and not present[0] else self(name, items)

    def source(self, name: str) -> FeatureSource:
        """Where the vectors of a modality come from."""
        return self._sources[name]

    def mask(self, items: Tensor) -> Tensor:
        """Presence ``[n, M]`` of ``items [n]``."""
        return self.present[items]

    def maps(self, make: Callable[[int], nn.Module], names: Sequence[str] | None = None) -> nn.ModuleDict:
        """Of each modality, or of ``names``, a module made from its D, a reader (:meth:`read_by`)."""
        made = nn.ModuleDict(
            {name: make(self.widths[name]) for name in (self.names if names is None else names)}
        )
        self.read_by(made)
        return made

    def mapped(self, maps: nn.ModuleDict, items: Tensor | None = None) -> list[Tensor]:
        """What ``maps`` make of the vectors of ``items [n]`` or of all: ``[n, d]`` of each, zeros where absent."""
        present = self.present if items is None else self.mask(items)
        columns = [self.names.index(name) for name in maps]
        return [masked(maps[self.names[k]](self(self.names[k], items)), present[:, k]) for k in columns]

    def read_by(self, *modules: nn.Module) -> None:
        """Name the model's modules whose parameters act on features alone; they learn at ``learning_rate``."""
        self._readers += modules

    def train_encoder(self, name: str, encoder: nn.Module, learning_rate: float) -> None:
        """Have the vectors of a modality made by ``encoder``, which learns with the model, at a rate of its own.

        It is called with items ``[n]`` and the vectors ``[n, D]`` that the table holds of them, which stay where it has
        nothing to encode.
        """
        self.encoders[name] = encoder
        self._encoder_rates.append(learning_rate)

    def parameter_groups(self, model: nn.Module, learning_rate: float) -> list[dict[str, Any]]:
        """The optimiser's groups for ``model``: its other parameters, then those of the readers, then encoders'."""
        apart: list[tuple[float, list[nn.Parameter]]] = []
        if self.learning_rate is not None:
            apart.append((self.learning_rate, [p for m in self._readers for p in m.parameters()]))
        of_encoders = zip(self._encoder_rates, self.encoders.values(), strict=True)
        apart += [(rate, list(encoder.parameters())) for rate, encoder in of_encoders]
        chosen = {id(p) for _, parameters in apart for p in parameters}
        rest = [p for p in model.parameters() if id(p) not in chosen]
        groups = [(learning_rate, rest), *((rate, [p for p in ps if p.requires_grad]) for rate, ps in apart)]
        return [{"params": parameters, "lr": rate} for rate, parameters in groups]
