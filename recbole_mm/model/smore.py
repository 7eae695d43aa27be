r"""SMORE: MGCN whose modalities are filtered, and fused, in the frequency domain.

"Spectrum-based Modality Representation Fusion Graph Convolutional Network for Multimodal Recommendation", Ong and
Khong, WSDM 2025, arXiv 2412.14978.

.. math::
    y^m = F^{-1}(w^m \odot F(W_1^m x^m + b_1^m)) \qquad
    y^f = F^{-1}(w^f \odot \textstyle\prod_m F(W_1^m x^m + b_1^m)) \\
    \bar e^m = spread(S_m, e \odot \sigma(W_2^m y^m + b_2^m)) \qquad
    \bar e^f = spread(\max_m S_m, e \odot \sigma(W_2^f y^f + b_2^f)) \\
    v = \frac{1}{M + 1} \Big(\sum_m p^m \odot softmax(Q_m(\bar e^f)) \odot \bar e^m + p^f \odot \bar e^f\Big) \qquad
    p = dropout(\sigma(W_3 \bar e + b_3))

Given (section 3): the filters, the two graphs, the preferences; ids, spread over similar items and to users, scores and
loss are MGCN's (`recbole_mm.model.mgcn`). Inferred, with the authors' public code: the Fourier transform is orthonormal
and runs over the d entries of a vector, w starts as a standard normal, Q is two layers with tanh and the softmax runs
over the d entries, v is a mean. Inferred: factors and means run over what there is; what has no modality has no v.

The public code differs as it does from MGCN, and takes another k for each modality.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_mm.layer.attention import query
from recbole_mm.layer.fusion import gate
from recbole_mm.layer.graph import FixedGraph
from recbole_mm.layer.item_graph import greatest_graph
from recbole_mm.layer.projection import masked
from recbole_mm.layer.spectrum import SpectrumFilter
from recbole_mm.model.mgcn import MGCN


class SMORE(MGCN):
    """MGCN with modalities that are filtered and fused in the frequency domain; the fusion is one view more.

    Switches: those of MGCN, ``dropout_prob``.
    """

    def _build(self, config: Any, graphs: list[Tensor], width: int) -> None:
        names, views = self.features.names, len(graphs) + 1 if graphs else 0
        self.dropout_prob = config["dropout_prob"]
        self.projections = nn.ModuleList([nn.Linear(self.features.widths[m], width) for m in names])
        self.features.read_by(self.projections)
        # of the modalities, the last of the fusion
        self.filters = nn.ModuleList([SpectrumFilter(width) for _ in range(views)])
        self.gates = nn.ModuleList([gate(width) for _ in range(views)])
        self.preferences = nn.ModuleList([gate(width) for _ in range(views)])
        self.queries = nn.ModuleList([query(width, width) for _ in graphs])
        weights = [*graphs, greatest_graph(graphs)] if graphs else []
        self.item_graphs = nn.ModuleList([FixedGraph(graph) for graph in weights])

    def _views(self) -> list[Tensor]:
        """Of each modality, then of the fusion, ``[U + I, d]``."""
        present = self.features.present
        held = present.any(dim=1).nonzero().squeeze(1)
        has = list(present[held].unbind(dim=1))
        projected = [self._projected(k, has[k]) for k in range(len(has))]
        views = []
        for k, (graph, pure) in enumerate(zip(self.item_graphs, self.gates, strict=True)):
            one = slice(k, k + 1) if k < len(has) else slice(None)
            gates = pure(self.filters[k](projected[one], has[one]))
            there = has[k] if k < len(has) else torch.ones_like(has[0])
            views.append(self._spread(graph, self._purified(held, masked(gates, there))))
        return views

    def _projected(self, k: int, has: Tensor) -> Tensor:
        """One modality's features at width d, ``[n, d]``, of the items with any, ``has [n]`` says which with this."""
        own = self.projections[k](self.features.held(self.features.names[k])[1])
        return own.new_zeros(len(has), own.shape[1]).index_copy(0, has.nonzero().squeeze(1), own)

    def _fused(self, views: Tensor, behaviour: Tensor, present: Tensor) -> Tensor:
        """V ``[n, d]``, by ``views [n, M + 1, d]``."""
        fusion = views[:, -1]
        shares = [torch.softmax(each(fusion), dim=1) for each in self.queries]
        liked = [F.dropout(each(behaviour), self.dropout_prob, self.training) for each in self.preferences]
        weights = torch.stack([*shares, torch.ones_like(fusion)], dim=1) * torch.stack(liked, dim=1)
        there = torch.cat([present, present.any(dim=1, keepdim=True)], dim=1)
        return masked(weights * views, there).sum(dim=1) / there.sum(dim=1, keepdim=True).clamp(min=1)
