r"""MMCPR: pre-trains vectors of users and items from reviews, content and who meets whom, to initialise other models.

"Multi-Modal Contrastive Pre-training for Recommendation", Liu, Ma, Schubert, Ouyang, Xiong, ICMR 2022.

.. math::
    z_u = agg(z_{review}, z_{graph}) \qquad z_i = agg(z_{text}, z_{image}, z_{graph}) \qquad
    agg(Z) = mean(softmax(QK^\top/\sqrt d) V) \\
    L = L_{bce}(\langle z_u, z_i \rangle) + \lambda L_{cl}(z_{text}, z_{image})

Given (of the publication only the abstract is public): homogeneous graphs of users and of items from co-interaction
in the training split, aggregation within and between modalities, the alignment of text and image by contrast, the
fine-tuning of an existing recommender from z_u and z_i. From third parties: self-attention with the modalities as
equal positions. Inferred: the weights of the graphs (PMGT), 2-layer LightGCN over id embeddings on them,
attention :math:`softmax(q^\top \tanh(W r_k))` over a user's reviews, linear projections of features, symmetric InfoNCE
over the distinct items of the batch, binary cross-entropy with negatives, what is absent is masked. Without a graph
the id embeddings stand in its place as they are, so that a user and an item always have a vector.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_mm.layer.attention import BagAttention, PositionAttention, mean_of_present
from recbole_mm.layer.gather import gather_distinct
from recbole_mm.layer.graph import FixedGraph, mean_of_layers, to_torch
from recbole_mm.layer.history import Bags, Taken, UserHistory
from recbole_mm.layer.loss import Terms, bce, pairwise_info_nce
from recbole_mm.layer.projection import masked
from recbole_mm.layer.scoring import scores_of_rows
from recbole_mm.model.base import TwoTowerRecommender, check_choices, item_features, review_features

TEXT = "text"


class MMCPR(TwoTowerRecommender):
    """A pre-training: users by reviews and a graph of users, items by modalities in contrast and a graph of items.

    Switches: ``use_review``, ``use_user_graph``, ``use_item_graph``, ``use_text``, ``use_image``, ``cl_weight``,
    ``intra_agg: attention | mean``, ``inter_agg: attention | mean | concat``.

    Reviews are those of training rows alone (`recbole_mm.data.review`).
    """

    multimodal = True

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        check_choices(config, "intra_agg", "inter_agg")
        self.features = item_features(config, dataset)
        width = config["embedding_size"]
        self.temperature, self.cl_weight, self.n_layers = (
            config[key] for key in ("temperature", "cl_weight", "n_layers")
        )
        left_out = {name for name in ("text", "image") if not config[f"use_{name}"]}
        self.modalities = [name for name in self.features.names if name not in left_out]
        self._columns = [self.features.names.index(name) for name in self.modalities]
        self._has_contrast = self.cl_weight > 0 and len(self.modalities) > 1

        self.user_id, self.item_id = (nn.Embedding(n, width) for n in (self.n_users, self.n_items))
        for table in (self.user_id, self.item_id):
            nn.init.normal_(table.weight, std=config["id_std"])
        for kind in ("user", "item"):
            graph = None
            if config[f"use_{kind}_graph"]:
                common = dataset.co_interactions(kind, config["graph_k"], config["min_common"])
                graph = FixedGraph(to_torch(common), symmetric=True)
            setattr(self, f"{kind}_graph", graph)
        self.projections = self.features.maps(partial(nn.Linear, out_features=width), self.modalities)
        self._no_reviews = config["use_review"] and not dataset.has_reviews()
        self.reviews: Any = self._load_reviews(config, dataset) if config["use_review"] else None
        self.intra = self._intra(config["intra_agg"], width) if self.reviews is not None else None
        self.user_agg = self._inter(config["inter_agg"], width, 1 + (self.reviews is not None))
        self.item_agg = self._inter(config["inter_agg"], width, 1 + len(self.modalities))
        if self.reviews is not None:
            self.features.read_by(self.review_projection)
        self._graph_cache: dict[str, Tensor] = {}

    def _load_reviews(self, config: Any, dataset: Any) -> Any:
        if self._no_reviews:
            return None
        reviews = review_features(config, dataset, with_items=False)
        rows = reviews.present[:, 0].nonzero().squeeze(1).numpy()
        users = dataset.inter_feat[self.USER_ID].numpy()
        self.history = UserHistory(self.n_users, [Taken("reviews", users[rows], rows)])
        self.review_projection = nn.Linear(reviews.widths[TEXT], config["embedding_size"])
        return reviews

    def _intra(self, name: str, width: int) -> nn.Module | None:
        return BagAttention(width) if name == "attention" else None

    def _inter(self, name: str, width: int, positions: int) -> nn.Module | None:
        if name == "mean" or positions == 1:  # one alone is what it is
            return None
        return PositionAttention(width) if name == "attention" else Concat(width, positions)

    def _graph(self, kind: str) -> Tensor:
        """The mean over the layers of LightGCN, ``[U, d]`` or ``[I, d]``; kept in evaluation."""
        if kind in self._graph_cache:
            return self._graph_cache[kind]
        ids, graph = getattr(self, f"{kind}_id").weight, getattr(self, f"{kind}_graph")
        mean = mean_of_layers(graph, ids, self.n_layers if graph is not None else 0)
        if not (self.training or torch.is_grad_enabled()):
            self._graph_cache[kind] = mean
        return mean

    def _modal(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Projected features ``[n, M, d]`` of ``items [n]``, and which there are ``[n, M]``."""
        present = self.features.mask(items)[:, self._columns]
        modal = [self.projections[name](self.features(name, items)) for name in self.modalities]
        stacked = torch.stack(modal, dim=1) if modal else self.item_id.weight.new_empty(len(items), 0, 1)
        return masked(stacked, present), present

    def _items(self, items: Tensor, modal: Tensor, present: Tensor) -> Tensor:
        graph = self._graph("item")[items].unsqueeze(1)
        positions = torch.cat([modal, graph], dim=1) if modal.shape[1] else graph
        return _aggregate(self.item_agg, positions, _and_always(present))

    def encode_items(self, items: Tensor) -> Tensor:
        """z_i, ``[n, d]``."""
        return self._items(items, *self._modal(items))

    def user_vectors(self, users: Tensor) -> Tensor:
        """z_u, ``[n, 1, d]``."""
        positions = self._graph("user")[users].unsqueeze(1)
        present = positions.new_ones(len(users), 0, dtype=torch.bool)
        if self.reviews is not None:
            (bags,) = self.history.gather(users)
            positions = torch.cat([self._of_reviews(bags).unsqueeze(1), positions], dim=1)
            present = (bags.size > 0).unsqueeze(1)
        return _aggregate(self.user_agg, positions, _and_always(present)).unsqueeze(1)

    def _of_reviews(self, bags: Bags) -> Tensor:
        """z_review, ``[n, d]``."""
        vectors = self.review_projection(self.reviews(TEXT, bags.ids))
        return bags.mean(vectors) if self.intra is None else self.intra(vectors, bags.size)

    def calculate_loss(self, interaction: Interaction) -> Terms:
        """L_bce and λ L_cl."""
        users, items, negatives = self.triplet(interaction)
        distinct, user_rows = torch.unique(users, return_inverse=True)
        user_emb = self.user_vectors(distinct)[user_rows, 0]
        needed, (pos, neg) = self.distinct_items(items, negatives)
        modal, present = self._modal(needed)
        item_emb = self._items(needed, modal, present)
        contrast = None
        if self._has_contrast:
            rows = torch.unique(pos)
            views, there = gather_distinct(needed[rows], modal[rows], present[rows])
            contrast = self.cl_weight * pairwise_info_nce(views.unbind(dim=1), there, self.temperature)
        return Terms(bce=bce(*scores_of_rows(user_emb, item_emb, pos, neg)), contrast=contrast)

    def pretrained(self) -> dict[str, dict[str, tuple[Tensor, Tensor]]]:
        """z_u and z_i of all."""
        users, items = (torch.arange(n, device=self.item_domain.device) for n in (self.n_users, self.n_items))
        found = {"users": self.user_vectors(users)[:, 0], "items": self.encode_items(items)}
        return {kind: {"z": (z, torch.ones(len(z), dtype=torch.bool))} for kind, z in found.items()}

    def forget_cached(self) -> None:
        """Forget the graph's vectors too."""
        super().forget_cached()
        self._graph_cache = {}

    def without_effect(self) -> list[str]:
        """What the data have nothing for."""
        said = []
        if self._no_reviews:
            said.append("MMCPR: there are no reviews of these interactions, so use_review has no effect")
        if self.cl_weight > 0 and not self._has_contrast:
            said.append("MMCPR: the contrast of modalities needs two of them, so cl_weight has no effect")
        return said


class Concat(nn.Module):
    """A linear map of the positions side by side, zeros for absent ones."""

    def __init__(self, width: int, positions: int):
        super().__init__()
        self.map = nn.Linear(positions * width, width)

    def forward(self, positions: Tensor, present: Tensor) -> Tensor:
        """``[n, M, d]``, ``[n, M]`` -> ``[n, d]``."""
        return self.map(masked(positions, present).flatten(1))


def _aggregate(how: nn.Module | None, positions: Tensor, present: Tensor) -> Tensor:
    return mean_of_present(positions, present) if how is None else how(positions, present)


def _and_always(present: Tensor) -> Tensor:
    """``present [n, M]`` with a column for the graph, which everyone has."""
    return torch.cat([present, present.new_ones(len(present), 1)], dim=1)
