"""CMC as its formulas are, one user and one item at a time, from the files on disk and the model's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from recbole_mm.modality import ModalityStore
from recbole_mm.testing import Built


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """0 where there is nothing to compare: an item without an id and without a vector."""
    return a @ b / (a.norm() * b.norm()).clamp(min=1e-12)


class NaiveCMC:
    """E_i, E_u^d, Ẽ_u^d by loops; users and items are named by their tokens."""

    def __init__(self, built: Built, folder: Path):
        self.model: Any = built.model
        self.config, self.dataset = built.config, built.train_data._dataset
        frame = pd.read_csv(folder / "toy" / "toy.inter", sep="\t", dtype=str)
        frame.columns = [c.split(":")[0] for c in frame.columns]
        one_domain = not self.dataset.domain_names
        self.domains = ["-"] if one_domain else sorted(frame["domain"].unique())
        self.domain_of = {
            i: "-" if one_domain else d for i, d in zip(frame["item_id"], frame["domain"], strict=True)
        }
        train = frame[frame["part"] == "train"]
        self.taken = train.groupby("user_id")["item_id"].apply(list).to_dict()
        self.users, self.items = sorted(frame["user_id"].unique()), sorted(self.domain_of)
        self.vectors = {}
        for name in self.model.modalities:
            store = ModalityStore.open(folder / "modality" / "toy" / name)
            self.vectors[name] = dict(zip(store.tokens, torch.tensor(store.values), strict=True))
        self.reviews: dict[tuple[str, str], Tensor] | None = None

    def user_id(self, user: str) -> int:
        return int(self.dataset.token2id("user_id", user))

    def item_id(self, item: str) -> int:
        return int(self.dataset.token2id("item_id", item))

    def user_token(self, user: int) -> str:
        return str(self.dataset.id2token("user_id", int(user)))

    def item_token(self, item: int) -> str:
        return str(self.dataset.id2token("item_id", int(item)))

    def fuse(self, encoded: dict[str, Tensor], id_emb: Tensor) -> Tensor:
        """The fusion of the modalities that are there."""
        kind, fusion = self.config["fusion"], self.model.fusion
        if kind == "concat":
            blank = torch.zeros(self.config["embedding_size"])
            return torch.cat([*(encoded.get(m, blank) for m in self.model.modalities), id_emb])
        if kind == "weight":
            scale = dict(zip(self.model.modalities, fusion.scale, strict=True))
            return sum((scale[m] * x for m, x in encoded.items()), id_emb)
        if kind == "gate" and encoded:
            weight = torch.softmax(torch.stack([fusion.score(x)[0] for x in encoded.values()]), 0)
            return sum((len(encoded) * w * x for w, x in zip(weight, encoded.values(), strict=True)), id_emb)
        return sum(encoded.values(), id_emb)

    def item(self, item: str) -> Tensor:
        """E_i."""
        zero = torch.zeros(self.config["embedding_size"])
        id_emb = zero if self.model.item_id is None else self.model.item_id.weight[self.item_id(item)]
        encoded = {
            m: self.model.encoders[m](known[item]) for m, known in self.vectors.items() if item in known
        }
        return self.fuse(encoded, id_emb)

    def user_features(self, user: str, domain: str, modality: str) -> list[Tensor]:
        """What X_u^{m,d} is the mean of."""
        items = [i for i in self.taken.get(user, []) if self.domain_of[i] == domain]
        if modality == "text" and self.reviews is not None:
            return [self.reviews[user, i] for i in items if (user, i) in self.reviews]
        return [self.vectors[modality][i] for i in items if i in self.vectors[modality]]

    def own(self, user: str, domain: str) -> Tensor:
        """E_u^d."""
        id_emb = torch.zeros(self.config["embedding_size"])
        if self.model.user_id is not None:
            row = self.user_id(user) * len(self.domains) + self.domains.index(domain)
            id_emb = id_emb + self.model.user_id.weight[row]
        if self.model.shared_user_id is not None:
            id_emb = id_emb + self.model.shared_user_id.weight[self.user_id(user)]
        features = {m: self.user_features(user, domain, m) for m in self.vectors}
        return self.fuse(
            {m: self.model.encoders[m](torch.stack(x).mean(0)) for m, x in features.items() if x}, id_emb
        )

    def present(self, user: str) -> list[str]:
        """Domains with a training row of the user."""
        return [d for d in self.domains if any(self.domain_of[i] == d for i in self.taken.get(user, []))]

    def mixed(self, user: str, domain: str) -> Tensor:
        """Ẽ_u^d."""
        own, present = self.own(user, domain), self.present(user)
        others = [self.own(user, d) for d in present if d != domain]
        if not others or not self.config["cross_domain_fusion"]:
            return own
        mean = torch.stack(others).mean(0)
        share = self.config["lambda"] if domain in present else 0.0
        return share * own + (1 - share) * mean

    def score(self, user: str, item: str) -> Tensor:
        """cos(Ẽ_u^{dom(i)}, E_i)."""
        return cosine(self.mixed(user, self.domain_of[item]), self.item(item))

    def scores(self) -> Tensor:
        """All pairs ``[U - 1, I - 1]`` in the order of the internal ids."""
        users = [self.user_token(u) for u in range(1, self.dataset.user_num)]
        items = [self.item_token(i) for i in range(1, self.dataset.item_num)]
        of_item = {i: self.item(i) for i in items}
        of_user = {(u, d): self.mixed(u, d) for u in users for d in self.domains}
        rows = [[cosine(of_user[u, self.domain_of[i]], of_item[i]) for i in items] for u in users]
        return torch.stack([torch.stack(row) for row in rows])
