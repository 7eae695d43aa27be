r"""MVCNN: several views of an item through one convolutional network (Su et al., ICCV 2015, arXiv 1505.00880).

A baseline of MMT's publication, which gives no details; as in the paper the views share the network and are pooled
by their element-wise maximum. Inferred: each view (text, image, genres) is projected to C maps of length L, the network
is one of Conv1d (k = 3, to 32, then 64 maps), each with ReLU and max pooling, and a fully connected layer to 64 in
front of the product with a user's embedding, trained by cross-entropy over 0/1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_mm.errors import WrongUse
from recbole_mm.layer.loss import bce
from recbole_mm.layer.projection import masked
from recbole_mm.layer.scoring import candidate_scores
from recbole_mm.model.base import TwoTowerRecommender, item_features


class MVCNN(TwoTowerRecommender):
    """An item by its views, a user by an embedding.

    Views are the modalities, ``genre_field`` (a token field of ``.item``, the mean over its values) and, under
    ``use_id: True`` or where there is no other, the id. A view that an item lacks takes no part in its maximum; an item
    without any is 0 before the last layer.
    """

    multimodal = True
    scores_from_features = True
    genres: Tensor

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.features = item_features(config, dataset)
        self.modalities = self.features.names
        width, self.maps, length = (config[k] for k in ("embedding_size", "map_channels", "map_length"))
        self.projections = nn.ModuleDict(
            {m: nn.Linear(self.features.widths[m], self.maps * length) for m in self.modalities}
        )
        self.genre_maps = self._genre_view(config["genre_field"], dataset, self.maps * length)
        use_id = config["use_id"] or not (self.modalities or self.genre_maps)
        self.item_id = nn.Embedding(self.n_items, self.maps * length) if use_id else None
        self.network = nn.Sequential(
            nn.Conv1d(self.maps, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool1d(2, ceil_mode=True),
            nn.Conv1d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool1d(2, ceil_mode=True),
            nn.Flatten(),
        )
        self.features.read_by(self.projections, self.network)
        pooled = -(-length // 4)  # halved twice, rounded up
        self.last = nn.Linear(64 * pooled, width)
        self.user_id = nn.Embedding(self.n_users, width)
        nn.init.normal_(self.user_id.weight, std=config["id_std"])

    def _genre_view(self, field: str | None, dataset: Any, width: int) -> nn.EmbeddingBag | None:
        if not field:
            return None
        if dataset.item_feat is None or field not in dataset.item_feat.columns:
            raise WrongUse(
                f"genre_field: {field!r} is no loaded field of .item; name it in load_col: {{item: [...]}}"
            )
        values = dataset.item_feat[field].view(self.n_items, -1)
        self.register_buffer("genres", values, persistent=False)
        return nn.EmbeddingBag(dataset.num(field), width, mode="mean", padding_idx=0)

    def encode_items(self, items: Tensor) -> Tensor:
        """``[n, d]``."""
        present = self.features.mask(items)
        views = [self.projections[m](self.features(m, items)) for m in self.modalities]
        if self.genre_maps is not None:
            genres = self.genres[items]
            views.append(self.genre_maps(genres))
            present = torch.cat([present, (genres > 0).any(dim=1, keepdim=True)], dim=1)
        if self.item_id is not None:
            views.append(self.item_id(items))
            present = torch.cat([present, present.new_ones(len(items), 1)], dim=1)
        maps = torch.stack(views, dim=1)[present].unflatten(
            1, (self.maps, -1)
        )  # those that are there: [v, C, L]
        seen = self.network(maps) if len(maps) else maps.new_zeros(0, self.last.in_features)
        item = present.nonzero()[:, :1].expand_as(seen)
        # ReLU's values are not negative, so that the 0 of an item without views changes no maximum
        pooled = seen.new_zeros(len(items), self.last.in_features).scatter_reduce(0, item, seen, "amax")
        return self.last(pooled)

    def encode_content(self, contents: Sequence[Tensor], present: Tensor) -> Tensor | None:
        """``[n, d]`` by the modalities alone, without genres and id; None without modalities."""
        if not self.modalities:
            return None
        views = [self.projections[m](x) for m, x in zip(self.modalities, contents, strict=True)]
        seen = torch.stack([self.network(view.unflatten(1, (self.maps, -1))) for view in views], dim=1)
        return self.last(masked(seen, present).amax(dim=1))

    def user_vectors(self, users: Tensor) -> Tensor:
        """``[n, 1, d]``: one vector for all domains."""
        return self.user_id(users).unsqueeze(1)

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Of the positives and their negatives."""
        users, items, negatives = self.triplet(interaction)
        distinct, (pos, neg) = self.distinct_items(items, negatives)
        user_emb, item_emb = self.user_id(users), self.encode_items(distinct)
        positive = (user_emb * F.embedding(pos, item_emb)).sum(dim=1)
        return bce(positive, candidate_scores(user_emb, item_emb, neg))
