"""The vectors whose dot products are a model's scores, whatever the model calls them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from recbole_mm.errors import WrongUse
from recbole_mm.model.base import TwoTowerRecommender
from recbole_mm.serve.rank import Ranker

#: users on whose scores the vectors are tried
TRIED = 64
#: scores at once, for the vectors of users
AT_ONCE = 16 << 20
#: what rounding may explain, of the largest score and of the scores' spread over users; what it always does
_ROUNDING, _OF_SPREAD, _NOTHING = 1e-5, 1e-3, 1e-6
_PRODUCTS = {torch.matmul, torch.mm, Tensor.matmul, Tensor.mm, Tensor.__matmul__}


class Vectors:
    """Item vectors, and user vectors on request; ``u · v`` is the model's score.

    A bias of an item is the last column of its vector, which in a user's is 1.

    Args:
        ranker: of the model.

    Raises:
        WrongUse: the scores are no dot products.

    Attributes:
        items: float32 ``[I, d]``, by id.
        domains: K, how many vectors a user has: one, or one for each domain of items.
    """

    def __init__(self, ranker: Ranker) -> None:
        self._ranker, model, part = ranker, ranker.model, ranker.train
        users = np.arange(1, part.user_num)
        if len(users) > TRIED:
            users = np.sort(np.random.default_rng(0).permutation(users)[:TRIED])
        if isinstance(model, TwoTowerRecommender):
            self._user_vectors = self._of_tower
            with torch.no_grad():
                self.items = model.item_vectors().cpu().numpy()
            self.domains = self._of_tower(users[:1]).shape[1]
            self._refuse(users, part)
            return
        self.domains, self._user_vectors = 1, self._of_products
        scores, products = self._scored(users)
        if not products:
            raise WrongUse(_no_vectors(model, "no matrix product gives them"))
        self._used = slice(None) if self._fits(scores, products) else slice(-1, None)
        if not self._fits(scores, products[self._used]):
            raise WrongUse(_no_vectors(model, "something follows the product"))
        _, items, self._factor, bias = _fitted(scores, products[self._used])
        self._biased = bool(np.abs(bias).max() > _NOTHING * np.abs(scores[:, 1:]).max())
        self.items = np.column_stack([items, bias]) if self._biased else items

    def of_users(self, users: np.ndarray) -> np.ndarray:
        """Float32 ``[n, K, d]`` of ``users [n]`` (ids)."""
        return self._user_vectors(users)

    @torch.no_grad()
    def _of_tower(self, users: np.ndarray) -> np.ndarray:
        model: Any = self._ranker.model
        found: Tensor = model.user_vectors(torch.from_numpy(users).to(model.item_domain.device))
        return found.cpu().numpy()

    def _of_products(self, users: np.ndarray) -> np.ndarray:
        blocks = np.array_split(users, -(-len(users) * len(self.items) // AT_ONCE) or 1)
        return np.concatenate([self._of_block(block) for block in blocks])[:, None]

    def _of_block(self, users: np.ndarray) -> np.ndarray:
        scores, products = self._scored(users)
        found = np.concatenate([u for u, _ in products[self._used]], axis=1) * np.float32(self._factor)
        if self._biased:
            found = np.column_stack([found, np.ones(len(found), dtype=np.float32)])
        if np.abs(found @ self.items.T - scores)[:, 1:].max() > _tolerance(scores):
            raise WrongUse(_no_vectors(self._ranker.model, "something follows the product"))
        return found

    @torch.no_grad()
    def _scored(self, users: np.ndarray) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
        """Scores ``[n, I]`` and the products of that shape that were computed for them."""
        with _Products(len(users), self._ranker.train.item_num) as seen:
            scores = self._ranker.scores(users, in_order=True)
        return scores.float().cpu().numpy(), [
            (u.float().cpu().numpy(), v.float().cpu().numpy()) for u, v in seen.found
        ]

    def _fits(self, scores: np.ndarray, products: Sequence[tuple[np.ndarray, np.ndarray]]) -> bool:
        users, items, factor, bias = _fitted(scores, products)
        away = np.abs(factor * (users @ items.T) + bias - scores)[:, 1:].max()
        return bool(away <= _tolerance(scores))

    def _refuse(self, users: np.ndarray, part: Any) -> None:
        """Where a model of ours has a head behind its vectors."""
        scores, found = self._ranker.scores(users).cpu().numpy(), self.of_users(users)
        number = 0 if self.domains == 1 else np.asarray(part.item_domain)
        own = found[:, np.broadcast_to(number, len(self.items))]
        away = np.abs((own * self.items).sum(axis=-1) - scores)[:, 1:].max()
        if away > _tolerance(scores):
            raise WrongUse(_no_vectors(self._ranker.model, "something follows the vectors"))


class _Products(TorchFunctionMode):
    """Hears the matrix products ``[n, d] @ [d, I]`` (or ``[n, 1, d]``) while a model scores."""

    def __init__(self, users: int, items: int) -> None:
        super().__init__()
        self._size, self._items, self.found = users * items, items, list[tuple[Tensor, Tensor]]()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        linear = func is F.linear
        if (linear or func in _PRODUCTS) and out.numel() == self._size and out.shape[-1] == self._items:
            users, items = args[:2]
            if items.dim() == 2 and users.shape[0] == self._size // self._items:
                self.found.append((users.reshape(len(users), -1), items if linear else items.t()))
        return out


def _fitted(
    scores: np.ndarray, products: Sequence[tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Users ``[n, d]``, items ``[I, d]``, a factor and a bias by item ``[I]`` that come nearest to the scores."""
    users, items = (np.concatenate(each, axis=1) for each in zip(*products, strict=True))
    product = users @ items.T
    own, theirs = product - product.mean(axis=0), scores - scores.mean(axis=0)
    square = float((own[:, 1:] ** 2).sum())
    factor = float((own * theirs)[:, 1:].sum()) / square if square else 1.0
    factor = 1.0 if abs(factor - 1) < _NOTHING else factor
    bias = (scores - factor * product).mean(axis=0)
    bias[0] = 0.0
    return users, items, factor, bias.astype(np.float32)


def _tolerance(scores: np.ndarray) -> float:
    """How far a product may be from its score; a sigmoid behind it, nearly straight for small values, is farther."""
    largest = float(np.abs(scores[:, 1:]).max())
    spread = float(scores[:, 1:].std(axis=0).max())
    return max(min(_ROUNDING * largest, _OF_SPREAD * spread), _NOTHING * largest)


def _no_vectors(model: Any, why: str) -> str:
    return (
        f"{type(model).__name__}: its scores are no dot products of a vector of the user and one of the item ({why}), "
        "so there are no vectors to search"
    )
