r"""What a model of ours is made of, and how to write one.

A model is one file, ``recbole_mm/model/x.py`` with class ``X`` (or any file, run as ``--model=path/to/x.py:X``), and
one yaml with its hyper-parameters and their defaults, ``properties/model/X.yaml``. It trains on batches
``user_id [B], item_id [B], neg_item_id [B, N]`` and says how it scores. The smallest one::

    class MF(TwoTowerRecommender):
        def __init__(self, config, dataset):
            super().__init__(config, dataset)  # n_users, n_items, n_domains, item_domain [I]; id 0 is padding
            self.user = nn.Embedding(self.n_users, config["embedding_size"])
            self.item = nn.Embedding(self.n_items, config["embedding_size"])

        def encode_items(self, items):         # [n] -> [n, d]
            return self.item(items)

        def user_vectors(self, users):         # [n] -> [n, K, d], K = 1 or a vector for each domain
            return self.user(users).unsqueeze(1)

        def calculate_loss(self, batch):       # a scalar, or several by name: ``layer.loss.Terms``
            users, items, negatives = self.triplet(batch)
            return bpr(*scores_of_rows(self.user(users), self.item.weight, items, negatives))

**Scores** that are no dot product (an MLP head, an ordered history) need another base:
:class:`TripletRecommender` asks for :meth:`~TripletRecommender.score_pairs` alone and ranks all items with it, in
parts that fit into memory; override :meth:`~TripletRecommender.score_all` too where there is a faster way. ``predict``
and ``full_sort_predict`` rest on these two.

**Features** are a part that a model holds, whatever it inherits, RecBole's sequential and context models included::

    class Mine(Traits, SequentialRecommender):
        multimodal = scores_from_features = True

        def __init__(self, config, dataset):
            super().__init__(config, dataset)
            self.features = item_features(config, dataset)
            self.content = nn.Linear(self.features.widths["text"], config["hidden_size"])
            self.features.read_by(self.content)  # learns at ``feature_learning_rate`` where that is set

``self.features("text", items)`` are vectors ``[n, D]``, ``self.features.mask(items)`` says which exist ``[n, M]``. What
is absent has no vector: use ``layer.projection.masked`` or a fusion of ``layer.fusion``, and never let a row's zeros
speak. A user's items or reviews are ``layer.history.UserHistory``; losses are in ``layer.loss``, graphs in
``layer.graph``.

**What else a model may say** of itself, with the defaults, is in ``model.traits``: figures for the history,
learning rates, rows that belong to ids (of embeddings named ``user…`` and ``item…`` that is known).

**Test**: ``class TestX(ModelContract): model = "X"`` (``recbole_mm.testing``); ``tests/model/test_contract.py`` finds a
model in this folder without that. Then the formula itself against plain loops, as ``tests/model/test_vbpr.py``. Read
``vbpr.py`` for features, ``gce.py`` for a graph (`graph_recommender`), ``cmc.py`` for histories.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType
from torch import Tensor, nn

from recbole_mm.errors import WrongUse
from recbole_mm.layer.domain_softmax import DomainSoftmax
from recbole_mm.layer.feature import FeatureTable
from recbole_mm.layer.history import OrderedHistory, Taken, UserHistory
from recbole_mm.layer.scoring import score_every_item
from recbole_mm.model.traits import Traits
from recbole_mm.run.model_key import describe

#: items encoded at once for a ranking: 416 MiB of 1,664 features each
ITEMS_AT_ONCE = 1 << 16


def check_choices(config: Any, *keys: str) -> None:
    """Raises ``WrongUse`` on a value that a key may not have: ``strict_config: False`` lets one come here."""
    for key in keys:
        if problem := describe(key, config["model"], keys).problem(config[key]):
            raise WrongUse(f"{key}: {problem}")


def table_of(config: Any, sources: Any, present: Tensor) -> FeatureTable:
    """A table of ``sources`` with the memory, learning rate and search of neighbours that ``config`` gives it."""
    budget, rate = int(config["feature_memory_mib"]) << 20, config["feature_learning_rate"]
    return FeatureTable(sources, present, budget, rate, config["neighbour_search"] == "hnsw")


def item_features(config: Any, dataset: Any) -> FeatureTable:
    """The features of ``dataset.modality`` for a model to hold as ``features``."""
    return table_of(config, dataset.modality, dataset.modality.present)


def review_features(config: Any, dataset: Any, with_items: bool = True) -> FeatureTable:
    """The vectors of the training rows' reviews, under the name ``text``; ``with_items``: items share their map."""
    reviews = dataset.load_reviews(with_items)
    return table_of(config, {"text": reviews}, torch.from_numpy(reviews.present).unsqueeze(1))


