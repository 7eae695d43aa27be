"""MMT as its formulas are, one history and one token list at a time, from the files on disk and the weights."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_mm.modality import ModalityStore
from recbole_mm.testing import Built


class NaiveMMT:
    """H_shared, h_i and the scores by loops over tokens; users and items by their internal ids."""

    def __init__(self, built: Built, folder: Path):
        self.model: Any = built.model
        self.config, self.dataset = built.config, built.train_data._dataset
        frame = pd.read_csv(folder / "toy" / "toy.inter", sep="\t", dtype=str)
        frame.columns = [c.split(":")[0] for c in frame.columns]
        domains = sorted(frame["domain"].unique()) if self.dataset.domain_names else ["-"]
        self.n_domains = len(domains)
        frame["timestamp"] = frame["timestamp"].astype(float)
        train = frame[frame["part"] == "train"].sort_values("timestamp", kind="stable")
        user, item = ([int(self.dataset.token2id(f, t)) for t in train[f]] for f in ("user_id", "item_id"))
        self.taken: dict[int, list[int]] = {}
        for u, i in zip(user, item, strict=True):
            self.taken.setdefault(u, []).append(i)
        every = frame.drop_duplicates("item_id")
        self.domain_of = {
            int(self.dataset.token2id("item_id", i)): domains.index(d) if self.n_domains > 1 else 0
            for i, d in zip(every["item_id"], every["domain"], strict=True)
        }
        self.vectors: dict[str, dict[int, Tensor]] = {}
        for name in self.model.modalities:
            store = ModalityStore.open(folder / "modality" / "toy" / name)
            values = torch.tensor(store.values, dtype=torch.float32)
            values = (values - values.mean(0)) / values.std(0, unbiased=False)  # feature_scaling: standardize
            ids = [int(self.dataset.token2id("item_id", t)) for t in store.tokens]
            self.vectors[name] = dict(zip(ids, values, strict=True))

    def tokens(self, item: int, place: int, with_id: bool) -> list[Tensor]:
        model, position = self.model, self.model.encoder.place.weight[place]
        found = [
            model.projections[m](known[item]) + model.kind[k] + position
            for k, (m, known) in enumerate(self.vectors.items())
            if item in known
        ]
        if with_id:
            found.append(model.item_id.weight[item] + model.kind[-1] + position)
        return found

    def encode(self, tokens: list[Tensor]) -> Tensor:
        """The mean of the last layer over the tokens; attention by hand."""
        encoder = self.model.encoder
        x = encoder.norm(torch.stack(tokens))
        for layer in encoder.layers:
            if layer.norm_first:
                x = x + self.attend(layer, layer.norm1(x))
                x = x + layer.linear2(F.gelu(layer.linear1(layer.norm2(x))))
            else:
                x = layer.norm1(x + self.attend(layer, x))
                x = layer.norm2(x + layer.linear2(F.gelu(layer.linear1(x))))
        return encoder.last_norm(x).mean(0)

    @staticmethod
    def attend(layer: Any, x: Tensor) -> Tensor:
        attention = layer.self_attn
        heads, width = attention.num_heads, x.shape[1] // attention.num_heads
        q, k, v = F.linear(x, attention.in_proj_weight, attention.in_proj_bias).chunk(3, dim=1)
        out = []
        for h in range(heads):
            part = slice(h * width, (h + 1) * width)
            weight = torch.softmax(q[:, part] @ k[:, part].t() / width**0.5, dim=1)
            out.append(weight @ v[:, part])
        return attention.out_proj(torch.cat(out, dim=1))

    def history(self, user: int, domain: int, without: int | None) -> Tensor:
        """H_d; the row's item and its copies go before the last L are taken."""
        length = self.config["history_length"]
        taken = [i for i in self.taken.get(user, []) if self.domain_of[i] == domain and i != without]
        tokens = []
        for place, item in enumerate(reversed(taken[-length:]), start=1):
            tokens += self.tokens(item, place, self.model.history_ids)
        if not tokens:
            return self.model.encoder.place.weight[1 + length + domain]
        return self.encode(tokens)

    def user(self, user: int, domain: int, without: int | None = None) -> Tensor:
        """H_shared for an item of ``domain``."""
        domains = range(self.n_domains) if self.config["cross_domain"] else [domain]
        histories = [self.history(user, d, without) for d in domains]
        if self.config["tied_sharing"]:
            own = domain if self.config["weights_by_domain"] else 0
            weights = self.model.domain_weight[own] if self.config["cross_domain"] else [1.0]
            pairs = zip(weights, histories, strict=True)
            shared = torch.stack([w * self.model.item_share(h) for w, h in pairs]).sum(0)
        else:
            shared = self.model.share(torch.cat(histories))
        if self.model.user_id is not None:
            shared = shared + self.model.user_id.weight[user]
        return F.normalize(shared, dim=0) if self.config["unit_vectors"] else shared

    def item(self, item: int) -> Tensor:
        """W_i h_i."""
        tokens = self.tokens(item, 0, self.model.item_id is not None)
        width = self.config["hidden_size"]
        vector = self.model.item_share(self.encode(tokens) if tokens else torch.zeros(width))
        return F.normalize(vector, dim=0) if self.config["unit_vectors"] else vector

    def score(self, user: int, item: int, without: int | None = None) -> Tensor:
        u, i = (
            self.user(user, self.domain_of[item] if without is None else self.domain_of[without], without),
            self.item(item),
        )
        if self.config["head"] == "dot":
            value = u @ i
        else:
            pair = self.model.pair
            matrix = torch.cat([pair.user.weight, pair.item.weight, pair.product.weight], dim=1)
            hidden = matrix @ torch.cat([u, i, u * i]) + pair.user.bias
            value = pair.out(F.relu(hidden))[0]
        return value / self.config["temperature"] + self.model.item_bias.weight[item, 0]

    def scores(self) -> Tensor:
        """All pairs ``[U - 1, I - 1]``."""
        users, items = range(1, self.dataset.user_num), range(1, self.dataset.item_num)
        self.user, self.item = cache(self.user), cache(self.item)  # type: ignore[method-assign]
        return torch.stack([torch.stack([self.score(u, i) for i in items]) for u in users])
