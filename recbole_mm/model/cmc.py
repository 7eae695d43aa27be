r"""CMC: cross-modal contrastive, cross-domain recommendation.

"Personalized Multimodal Recommendations Framework Using Contrastive Learning", A. Liang.

.. math::
    E_i = \sum_m f_m(X_i^m) + e_i \qquad E_u^d = \sum_m f_m(X_u^{m,d}) + e_u^d \\
    \tilde E_u^d = \lambda E_u^d + (1-\lambda)\,\overline{E_u^{d'}} \qquad \mathcal L = \alpha L + \beta L_{domain}

Given: the sum over modalities with the encoders f shared by users and items, L (InfoNCE over cosine similarity and
random negatives), L_domain (distance of a user's vectors in two domains), the total. Inferred: the layers of f, the
id terms e, X_u as the mean of the user's training items, λ (from BiTGCF), the score cos(Ẽ_u^{dom(i)}, E_i), and all of
it for more than two domains or absent ones (each user is present in a domain with a training row there).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_mm.errors import WrongUse
from recbole_mm.layer.domain import DOMAIN_LOSSES, cross_domain_mix, domain_agreement, domain_parts
from recbole_mm.layer.fusion import FUSIONS
from recbole_mm.layer.gather import gather_distinct
from recbole_mm.layer.history import Bags, Taken, UserHistory
from recbole_mm.layer.loss import Terms, bpr, info_nce, pairwise_info_nce
from recbole_mm.layer.projection import Projector
from recbole_mm.layer.scoring import scores_of_rows
from recbole_mm.model.base import TwoTowerRecommender, check_choices, item_features, review_features

TEXT = "text"


class CMC(TwoTowerRecommender):
    """Users and items in one space, by their content and an id, pulled together by contrast.

    Switches: ``contrastive: False`` (BPR on the same triples), ``softmax_over: negatives | domain`` (contrast with the
    drawn ones or with all items of the domain), ``logq``, ``fusion: sum | concat | gate | weight | none`` (none =
    ids only), ``use_id``, ``cross_domain_fusion``, ``domain_loss: mse | mse_norm | infonce``, ``modal_align_weight``,
    ``user_text: items | reviews`` (reviews: X_u^{text,d} is the mean of the user's training review vectors in d),
    ``user_id: per_domain | shared | both`` (the user's id term: e_u^d, e_u for all domains, or e_u + e_u^d).
    """

    multimodal = True
    scores_from_features = True
    features_off: ClassVar[Mapping[str, Any]] = {"fusion": "none"}
    seen: Tensor

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        check_choices(config, "domain_loss", "fusion")
        self.features = item_features(config, dataset)
        width = config["embedding_size"]
        self.temperature, self.own_share = config["temperature"], config["lambda"]
        self.alpha, self.beta = config["alpha"], config["beta"]
        self.cross_domain_fusion = config["cross_domain_fusion"] and self.n_domains > 1
        self.contrastive, self.modal_align_weight = config["contrastive"], config["modal_align_weight"]
        self._has_domain_loss = self.beta > 0 and self.n_domains > 1
        self.domain_loss = DOMAIN_LOSSES[config["domain_loss"]]
        fusion = config["fusion"] or "none"  # a command line's or a dict's "none" is read as None
        self.modalities = [] if fusion == "none" else self.features.names
        self._has_modal_align = self.modal_align_weight > 0 and len(self.modalities) > 1
        self._columns = [self.features.names.index(m) for m in self.modalities]

        self.encoders = nn.ModuleDict({m: Projector(self.features.widths[m], width) for m in self.modalities})
        self.fusion = FUSIONS[fusion if self.modalities else "none"](width, len(self.modalities))
        self.features.read_by(self.encoders, self.fusion)
        if not (self.modalities or config["use_id"]):
            raise WrongUse("CMC: use_id is False and there is no modality, so nothing is left to learn from")
        self._build_ids(config, width)
        by_reviews = self.modalities and config["user_text"] == "reviews"
        self.reviews: Any = review_features(config, dataset) if by_reviews else None
        self._describe_users(dataset)
        self.read_log_q(config, dataset)
        self.softmax = None
        if self.contrastive and config["softmax_over"] == "domain":
            self.softmax = self.domain_softmax(config, dataset)

    def _build_ids(self, config: Any, width: int) -> None:
        """The tables of e_i, e_u^d (row u * K + d) and e_u; None for one that is not used."""
        kind, several = config["user_id"], self.n_domains > 1
        sizes = (
            self.n_items,
            # with one domain e_u^d is e_u
            None if kind == "shared" and several else self.n_users * self.n_domains,
            self.n_users if kind != "per_domain" and several else None,
        )
        tables = [nn.Embedding(n, width) if n and config["use_id"] else None for n in sizes]
        self.item_id, self.user_id, self.shared_user_id = tables
        for table in tables:
            if table is not None:
                nn.init.normal_(table.weight, std=config["id_std"])

    def _describe_users(self, dataset: Any) -> None:
        """Which items X_u^{m,d} is the mean of, and in which domains a user is seen; from training rows alone."""
        users, items = self.training_pairs(dataset)
        domain = self.item_domain.numpy()[items]
        self.register_buffer("seen", self.seen_domains(dataset), persistent=False)
        # [d * M + k]: domain d, modality k
        parts = [
            self._taken(m, users, items, domain == d) for d in range(self.n_domains) for m in self.modalities
        ]
        self.history = UserHistory(self.n_users, parts)

    def _taken(self, modality: str, users: np.ndarray, items: np.ndarray, kept: np.ndarray) -> Taken:
        """Of the training rows ``kept`` with something to average: the items, or the reviews by number of their row."""
        if self.reviews is not None and modality == TEXT:
            rows = np.flatnonzero(kept & self.reviews.present.numpy()[:, 0])
            return Taken("reviews", users[rows], rows)
        rows = kept & self.features.present.numpy()[items, self.features.names.index(modality)]
        return Taken("items", users[rows], items[rows])

    def _encoder(self, modality: str) -> Projector:
        return cast(Projector, self.encoders[modality])

    def _project(self, items: Tensor) -> list[Tensor]:
        """The linear first layers, of users and items alike: per modality ``[n, d]``."""
        return [self._encoder(m).first(self.features(m, items)) for m in self.modalities]

    def _no_id(self) -> Tensor:
        """The id term of what has none: a scalar."""
        return self.item_domain.new_zeros((), dtype=torch.float)

    def _fuse(self, projected: list[Tensor], present: Tensor, ids: Tensor) -> Tensor:
        """The rest of the encoders and the fusion: E, ``[n, d]``."""
        if not projected:
            return ids
        modal = [self._encoder(m).rest(x) for m, x in zip(self.modalities, projected, strict=True)]
        return self.fusion(torch.stack(modal, dim=1), present, ids)

    def _item_id_term(self, items: Tensor) -> Tensor:
        return self._no_id() if self.item_id is None else self.item_id(items)

    def _fuse_items(self, items: Tensor, projected: list[Tensor]) -> Tensor:
        present = self.features.mask(items)[:, self._columns]
        return F.normalize(self._fuse(projected, present, self._item_id_term(items)), dim=-1)

    def encode_items(self, items: Tensor) -> Tensor:
        """Unit vectors E_i / ‖E_i‖, ``[n, d]``."""
        return self._fuse_items(items, self._project(items))

    def _encode_users(self, users: Tensor, *ids: Tensor) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
        """E_u^d before the domains are mixed, ``[n, K, d]``; what a step needs of items is projected once.

        So with it the distinct items ``[m]`` of histories and ``ids``, per modality their projections ``[m, d]``, and
        the rows of ``ids`` among them.
        """
        ids_of_users = [self._user_id_term(users, d) for d in range(self.n_domains)]
        return self._encode_bags(self.history.gather(users), ids_of_users, *ids)

    def _encode_bags(
        self, history: list[Bags], id_terms: list[Tensor], *ids: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
        """As `_encode_users`, from what users took, [d * M + k], and their id terms in each domain."""
        count, none = len(self.modalities), self.item_domain[:0]
        taken = [bags.ids for bags in history if bags.kind == "items"]
        items, rows = self.distinct_items(*ids, *taken, none)  # the last: there may be none
        projected, taken_rows = self._project(items), iter(rows[len(ids) :])
        means = [
            bags.mean(projected[k % count], next(taken_rows))
            if bags.kind == "items"
            else bags.mean(self._encoder(TEXT).first(self.reviews(TEXT, bags.ids)))
            for k, bags in enumerate(history)
        ]
        per_domain = []
        for d, id_term in enumerate(id_terms):
            own = slice(d * count, (d + 1) * count)
            present = torch.stack([bags.size > 0 for bags in history[own]], dim=1) if count else none
            per_domain.append(self._fuse(means[own], present, id_term))
        return torch.stack(per_domain, dim=1), items, projected, rows[: len(ids)]

    def vectors_of_history(self, items: Tensor) -> Tensor | None:
        """By the content of ``items [t]``; None without modalities. Without an id, and without reviews of one's own."""
        if not self.modalities:
            return None
        items = items.unique()
        domain, present = self.item_domain[items], self.features.mask(items)[:, self._columns]
        if self.reviews is not None and TEXT in self.modalities:
            present[:, self.modalities.index(TEXT)] = False
        own = [(domain == d) & there for d in range(self.n_domains) for there in present.unbind(1)]
        history = [Bags("items", items[each], each.sum().view(1)) for each in own]
        seen = torch.zeros_like(self.seen[:1]).index_fill(1, domain, True)
        return self._mix(self._encode_bags(history, [self._no_id()] * self.n_domains)[0], seen)

    def encode_content(self, contents: Sequence[Tensor], present: Tensor) -> Tensor | None:
        """``[n, d]``, without the id term; None without modalities."""
        if not self.modalities:
            return None
        projected = [self._encoder(m).first(x) for m, x in zip(self.modalities, contents, strict=True)]
        return F.normalize(self._fuse(projected, present, self._no_id()), dim=-1)

    def score_parts(self, users: Tensor, items: Tensor) -> dict[str, dict[str, Tensor]]:
        """By the item's modalities and id, and by the domains of which the user's vector is mixed."""
        raw, seen, item_emb = self._encode_users(users)[0], self.seen[users], self.encode_items(items)
        user_emb, id_emb = self.own_vector(self._mix(raw, seen), items), self._item_id_term(items)
        modal = [self._encoder(m)(self.features(m, items)) for m in self.modalities]
        present = self.features.mask(items)[:, self._columns]
        terms = self.fusion.terms(torch.stack(modal, dim=1), present, id_emb) if modal else [id_emb]
        length = torch.stack(torch.broadcast_tensors(*terms)).sum(dim=0).norm(dim=-1)
        names = [*self.modalities, "id"] if self.item_id is not None else self.modalities
        of_item = {m: (user_emb * t).sum(-1) / length for m, t in zip(names, terms, strict=False)}
        if self.n_domains == 1:
            return {"item": of_item}
        share = self.own_share if self.cross_domain_fusion else None
        parts = domain_parts(raw, seen, share, self.item_domain[items], item_emb)
        return {"item": of_item, "domain": dict(zip(self.domain_names, parts.unbind(1), strict=True))}

    def _user_id_term(self, users: Tensor, domain: int) -> Tensor:
        own = self._no_id() if self.user_id is None else self.user_id(users * self.n_domains + domain)
        return own if self.shared_user_id is None else self.shared_user_id(users) + own

    def _mix(self, raw: Tensor, seen: Tensor) -> Tensor:
        mixed = cross_domain_mix(raw, seen, self.own_share) if self.cross_domain_fusion else raw
        return F.normalize(mixed, dim=-1)

    def user_vectors(self, users: Tensor) -> Tensor:
        """Unit vectors Ẽ_u^d, ``[n, K, d]``."""
        return self._mix(self._encode_users(users)[0], self.seen[users])

    def calculate_loss(self, interaction: Interaction) -> Terms:
        """α L, β L_domain and w L_align."""
        users, items, negatives = self.triplet(interaction)
        distinct, user_rows = torch.unique(users, return_inverse=True)
        every = torch.arange(self.n_items, device=items.device)
        ids = (items, negatives) if self.softmax is None else (every,)
        raw, needed, projected, rows = self._encode_users(distinct, *ids)
        seen = self.seen[distinct]
        user_emb = self.own_vector(self._mix(raw, seen)[user_rows], items)
        item_emb = self._fuse_items(needed, projected)
        if self.softmax is None:
            ranking = self._rank_drawn(user_emb, item_emb, rows, items, negatives)
        else:
            ranking = self.softmax(users, items, user_emb, item_emb, self.temperature)
        domain = align = None
        if self._has_domain_loss:
            raw, seen = gather_distinct(distinct, raw, seen)
            domain = self.beta * self.domain_loss(raw, seen, self.temperature)
        if self._has_modal_align:
            items = torch.unique(items)
            views = (self._encoder(m)(self.features(m, items)) for m in self.modalities)
            *encoded, present = gather_distinct(items, *views, self.features.mask(items)[:, self._columns])
            align = self.modal_align_weight * pairwise_info_nce(encoded, present, self.temperature)
        first = "contrastive" if self.contrastive else "bpr"
        return Terms(**{first: self.alpha * ranking, "domain": domain, "modal_align": align})

    def _rank_drawn(
        self, user_emb: Tensor, item_emb: Tensor, rows: list[Tensor], items: Tensor, negatives: Tensor
    ) -> Tensor:
        """L by the drawn negatives; ``rows`` are those of ``items`` and ``negatives`` in ``item_emb``."""
        positive, negative = scores_of_rows(user_emb, item_emb, *rows)
        if not self.contrastive:
            return bpr(positive / self.temperature, negative / self.temperature)
        positive = self.correct_for_draws(positive, items, self.temperature)
        negative = self.correct_for_draws(negative, negatives, self.temperature)
        return info_nce(positive, negative, self.temperature)

    @torch.no_grad()
    def diagnostics(self) -> dict[str, float]:
        """How near a user's domain vectors are."""
        overlap = (self.seen.sum(dim=1) > 1).nonzero().squeeze(1)
        if not self._has_domain_loss or not len(overlap):
            return {}
        cosine, norm = domain_agreement(self._encode_users(overlap)[0], self.seen[overlap])
        return {"domain_cosine": cosine, "domain_norm": norm}

    def without_effect(self) -> list[str]:
        """Where a user has one vector for all domains, or is seen in one alone, nothing is there to be mixed."""
        return self.idle_logq(self.contrastive and self.softmax is None) + self._idle_domains()

    def _idle_domains(self) -> list[str]:
        parts = {"cross_domain_fusion": self.cross_domain_fusion, "beta": self._has_domain_loss}
        asked = " and ".join(key for key, there in parts.items() if there)
        if not asked:
            return []
        if not self.modalities and self.user_id is None:
            return [
                "CMC: without features and with user_id: shared a user has one vector for all domains, so "
                f"{asked} {'have' if all(parts.values()) else 'has'} no effect; "
                "user_id: per_domain and both give it one for each"
            ]
        if self._has_domain_loss and not bool((self.seen.sum(dim=1) > 1).any()):
            return ["CMC: no user has training rows in several domains, so beta (L_domain) has no effect"]
        return []