class TripletRecommender(Traits, GeneralRecommender):
    """A general recommender trained on triplets ``user [B], item [B], neg [B, N]``, that scores pairs of ids."""

    input_type = InputType.PAIRWISE
    triplet_batches = True
    #: memory that :meth:`score_pairs` takes for one pair, for the size of its calls: wide heads say more
    pair_bytes = 4096
    #: memory that one call of it may take
    scoring_bytes = 256 << 20

    item_domain: Tensor
    log_q: Tensor | None

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.domain_names = list(dataset.domain_names)
        self.n_domains = max(len(self.domain_names), 1)
        domain = dataset.item_domain
        if domain is None:
            domain = torch.zeros(self.n_items, dtype=torch.long)
        self.register_buffer("item_domain", domain.clamp(min=0), persistent=False)

    def id_rows(self) -> dict[str, list[tuple[str, int]]]:
        """Of embeddings named ``user…`` or ``item…``, at any depth, that have a row for each, or one for each domain
        (row ``user · n_domains + domain``). A model with others says so itself.
        """
        found = {}
        sizes = {"user": self.n_users, "item": self.n_items}
        for name, part in self.named_modules():
            named = [kind for kind in sizes if kind in name]
            if isinstance(part, nn.Embedding) and len(named) == 1:
                rows, rest = divmod(part.num_embeddings, sizes[named[0]])
                if not rest and rows in (1, self.n_domains):
                    found[f"{name}.weight"] = [(named[0], rows)]
        return found

    def training_pairs(self, dataset: Any) -> tuple[np.ndarray, np.ndarray]:
        """Users and items of the training rows, ``[t]`` each."""
        users, items = (dataset.inter_feat[f].numpy() for f in (self.USER_ID, self.ITEM_ID))
        return users, items

    def seen_domains(self, dataset: Any) -> Tensor:
        """Bool ``[U, K]``: in which domains a user has training rows."""
        users, items = self.training_pairs(dataset)
        seen = torch.zeros(self.n_users, self.n_domains, dtype=torch.bool)
        seen[users, self.item_domain.numpy()[items]] = True
        return seen

    def items_by_domain(self, dataset: Any) -> UserHistory:
        """The items that each user took in training, a part for each domain."""
        users, items = self.training_pairs(dataset)
        domain = self.item_domain.numpy()[items]
        parts = [Taken("items", users[domain == d], items[domain == d]) for d in range(self.n_domains)]
        return UserHistory(self.n_users, parts)

    def domain_softmax(self, config: Any, dataset: Any) -> DomainSoftmax:
        """A softmax over all items of a row's domain; what else its user took in training is left out."""
        users, items = self.training_pairs(dataset)
        domain = self.item_domain.numpy()[items]
        taken = OrderedHistory(self.n_users, self.n_domains, users, domain, items, length=1)
        return DomainSoftmax(taken, self.item_domain, config["softmax_memory_mib"])

    def read_log_q(self, config: Any, dataset: Any) -> None:
        """Keep ``log_q [I]`` where ``logq`` asks for it: the logarithm of each item's probability to be drawn as a
        negative of its domain, up to a constant; None where all items are drawn alike.
        """
        self.logq, drawn = config["logq"], config["train_neg_sample_args"]
        log_q = None
        if self.logq and drawn["distribution"] == "popularity":
            counts = torch.bincount(dataset.inter_feat[self.ITEM_ID], minlength=self.n_items)
            log_q = drawn["alpha"] * counts.clamp(min=1).log()  # an item without rows is never drawn
        self.register_buffer("log_q", log_q, persistent=False)

    def correct_for_draws(self, scores: Tensor, items: Tensor, scale: float = 1.0) -> Tensor:
        """``scores`` of the drawn ``items``, and of the positives among them, less ``scale`` times their log Q."""
        return scores if self.log_q is None else scores - scale * self.log_q[items]

    def idle_logq(self, drawn_softmax: bool) -> list[str]:
        """A sentence where ``logq`` has nothing to correct."""
        if not self.logq or (drawn_softmax and self.log_q is not None):
            return []
        return [
            f"{type(self).__name__}: logq has no effect: it corrects a softmax over negatives drawn by popularity"
        ]

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores ``[B]`` of the pairs ``users [B], items [B]``."""
        raise NotImplementedError(f"{type(self).__name__} must define score_pairs")

    def score_all(self, users: Tensor) -> Tensor:
        """Scores ``[B, I]`` of all items for ``users [B]``."""
        return score_every_item(self.score_pairs, users, self.n_items, self.scoring_bytes // self.pair_bytes)

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores ``[B]`` of the rows' (user, item) pairs."""
        return self.score_pairs(interaction[self.USER_ID], interaction[self.ITEM_ID])

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores of all items, flat ``[B * I]`` as RecBole wants them."""
        return self.score_all(interaction[self.USER_ID]).reshape(-1)

    def triplet(self, interaction: Interaction) -> tuple[Tensor, Tensor, Tensor]:
        """Users ``[B]``, items ``[B]`` and negatives ``[B, N]`` of a batch."""
        return interaction[self.USER_ID], interaction[self.ITEM_ID], interaction[self.NEG_ITEM_ID]

    def distinct_items(self, *ids: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The distinct items of a step, to be encoded once: ``[n]`` and, for each of ``ids``, its rows in them.

        On a catalogue smaller than the step, simply all items.
        """
        if self.n_items <= sum(i.numel() for i in ids):
            return torch.arange(self.n_items, device=ids[0].device), list(ids)
        distinct, rows = torch.unique(torch.cat([i.reshape(-1) for i in ids]), return_inverse=True)
        parts = rows.split([i.numel() for i in ids])
        return distinct, [part.view_as(i) for part, i in zip(parts, ids, strict=True)]


