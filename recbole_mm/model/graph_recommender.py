"""The base of models over a graph of users and items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_mm.layer.lightgcn import LightGCN
from recbole_mm.layer.loss import Terms, bpr, half_squares, weighted
from recbole_mm.layer.scoring import scores_of_rows
from recbole_mm.model.base import TwoTowerRecommender

#: vectors of all users ``[U, d]`` and all items ``[I, d]``, and of other nodes where there are any
Nodes = tuple[Tensor, ...]


class GraphRecommender(TwoTowerRecommender):
    """Users and items are nodes of a graph, whose vectors are made all at once: once a step, once an evaluation.

    A subclass gives :meth:`nodes`; where its users and items score otherwise than by their product, also
    :meth:`~TwoTowerRecommender.encode_items` and :meth:`~TwoTowerRecommender.user_vectors`, over :meth:`all_nodes`. The
    loss is BPR with L2 where the subclass has no :meth:`calculate_loss` of its own.
    """

    #: of the L2 in :meth:`calculate_loss`
    reg_weight: float = 0.0
    #: of modalities in a graph of items, by name
    modality_weights: Mapping[str, float] | None = None

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self._node_cache: Nodes | None = None

    def light_gcn(self, config: Any, dataset: Any) -> LightGCN:
        """``embedding_size`` wide, ``n_layers`` over the graph of the training pairs."""
        users, items = self.training_pairs(dataset)
        sizes = self.n_users, self.n_items, config["embedding_size"], config["n_layers"]
        return LightGCN(users, items, *sizes)

    def distinct_pairs(self, dataset: Any) -> Tensor:
        """Users and items of the training rows, each pair once, ``[2, t]``."""
        return torch.stack([dataset.inter_feat[f] for f in (self.USER_ID, self.ITEM_ID)]).unique(dim=1)

    def nodes(self) -> Nodes:
        """All nodes."""
        raise NotImplementedError(f"{type(self).__name__} must define nodes")

    def all_nodes(self) -> Nodes:
        """:meth:`nodes`; in evaluation computed once, until the mode or the weights change."""
        if self._node_cache is not None:
            return self._node_cache
        nodes = self.nodes()
        if not self.training and not torch.is_grad_enabled():
            self._node_cache = nodes
        return nodes

    def calculate_loss(self, interaction: Interaction) -> Terms:
        """BPR plus ``reg_weight`` · ½‖·‖² per positive of what is :meth:`penalised`."""
        users, items, negatives = self.triplet(interaction)
        nodes = self.all_nodes()
        return Terms(
            bpr=bpr(*scores_of_rows(nodes[0][users], nodes[1], items, negatives)),
            reg=weighted(
                self.reg_weight, lambda: half_squares(*self.penalised(nodes, users, items, negatives))
            ),
        )

    def penalised(self, nodes: Nodes, users: Tensor, items: Tensor, negatives: Tensor) -> list[Tensor]:
        """Vectors ``[B, ...]`` of a batch with ``negatives [B, N]``: the scored ones."""
        return [nodes[0][users], nodes[1][items], nodes[1][negatives]]

    def without_effect(self) -> list[str]:
        """Weights of modalities that there are not, where there are several to weigh."""
        features = self.held_features()
        names = [] if features is None else features.names
        unknown = [name for name in self.modality_weights or {} if name not in names]
        if len(names) < 2 or not unknown:
            return []
        of = type(self).__name__
        return [f"{of}: there are no vectors of {', '.join(unknown)}, which modality_weights names"]

    def encode_items(self, items: Tensor) -> Tensor:
        """``[n, d]``."""
        return self.all_nodes()[1][items]

    def user_vectors(self, users: Tensor) -> Tensor:
        """``[n, 1, d]``."""
        return self.all_nodes()[0][users].unsqueeze(1)

    def forget_cached(self) -> None:
        """Forget the nodes too."""
        super().forget_cached()
        self._node_cache = None
