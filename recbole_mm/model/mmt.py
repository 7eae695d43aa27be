r"""MMT: a multi-modal Transformer across domains.

"Enhancing Recommendation Systems with Multi-Modal Transformers in Cross-Domain Scenarios", A. Liang.

.. math::
    H_{shared} = W_{shared} [H_A ; H_B] + b \qquad y' = \sigma(\langle H_{shared}, W_i h_i \rangle + b_i)

Given: a Transformer of 6 layers, 8 heads and width 512 with dropout .1 over the tokens of text and image, W_shared to
256, cross-entropy over 0/1. Inferred: the tokens (of a user, the last L training items of a domain by each modality,
with place and modality embeddings; of an item, its modalities and its id; the mean of the last layer over them), the
width of the feed-forward part, the product of W_i h_i with H_shared, all of it for more than two domains. H of a domain
in which a user has no token is learned. The item of a training row is left out of its user's tokens, with its copies,
before the last L are taken: else the model would copy it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_mm.errors import WrongUse
from recbole_mm.layer.history import Bags, OrderedHistory
from recbole_mm.layer.loss import bce, gbce, info_nce
from recbole_mm.layer.projection import masked
from recbole_mm.layer.scoring import PairMLP, candidate_scores
from recbole_mm.layer.transformer import SequenceEncoder, Tokens
from recbole_mm.model.base import TwoTowerRecommender, check_choices, item_features


class MMT(TwoTowerRecommender):
    """Users as the tokens of what they took in each domain, items as their own tokens, through one Transformer.

    Switches: ``head: dot | mlp``, ``cross_domain: False`` (H of the item's domain alone), ``modalities: []`` (ids
    only), ``loss: bce | gbce | softmax`` with ``gbce_t``, ``softmax_over: negatives | domain``, ``logq``,
    ``temperature`` and ``unit_vectors``; ``use_id`` (an item's id token), ``history_ids`` (those of a user's items),
    ``user_id`` (a vector beside H_shared); ``tied_sharing``: W_shared = [w_A W_i ; w_B W_i], w learned, so that users
    lie among the items from the first step, with ``weights_by_domain`` others for the items of each domain;
    ``feature_noise`` and ``modality_dropout`` in training.

    An item's vector is ``[W_i h_i / τ ; b_i]``, a user's ``[H_shared ; 1]``, so a score is what the loss takes.
    """

    multimodal = True
    scores_from_features = True

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        check_choices(config, "head", "loss", "softmax_over")
        self.features = item_features(config, dataset)
        self.modalities = self.features.names
        self.cross_domain, self.loss = config["cross_domain"], config["loss"]
        self.softmax_over = config["softmax_over"]
        self.temperature, self.unit_vectors = config["temperature"], config["unit_vectors"]
        self.feature_noise, self.modality_dropout = config["feature_noise"], config["modality_dropout"]
        use_id = config["use_id"]
        if not (self.modalities or use_id):
            raise WrongUse("MMT: use_id is False and there is no modality, so nothing is left to learn from")
        self.history_ids = use_id and (config["history_ids"] or not self.modalities)

        width, shared, length = config["hidden_size"], config["shared_size"], config["history_length"]
        self.projections = self.features.maps(partial(nn.Linear, out_features=width), self.modalities)
        self.item_id = nn.Embedding(self.n_items, width) if use_id else None
        self.kind = nn.Parameter(torch.empty(len(self.modalities) + use_id, width))
        # places: 0 an item itself, 1 … L the last items of a user, then an empty history in each domain
        layers, heads, inner = (config[key] for key in ("n_layers", "n_heads", "inner_size"))
        dropout, attention = (config[key] for key in ("hidden_dropout_prob", "attn_dropout_prob"))
        places, first = 1 + length + self.n_domains, config["norm_first"]
        self.encoder = SequenceEncoder(width, layers, heads, inner, places, dropout, attention, first)
        self.share = self.domain_weight = None
        if not config["tied_sharing"]:
            self.share = nn.Linear(width * (self.n_domains if self.cross_domain else 1), shared)
        elif self.cross_domain:
            own, alike = torch.eye(self.n_domains), torch.full((1, self.n_domains), 1 / self.n_domains)
            self.domain_weight = nn.Parameter(own if config["weights_by_domain"] else alike)
        self._idle_weights = config["weights_by_domain"] and (
            self.domain_weight is None or self.n_domains == 1
        )
        self.item_share = nn.Linear(width, shared, bias=False)
        self.item_bias = nn.Embedding(self.n_items, 1)
        self.user_id = nn.Embedding(self.n_users, shared) if config["user_id"] else None
        self.pair = PairMLP(shared) if config["head"] == "mlp" else None
        for table in (self.item_id, self.user_id, self.encoder.place):
            if table is not None:
                nn.init.normal_(table.weight, std=config["initializer_range"])
        nn.init.normal_(self.kind, std=config["initializer_range"])
        nn.init.zeros_(self.item_bias.weight)
        self.history = self._read_history(dataset, length)
        self.gbce_t, self.softmax = config["gbce_t"], self.domain_softmax(config, dataset)
        self.read_log_q(config, dataset)

    def _read_history(self, dataset: Any, length: int) -> OrderedHistory:
        """The training rows by user and domain, in the order of time where that is loaded, else of the file."""
        feat = dataset.inter_feat
        order = np.arange(len(feat))
        if dataset.time_field in feat.columns:
            # two columns: a numerical feature
            times = feat[dataset.time_field].numpy().reshape(len(feat), -1)
            order = np.argsort(times[:, 0], kind="stable")
        users, items = (feat[f].numpy()[order] for f in (self.USER_ID, self.ITEM_ID))
        domains = self.item_domain.numpy()[items]
        return OrderedHistory(self.n_users, self.n_domains, users, domains, items, length)

    # ---- tokens

    def _contents(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors ``[n * T, d]`` of the T tokens of ``items [n]``, and which of them there are ``[n, T]``."""
        present = self.features.mask(items)
        if self.training and self.modality_dropout > 0:
            kept = present & (torch.rand(present.shape, device=present.device) >= self.modality_dropout)
            lost_all = ~kept.any(dim=1, keepdim=True) & (self.item_id is None)
            present = torch.where(lost_all, present, kept)
        parts = [self._project(m, items, present[:, k]) for k, m in enumerate(self.modalities)]
        if self.item_id is not None:
            parts.append(self.item_id(items))
            present = torch.cat([present, present.new_ones(len(items), 1)], dim=1)
        return (torch.stack(parts, dim=1) + self.kind).flatten(0, 1), present

    def _project(self, modality: str, items: Tensor, present: Tensor) -> Tensor:
        features = masked(self.features(modality, items), present)
        if self.training and self.feature_noise > 0:
            features = features + self.feature_noise * torch.randn_like(features)
        return cast(nn.Linear, self.projections[modality])(features)

    def _cells(self, users: Tensor, items: Tensor | None = None) -> Tensor:
        """The histories that describe users, domain by domain ``[H * n]``: all, or those of ``items``' domains."""
        if items is not None and not self.cross_domain:
            return self.item_domain[items] * self.n_users + users
        domains = torch.arange(self.n_domains, device=users.device)
        return (domains.unsqueeze(1) * self.n_users + users).flatten()

    def _encode(self, cells: Tensor, without: Tensor | None, items: Tensor) -> tuple[Tensor, Tensor]:
        """H of ``cells [c]`` with ``without [c]`` left out, and h of ``items [n]``: ``[c, d]`` and ``[n, d]``."""
        return self._encode_taken(*self.history.last_of(cells, without), cells // self.n_users, items)

    def _encode_taken(
        self, taken: Bags, places: Tensor, domain: Tensor, items: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `_encode`, from what was taken in each cell, how late each came, and the cells' domains ``[c]``."""
        needed, (taken_rows, item_rows) = self.distinct_items(taken.ids, items)
        contents, present = self._contents(needed)
        of_user = present[taken_rows]
        if self.item_id is not None and not self.history_ids:
            of_user = of_user & (torch.arange(of_user.shape[1], device=domain.device) < len(self.modalities))
        histories = Tokens.of_parts(taken_rows, places, taken.size, of_user)
        itself = torch.zeros_like(item_rows)
        singles = Tokens.of_parts(item_rows, itself, torch.ones_like(item_rows), present[item_rows])
        hidden = self.encoder(contents, histories + singles)
        empty = self.encoder.place.weight[-self.n_domains :][domain]
        of_cells = torch.where((histories.size == 0).unsqueeze(1), empty, hidden[: len(domain)])
        return of_cells, hidden[len(domain) :]

    # ---- vectors

    def _share_users(self, users: Tensor | None, hidden: Tensor, n: int = 1) -> Tensor:
        """H of the histories of n users, domain by domain ``[H * n, d]`` -> ``[n, K, r + 1]``, K as of `user_vectors`.

        ``users`` None: they have no id.
        """
        hidden = hidden.view(-1, n if users is None else len(users), hidden.shape[1]).transpose(0, 1)
        if self.share is not None:
            shared = self.share(hidden.flatten(1).unsqueeze(1) if self.cross_domain else hidden)
        else:
            shared = self.item_share(hidden)
            if self.domain_weight is not None:
                shared = self.domain_weight @ shared
        if self.user_id is not None and users is not None:
            shared = shared + self.user_id(users).unsqueeze(1)
        if self.unit_vectors:
            shared = F.normalize(shared, dim=-1)
        return torch.cat([shared, shared.new_ones(*shared.shape[:2], 1)], dim=-1)

    def _share_items(self, hidden: Tensor, bias: Tensor) -> Tensor:
        """From h ``[n, d]`` of items and their b ``[n, 1]`` -> ``[n, r + 1]``."""
        vectors = self.item_share(hidden)
        if self.unit_vectors:
            vectors = F.normalize(vectors, dim=-1)
        if self.pair is None:
            vectors = vectors / self.temperature
        return torch.cat([vectors, bias], dim=1)

    def encode_items(self, items: Tensor) -> Tensor:
        """``[n, r + 1]``."""
        return self._share_items(self._encode(items[:0], None, items)[1], self.item_bias(items))

    def user_vectors(self, users: Tensor) -> Tensor:
        """``[n, K, r + 1]`` by all that the users took: K = 1 where the domains share a vector, else one for each."""
        return self._share_users(users, self._encode(self._cells(users), None, users[:0])[0])

    def vectors_of_history(self, items: Tensor) -> Tensor | None:
        """``[1, K, r + 1]`` by the last L of ``items [t]`` in each domain."""
        taken = [items[self.item_domain[items] == d][-self.history.length :] for d in range(self.n_domains)]
        size = torch.tensor([len(each) for each in taken], device=items.device)
        places = torch.cat([torch.arange(len(each), 0, -1, device=items.device) for each in taken])
        domains = torch.arange(self.n_domains, device=items.device)
        bags = Bags("items", torch.cat(taken), size)
        return self._share_users(None, self._encode_taken(bags, places, domains, items[:0])[0])

    def encode_content(self, contents: Sequence[Tensor], present: Tensor) -> Tensor | None:
        """``[n, r + 1]``, without the id token and with b = 0; None without modalities."""
        if not self.modalities:
            return None
        tokens = [
            self.projections[m](masked(x, present[:, k]))
            for k, (m, x) in enumerate(zip(self.modalities, contents, strict=True))
        ]
        hidden = self.encoder.single(torch.stack(tokens, dim=1) + self.kind[: len(tokens)], present)
        return self._share_items(hidden, torch.zeros_like(hidden[:, :1]))

    def encode_rows(self, users: Tensor, items: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        """A step's vectors: of the users of rows ``(users [B], items [B])``, who do not know the item of their row
        ``[B, r + 1]``, and of the items ``others [n]``, ``[n, r + 1]``.
        """
        cells = self._cells(users, items)
        hidden, of_items = self._encode(cells, items.repeat(len(cells) // len(users)), others)
        user_emb = self.own_vector(self._share_users(users, hidden), items)
        return user_emb, self._share_items(of_items, self.item_bias(others))

    # ---- scores

    def _match(self, user_emb: Tensor, item_emb: Tensor) -> Tensor:
        """Scores of ``user_emb [..., r + 1]`` with ``item_emb [..., r + 1]``, broadcast: ``[...]``."""
        if self.pair is None:
            return (user_emb * item_emb).sum(dim=-1)
        return self.pair(user_emb[..., :-1], item_emb[..., :-1]) / self.temperature + item_emb[..., -1]

    def _match_all(self, user_emb: Tensor, item_emb: Tensor) -> Tensor:
        """``[n, r + 1]`` and ``[m, r + 1]`` -> ``[n, m]``."""
        return self._match(user_emb.unsqueeze(1), item_emb)

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """``[B]``."""
        distinct, rows = torch.unique(users, return_inverse=True)
        user_emb = self.own_vector(self.user_vectors(distinct)[rows], items)
        return self._match(user_emb, self.item_vectors()[items])

    def score_vectors(self, user_emb: Tensor) -> Tensor:
        """``[B, I]``."""
        if self.pair is None:
            return super().score_vectors(user_emb)
        item_emb = self.item_vectors()
        at_once = max(1, self.scoring_bytes // (item_emb.shape[1] * 16))
        scores = []
        for some in user_emb.split(max(1, at_once // self.n_items)):
            parts = []
            for items in torch.arange(self.n_items, device=item_emb.device).split(at_once):
                own = some if some.shape[1] == 1 else some[:, self.item_domain[items]]
                parts.append(self._match(own, item_emb[items]))
            scores.append(torch.cat(parts, dim=1))
        return torch.cat(scores)

    # ---- loss

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Of the rows' items against their negatives, or with ``softmax_over: domain`` against all of the domain."""
        users, items, negatives = self.triplet(interaction)
        if self.loss == "softmax" and self.softmax_over == "domain":
            every = torch.arange(self.n_items, device=items.device)
            score = None if self.pair is None else self._match_all
            return self.softmax(users, items, *self.encode_rows(users, items, every), score=score)
        others, (pos, neg) = self.distinct_items(items, negatives)
        user_emb, item_emb = self.encode_rows(users, items, others)
        positive = self._match(user_emb, F.embedding(pos, item_emb))
        if self.pair is None:
            negative = candidate_scores(user_emb, item_emb, neg)
        else:
            negative = self._match(user_emb.unsqueeze(1), F.embedding(neg, item_emb))
        if self.loss == "bce":
            return bce(positive, negative)
        if self.loss == "gbce":
            rate = negatives.shape[1] / (self.softmax.size[self.item_domain[items]] - 1)
            return gbce(positive, negative, self.gbce_t, rate.clamp(max=1))
        positive, negative = (
            self.correct_for_draws(s, i) for s, i in ((positive, items), (negative, negatives))
        )
        return info_nce(positive, negative, 1.0)

    def without_effect(self) -> list[str]:
        """``logq`` with another loss, ``weights_by_domain`` without weights of domains."""
        found = self.idle_logq(self.loss == "softmax" and self.softmax_over == "negatives")
        if self._idle_weights:
            found.append(
                "MMT: weights_by_domain has no effect without tied_sharing, cross_domain and two domains"
            )
        return found