class TwoTowerRecommender(TripletRecommender):
    """The score is the dot product of an item's vector with its user's vector for the item's domain.

    A subclass gives :meth:`encode_items` and :meth:`user_vectors`; :meth:`vectors_of_history` and
    :meth:`~recbole_mm.model.traits.Traits.encode_content` where people, or items, need not be in the data.
    """

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self._item_cache: Tensor | None = None

    def encode_items(self, items: Tensor) -> Tensor:
        """Item vectors ``[n, d]`` of ``items [n]``."""
        raise NotImplementedError(f"{type(self).__name__} must define encode_items")

    def user_vectors(self, users: Tensor) -> Tensor:
        """User vectors ``[n, K, d]`` of ``users [n]``, one per domain (K = 1 where domains share one)."""
        raise NotImplementedError(f"{type(self).__name__} must define user_vectors")

    def own_vector(self, vectors: Tensor, items: Tensor) -> Tensor:
        """Of ``vectors [n, K, d]`` the one for the domain of ``items [n]``: ``[n, d]``."""
        if vectors.shape[1] == 1:
            return vectors[:, 0]
        return vectors[torch.arange(len(items), device=items.device), self.item_domain[items]]

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """``[B]``."""
        user_emb = self.own_vector(self.user_vectors(users), items)
        return (user_emb * self.item_vectors()[items]).sum(dim=1)

    def score_all(self, users: Tensor) -> Tensor:
        """``[B, I]``."""
        return self.score_vectors(self.user_vectors(users))

    def score_history(self, items: Tensor) -> Tensor | None:
        """``[I]``, by :meth:`vectors_of_history`."""
        vectors = self.vectors_of_history(items)
        return None if vectors is None else self.score_vectors(vectors)[0]

    def vectors_of_history(self, items: Tensor) -> Tensor | None:
        """Vectors ``[1, K, d]`` of someone who took ``items [t]`` and has no id; None where users need one."""
        return None

    def score_vectors(self, user_emb: Tensor) -> Tensor:
        """Scores ``[B, I]`` of all items for users with the vectors ``[B, K, d]``."""
        item_emb = self.item_vectors()
        if user_emb.shape[1] == 1:
            return user_emb[:, 0] @ item_emb.t()
        scores = user_emb.new_empty(len(user_emb), self.n_items)
        for domain in range(self.n_domains):
            of_domain = (self.item_domain == domain).nonzero().squeeze(1)
            scores[:, of_domain] = user_emb[:, domain] @ item_emb[of_domain].t()
        return scores

    def item_vectors(self) -> Tensor:
        """All item vectors ``[I, d]``; in evaluation computed once, until the mode or the weights change."""
        if self._item_cache is not None:
            return self._item_cache
        every = torch.arange(self.n_items, device=self.item_domain.device)
        if self.training or torch.is_grad_enabled():
            return self.encode_items(every)
        self._item_cache = torch.cat([self.encode_items(part) for part in every.split(ITEMS_AT_ONCE)])
        return self._item_cache

    def forget_cached(self) -> None:
        """Forget what was computed for scoring; the mode or the weights have changed."""
        self._item_cache = None

    def train(self, mode: bool = True) -> TwoTowerRecommender:
        """Set the mode; forgets cached vectors."""
        self.forget_cached()
        return super().train(mode)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights; forgets cached vectors."""
        self.forget_cached()
        return super().load_state_dict(*args, **kwargs)
