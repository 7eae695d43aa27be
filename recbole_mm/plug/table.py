"""Vectors of stores in the rows of an embedding: the module behaves as before, its rows are other vectors.

With W the embedding's own rows (the id vectors), V_m the vectors of store m, P_m a projection where the widths differ
(none where they are equal), z_i the sum of P_m V_m,i over the stores that hold i:

``init``, ``replace``   z_i where a store holds i, W_i elsewhere
``add``                 W_i + z_i
``concat``              A W_i + z_i with a P_m for every store, which is a linear layer over [W_i ; V_1,i ; V_2,i …];
                        W_i where no store holds i

A row that no training row of the data is about (``cold``) has nothing to learn from but its part as a negative: its
W_i is left out of ``add`` and ``concat``, and its V_m,i stays as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_mm.errors import WrongUse
from recbole_mm.layer.feature import FeatureTable

#: rows read from disk at once for a projection
BLOCK = 8192
IN, OUT = "input", "output"


@dataclass(frozen=True)
class Use:
    """How vectors are used, the same for all tables of a model.

    Attributes:
        mode: ``init``, ``add``, ``replace`` or ``concat``.
        frozen: names of the stores whose vectors are not trained.
        fixed: their projections are not trained either.
    """

    mode: str
    frozen: Collection[str]
    fixed: bool = False


class Plug(nn.Module):
    """Makes the rows of a block of an embedding from its own rows and from the vectors of stores.

    Args:
        own: ``[n, d]`` the block's own rows as they are; only their scale is looked at.
        features: vectors of n ids, 0 where absent.
        use: how.
        warm: BoolTensor ``[n]``, the ids with a training row.
        generator: draws the projections, so that all else that is drawn stays the same.
        prints: name -> fingerprint of its store; frozen vectors are not in a checkpoint, but this is.
    """

    present: Tensor
    cold: Tensor

    def __init__(
        self,
        own: Tensor,
        features: FeatureTable,
        use: Use,
        warm: Tensor,
        generator: torch.Generator,
        prints: Mapping[str, str],
    ) -> None:
        super().__init__()
        self.features, self.use, width = features, use, own.shape[1]
        self._prints = {name: prints[name] for name in features.names if name in use.frozen}
        present = features.present.any(dim=1)
        self.register_buffer("present", present, persistent=False)
        self.register_buffer("cold", present & ~warm, persistent=False)
        self.vectors, self.learns = nn.ParameterDict(), nn.Module()
        self.projections, self._staying = nn.ParameterDict(), set[str]()
        for k, name in enumerate(features.names):
            if name not in use.frozen:
                self.vectors[_key(name)] = nn.Parameter(features(name).clone())
                mask = features.present[:, k] & warm
                self.learns.register_buffer(_key(name), mask.unsqueeze(1), persistent=False)
                if not torch.equal(mask, features.present[:, k]):
                    self._staying.add(_key(name))
            if use.mode == "concat" or features.widths[name] != width:
                self.projections[_key(name)] = self._projection(name, own, generator)
        self.mix = nn.Parameter(torch.eye(width)) if use.mode == "concat" else None

    def _projection(self, name: str, own: Tensor, generator: torch.Generator) -> nn.Parameter:
        """``[d, D]``, drawn; all stores together start at the scale of the block's own rows, whatever theirs is."""
        drawn = torch.randn(own.shape[1], self.features.widths[name], generator=generator)
        squares, of = 0.0, self.present.nonzero().squeeze(1)
        for ids in of.split(BLOCK):
            squares += float((self.features(name, ids) @ drawn.t()).pow(2).sum())
        scale = (squares / max(own.shape[1] * len(of), 1)) ** 0.5
        wanted = float(own[of].pow(2).mean().sqrt()) if len(of) else 0.0
        factor = wanted / scale / len(self.features.names) ** 0.5 if scale and wanted else 1.0
        return nn.Parameter(drawn * factor, requires_grad=not self.use.fixed)

    def forward(self, own: Tensor, ids: Tensor | None = None) -> Tensor:
        """Rows ``[k, d]`` of ``ids [k]``, whose own rows are ``own [k, d]``; of all n ids by default."""
        total: Any = sum(self._part(name, ids) for name in self.features.names)
        present, cold = (_of(mask, ids).unsqueeze(1) for mask in (self.present, self.cold))
        if self.use.mode == "add":
            return own.masked_fill(cold, 0.0) + total
        if self.mix is not None:
            total = F.linear(own.masked_fill(cold, 0.0), self.mix) + total
        return torch.where(present, total, own)

    def _part(self, name: str, ids: Tensor | None) -> Tensor:
        """P_m V_m of ``ids``, ``[k, d]``; 0 for an id that the store does not hold."""
        key = _key(name)
        projection = self.projections.get(key)
        if key in self.vectors:
            vectors = _of(self.vectors[key], ids)
            # as the store has them: weight decay moves what has no gradient, too
            others = self.features(name, ids) if key in self._staying else vectors.new_zeros(())
            vectors = torch.where(_of(getattr(self.learns, key), ids), vectors, others)
        elif projection is None or self.features.resident:
            vectors = self.features(name, ids)
        else:
            every = torch.arange(len(self.present), device=self.present.device) if ids is None else ids
            return _ProjectedFromDisk.apply(projection, self.features, name, every)  # type: ignore[no-any-return]
        return vectors if projection is None else F.linear(vectors, projection)

    def get_extra_state(self) -> Tensor:
        """Which stores hold the frozen vectors, ``[n]`` uint8, in each checkpoint."""
        return torch.tensor(list("".join(self._prints.values()).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Compare. Raises ``WrongUse`` where the frozen vectors are not those of the checkpoint."""
        if not torch.equal(state.cpu(), self.get_extra_state()):
            raise WrongUse(
                f"pretrained vectors ({', '.join(self._prints)}): the store is another than when this checkpoint was "
                "written"
            )


class _ProjectedFromDisk(torch.autograd.Function):
    """``V P^T`` in blocks that are read anew for the gradient, so that V is never whole in memory."""

    @staticmethod
    def forward(ctx: Any, projection: Tensor, features: FeatureTable, name: str, ids: Tensor) -> Tensor:
        ctx.of = features, name, ids
        return torch.cat([features(name, part) @ projection.t() for part in ids.split(BLOCK)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        features, name, ids = ctx.of
        parts = zip(gradients[0].split(BLOCK), ids.split(BLOCK), strict=True)
        gradient: Any = sum(of_part.t() @ features(name, part) for of_part, part in parts)
        return gradient, None, None, None


class PluggedEmbedding(nn.Embedding):
    """An embedding after :func:`plug_into`: ``weight`` and lookups are of the plugged rows.

    The parameter, its name in the state dict and the optimiser's view of it are those of the plain embedding. Asked
    for more rows than a block has, the block is computed once, and kept until its parts or the mode of gradients
    change, a backward pass goes through it or :meth:`train` is called.

    Attributes:
        plugs: ``item`` or ``user`` -> its `Plug`.
        starts: the first row of each block.
        at: where the plugged rows are seen: lookups of several items a row are ``input``, all else is ``output``.
    """

    plugs: nn.ModuleDict
    starts: dict[str, int]
    at: frozenset[str]
    _kept: dict[str, tuple[Any, Tensor]]

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """``[rows, d]``; not a parameter: what is written into it is lost."""
        return self.whole() if OUT in self.at else self.own

    @property
    def own(self) -> Tensor:
        """The parameter W ``[rows, d]``."""
        return self._parameters["weight"]  # type: ignore[return-value]

    def forward(self, input: Tensor) -> Tensor:
        """Vectors of ``input``, any shape."""
        if (IN if input.dim() > 1 else OUT) not in self.at:
            return F.embedding(input, self.own, self.padding_idx)
        held = sum(len(plug.present) for plug in self._plugs.values())
        if held + 2 >= self.num_embeddings and input.numel() >= held:
            return F.embedding(input, self.whole(), self.padding_idx)
        out = F.embedding(input, self.own, self.padding_idx)
        for kind, plug in self._plugs.items():
            n = len(plug.present)
            ids = input - self.starts[kind]
            there = (ids >= 0) & (ids < n) & plug.present[ids.clamp(0, n - 1)]
            ids = ids[there]
            rows = self.block(kind)[ids] if input.numel() >= n else plug(out[there], ids)
            out = out.index_put((there,), rows.to(out.dtype))
        return out

    @property
    def _plugs(self) -> dict[str, Plug]:
        return dict(self.plugs.items())  # type: ignore[arg-type]  # a ModuleDict knows modules alone

    def block(self, kind: str) -> Tensor:
        """The plugged rows ``[n, d]`` of all users or items."""
        return self._keep(kind, lambda: self._plugs[kind](self._rows(kind)))

    def whole(self) -> Tensor:
        """All rows ``[rows, d]``, plugged or not."""
        return self._keep("", self._whole)

    def _rows(self, kind: str) -> Tensor:
        start = self.starts[kind]
        return self.own[start : start + len(self._plugs[kind].present)]

    def _whole(self) -> Tensor:
        parts, end = [], 0
        for kind in sorted(self.plugs, key=self.starts.__getitem__):
            rows = self.block(kind)
            parts += [self.own[end : self.starts[kind]], rows]
            end = self.starts[kind] + len(rows)
        parts.append(self.own[end:])
        parts = [part for part in parts if len(part)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def train(self, mode: bool = True) -> PluggedEmbedding:
        """Between training and evaluation nothing is kept: a fused optimiser counts no versions of what it writes."""
        self._kept.clear()
        return super().train(mode)

    def _keep(self, kind: str, make: Any) -> Tensor:
        versions = tuple((id(p), p._version) for p in self.parameters())
        mode = torch.is_grad_enabled(), torch.is_autocast_enabled()
        known = self._kept.get(kind)
        if known is not None and known[0] == (mode, versions):
            return known[1]
        made: Tensor = make()
        self._kept[kind] = (mode, versions), made
        if made.requires_grad:  # its graph is gone after a backward pass
            made.register_hook(lambda _: self._kept.clear())
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}


def plug_into(embedding: nn.Embedding, kind: str, start: int, plug: Plug, at: frozenset[str]) -> None:
    """Let ``embedding`` hold ``plug`` in its rows from ``start`` on."""
    if not isinstance(embedding, PluggedEmbedding):
        embedding.__class__ = PluggedEmbedding
        embedding.plugs = nn.ModuleDict()
        embedding.starts, embedding.at, embedding._kept = {}, at, {}  # type: ignore[assignment]
    assert isinstance(embedding, PluggedEmbedding)
    embedding.plugs[kind] = plug.to(embedding.own.device)
    embedding.starts[kind] = start


def _of(values: Tensor, ids: Tensor | None) -> Tensor:
    return values if ids is None else values[ids]


def _key(name: str) -> str:
    """A name that a module's part may have, another for each ``name``."""
    return f"of_{name.replace('_', '__').replace('.', '_d')}"
