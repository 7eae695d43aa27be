"""Our cross-domain models beside RecBole-CDR's of the same name, with the same weights; one JSON line a model.

    git clone https://github.com/RUCAIBox/RecBole-CDR
    python benchmarks/beside_recbole_cdr.py --recbole-cdr RecBole-CDR [--models CMF,EMCDR]

``scores``, ``loss``: the largest difference of the scores of a domain's users and items, and of the loss of a batch,
each over the largest value; either domain is the target once. ``settled``: what had to be set alike first, in which the
two differ on purpose (the model's docstring). Nothing of RecBole-CDR is part of this project; its code is imported from
where it was cloned to, and its package need not be installed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from beside_mmrec import Settings
from recbole.data.interaction import Interaction
from scipy.sparse import coo_matrix, dok_matrix
from torch import Tensor, nn

from recbole_mm.layer.loss import total
from recbole_mm.testing import Built, write_toy

WIDTH, ROWS = 16, 5
#: of every model of RecBole-CDR
THEIRS: dict[str, Any] = {
    "device": "cpu", "source_domain": {"NEG_PREFIX": "neg_"}, "target_domain": {"NEG_PREFIX": "neg_"},
    "embedding_size": WIDTH, "source_embedding_size": WIDTH, "target_embedding_size": WIDTH, "alpha": 0.5,
    "lambda": 0.0, "gamma": 0.0, "reg_weight": 0.0, "dropout_prob": 0.0, "drop_rate": 0.0, "n_layers": 2,
    "lambda_source": 0.8, "lambda_target": 0.8, "connect_way": "concat", "base_model": "NeuMF",
    "latent_factor_model": "BPR", "mapping_function": "non_linear", "mlp_hidden_size": [32, 16],
}  # fmt: skip


@dataclass
class Side:
    """A data set of ours as RecBole-CDR numbers it, where ``target`` is one of its two domains.

    Attributes:
        users, items: our id of each of theirs; those of both domains first, then the target's, then the source's.
        both, n_users, n_items: how many of theirs are in both domains and in the target, with [PAD].
        model: theirs.
    """

    built: Built
    target: int
    users: Tensor = field(init=False)
    items: Tensor = field(init=False)
    model: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        rows, ours = self.built.train_data._dataset.inter_feat, self.built.model
        domain = ours.item_domain[rows["item_id"]]
        seen = torch.zeros(ours.n_users, 2, dtype=torch.bool)
        seen[rows["user_id"], domain] = True
        here, there = seen[:, self.target], seen[:, 1 - self.target]
        parts = [(here & there), here & ~there, ~here]
        parts[2][0] = False
        groups = [part.nonzero().squeeze(1) for part in parts]
        self.both, self.n_users = 1 + len(groups[0]), 1 + len(groups[0]) + len(groups[1])
        zero = torch.zeros(1, dtype=torch.long)
        self.users = torch.cat([zero, *groups])
        of_target = ours.item_domain == self.target
        of_target[0] = False
        self.n_items = 1 + int(of_target.sum())
        others = ours.item_domain == 1 - self.target
        others[0] = False
        self.items = torch.cat([zero, of_target.nonzero().squeeze(1), others.nonzero().squeeze(1)])

    def user(self, ours: Tensor) -> Tensor:
        """Their ids."""
        return torch.argsort(self.users)[ours]

    def item(self, ours: Tensor) -> Tensor:
        """Their ids."""
        return torch.argsort(self.items)[ours]

    def dataset(self) -> Any:
        """What their models ask of one."""

        def part(name: str, sizes: dict[str, int]) -> Any:
            fields = {f"{short}_field": f"{name}_{word}" for short, word in FIELDS.items()}
            return SimpleNamespace(**fields, num=lambda asked: sizes[asked])

        total = {"user": len(self.users), "item": len(self.items)}
        sizes = {f"target_{k}": n for k, n in (("user", self.n_users), ("item", self.n_items))}
        return SimpleNamespace(
            source_domain_dataset=part("source", {f"source_{k}": n for k, n in total.items()}),
            target_domain_dataset=part("target", sizes),
            num_total_user=total["user"], num_total_item=total["item"], num_overlap_user=self.both,
            num_overlap_item=1, overlap_id_field="overlap", inter_matrix=self.matrix,
        )  # fmt: skip

    def matrix(self, form: str, value_field: Any = None, domain: str = "target") -> Any:
        """The training rows of a domain."""
        rows, ours = self.built.train_data._dataset.inter_feat, self.built.model
        wanted = self.target if domain == "target" else 1 - self.target
        kept = ours.item_domain[rows["item_id"]] == wanted
        at = self.user(rows["user_id"][kept]).numpy(), self.item(rows["item_id"][kept]).numpy()
        shape = len(self.users), len(self.items)
        return coo_matrix((np.ones(len(at[0])), at), shape=shape).asformat(form)

    def batch(self, ours: dict[str, Tensor]) -> Interaction:
        """The rows of ``ours`` as they want them: the two domains side by side, negatives with label 0 and as pairs."""
        columns: dict[str, Tensor] = {}
        for name, domain in (("target", self.target), ("source", 1 - self.target)):
            own = self.built.model.item_domain[ours["item_id"]] == domain
            users, positive, negative = (ours[f][own] for f in ("user_id", "item_id", "neg_item_id"))
            n = len(users)
            columns |= {
                f"{name}_user": self.user(users.repeat(2)),
                f"{name}_item": self.item(torch.cat([positive, negative])),
                f"{name}_label": torch.tensor([1.0] * n + [0.0] * n),
                f"neg_{name}_item": self.item(negative).repeat(2),
            }
        inside = self.user(ours["user_id"].unique())
        columns["overlap"] = inside[inside < self.both]
        return Settings(columns)  # type: ignore[return-value]  # columns of several lengths


FIELDS = {"uid": "user", "iid": "item", "label": "label"}


@dataclass
class Case:
    """How a model of RecBole-CDR and ours are made equal.

    Attributes:
        load: called with a side and our batch once their model is there; gives it our weights.
        loss: of the sides' models, over our batch.
        scores: of a side's model for their users and items, ``[n, m]``.
        settled: the differences that this and the settings take away.
    """

    load: Callable[[Side, dict[str, Tensor]], None]
    loss: Callable[[list[Side], dict[str, Tensor]], Tensor]
    scores: Callable[[Any, Tensor, Tensor], Tensor]
    ours: dict[str, Any] = field(default_factory=dict)
    settled: str = ""


def by_domain(side: Side, absent: float | None = None) -> None:
    """Tables of users and items in each domain; those that a domain does not have are ``absent``."""
    ours, theirs = side.built.model, side.model
    users = ours.user_id.weight.detach().view(ours.n_users, 2, -1)
    for name, domain in (("target", side.target), ("source", 1 - side.target)):
        user, item = users[side.users, domain].clone(), ours.item_id.weight.detach()[side.items].clone()
        if absent is not None:
            user[slice(side.n_users, None) if name == "target" else slice(side.both, side.n_users)] = absent
            item[slice(side.n_items, None) if name == "target" else slice(1, side.n_items)] = absent
        getattr(theirs, f"{name}_user_embedding").weight.data = user
        getattr(theirs, f"{name}_item_embedding").weight.data = item


def linears(theirs: Any, ours: Any) -> None:
    """The linear layers of a module, one after the other."""
    pairs = ([each for each in part.modules() if isinstance(each, nn.Linear)] for part in (theirs, ours))
    for a, b in zip(*pairs, strict=True):
        a.load_state_dict(b.state_dict())


def load_cmf(side: Side, batch: dict[str, Tensor]) -> None:
    ours = side.built.model
    side.model.user_embedding.weight.data = ours.user_id.weight.detach()[side.users].clone()
    side.model.item_embedding.weight.data = ours.item_id.weight.detach()[side.items].clone()


def load_emcdr(side: Side, batch: dict[str, Tensor]) -> None:
    by_domain(side)
    ours = side.built.model
    linears(side.model.mapping, ours.maps[ours.pairs.index((1 - side.target, side.target))])


def load_dtcdr(side: Side, batch: dict[str, Tensor]) -> None:
    by_domain(side, -torch.inf)
    for name, domain in (("target", side.target), ("source", 1 - side.target)):
        layers, out = side.built.model.networks[domain]
        linears(getattr(side.model, f"{name}_mlp_layers"), layers)
        linears(getattr(side.model, f"{name}_predict_layer"), out)


def load_conet(side: Side, batch: dict[str, Tensor]) -> None:
    """One user vector; what the other network reads beside it stands in the rows of the batch's items."""
    ours, theirs = side.built.model, side.model
    for name, domain in (("target", side.target), ("source", 1 - side.target)):
        getattr(theirs, f"{name}_user_embedding").weight.data = ours.user_id.weight.detach()[
            side.users
        ].clone()
        table = ours.item_id.weight.detach()[side.items].clone()
        foreign = ours.item_domain[batch["item_id"]] != domain
        users = batch["user_id"][foreign]
        with torch.no_grad():
            _, taken, _ = ours._users(users)
        for column in ("item_id", "neg_item_id"):
            table[side.item(batch[column][foreign])] = taken[domain]
        getattr(theirs, f"{name}_item_embedding").weight.data = table
        for k, layer in enumerate(ours.own):
            linears(getattr(theirs, f"{name}_crossunit_linear")[k], layer[domain])
        linears(getattr(theirs, f"{name}_outputunit"), ours.out[domain])
    linears(theirs.crossparas, ours.cross)


def in_two_domains(scale: float = 1.0) -> Callable[[list[Side], dict[str, Tensor]], Tensor]:
    """Their loss, the mean over the roles; a sum over the domains where ``scale`` is ½."""

    def loss(sides: list[Side], batch: dict[str, Tensor]) -> Tensor:
        found = torch.zeros(())
        for side in sides:
            found = found + total(side.model.calculate_loss(side.batch(batch)))
        return scale * found / len(sides)

    return loss


def loss_emcdr(sides: list[Side], batch: dict[str, Tensor]) -> Tensor:
    """Its three phases: the factors of each domain, and the maps."""
    found = []
    for side in sides:
        rows, total = side.batch(batch), 0.0
        pairs = Settings({k: v[:ROWS] if k != "overlap" else v for k, v in rows.items()})
        for phase, share in (("SOURCE", 0.5), ("TARGET", 0.5), ("OVERLAP", 1.0)):
            side.model.set_phase(phase)
            total = total + share * side.model.calculate_loss(pairs)
        side.model.set_phase("BOTH")
        found.append(total)
    return torch.stack(found).mean()  # type: ignore[arg-type]


def loss_conet(sides: list[Side], batch: dict[str, Tensor]) -> Tensor:
    norms = sum(each.weight.norm() for each in sides[0].model.crossparas)
    return (in_two_domains()(sides, batch) - norms) / 2


def by_all_items(theirs: Any, users: Tensor, items: Tensor) -> Tensor:
    found = theirs.full_sort_predict({theirs.TARGET_USER_ID: users})
    return found.view(len(users), -1)[:, items]  # type: ignore[no-any-return]


def by_pairs(theirs: Any, users: Tensor, items: Tensor) -> Tensor:
    """By the probabilities of pairs."""
    asked = {
        theirs.TARGET_USER_ID: users.repeat_interleave(len(items)),
        theirs.TARGET_ITEM_ID: items.repeat(len(users)),
    }
    return torch.logit(theirs.predict(asked).double()).float().view(len(users), -1)


CASES: dict[str, Case] = {
    "CMF": Case(load_cmf, in_two_domains(), by_all_items, ours={"reg_weight": 0.0}, settled="no L2"),
    "EMCDR": Case(
        load_emcdr, loss_emcdr, by_all_items,
        ours={"map_users": "all", "mlp_hidden_size": [32, 16], "reg_weight": 0.0},
        settled="BPR, users of both domains mapped, the maps without gradients for the factors, no L2",
    ),
    "CoNet": Case(
        load_conet, loss_conet, by_pairs, ours={"mlp_hidden_size": [32, 16], "reg_weight": 0.0},
        settled="one vector a user, the other network reads the user's items there, scores with cross connections (the "
        "rows of the batch alone), no norm of H",
    ),
    "DTCDR": Case(
        load_dtcdr, in_two_domains(), by_pairs, ours={"mlp_hidden_size": [32, 16], "dropout_prob": 0.0},
        settled="vectors that a domain has not are left out of the maximum, no dropout",
    ),
    "BiTGCF": Case(
        lambda side, batch: by_domain(side, 0.0), in_two_domains(0.5), by_all_items,
        ours={"reg_weight": 0.0, "dropout_prob": 0.0},
        settled="vectors that a domain has not are zero, no dropout, no L2",
    ),
}  # fmt: skip


def rows_of(built: Built) -> dict[str, Tensor]:
    """As many positives of each domain with a negative each, no item twice."""
    rows, domain = built.train_data._dataset.inter_feat, built.model.item_domain
    picked: dict[str, list[int]] = {"user_id": [], "item_id": [], "neg_item_id": []}
    for d in (0, 1):
        free = (domain == d).nonzero().squeeze(1).tolist()
        free = [item for item in free if item]
        taken: dict[int, int] = {}
        for user, item in zip(rows["user_id"].tolist(), rows["item_id"].tolist(), strict=True):
            if item in free and item not in taken and user not in taken.values() and len(taken) < ROWS:
                taken[item] = user
        picked["user_id"] += taken.values()
        picked["item_id"] += taken
        picked["neg_item_id"] += [item for item in free if item not in taken][:ROWS]
    return {name: torch.tensor(values) for name, values in picked.items()}


def beside(name: str, case: Case) -> dict[str, Any]:
    """Both models with the same weights: the largest differences of scores and of a loss."""
    theirs = importlib.import_module(f"recbole_cdr.model.cross_domain_recommender.{name.lower()}")
    with tempfile.TemporaryDirectory() as text:
        given = write_toy(Path(text), (), domains=2)
        built = Built(name, {**given, "embedding_size": WIDTH, **case.ours})
    built.model.train()
    batch, sides = rows_of(built), [Side(built, target) for target in (0, 1)]
    for side in sides:
        side.model = getattr(theirs, name)(Settings(THEIRS), side.dataset())
        case.load(side, batch)
    asked = Interaction({**batch, "neg_item_id": batch["neg_item_id"].unsqueeze(1)})
    with torch.no_grad():
        own_loss, loss = float(built.loss(asked)), float(case.loss(sides, batch))
        differences, largest = [], []
        for side in sides:
            side.model.eval()
            users, items = torch.arange(1, side.n_users), torch.arange(1, side.n_items)
            if name == "CoNet":
                found, own = _of_batch(side, batch)
            else:
                found = case.scores(side.model, users, items)
                own = built.scores(side.users[users])[:, side.items[items] - 1]
            differences.append(float((found - own).abs().max()))
            largest.append(float(found.abs().max()))
    return {
        "model": name, "scores": float(f"{max(differences) / max(largest):.1e}"),
        "loss": float(f"{abs(own_loss - loss) / abs(loss):.1e}"), "settled": case.settled,
    }  # fmt: skip


def _of_batch(side: Side, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """CoNet's scores of the target's rows, which its own ``predict`` makes without cross connections, and ours."""
    own = side.built.model.item_domain[batch["item_id"]] == side.target
    users, items = batch["user_id"][own], batch["item_id"][own]
    found = side.model.target_forward(side.user(users), side.item(items))
    return torch.logit(found.double()).float(), side.built.model.score_pairs(users, items)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--recbole-cdr", type=Path, required=True, help="a clone of RecBole-CDR")
    parser.add_argument("--models", default=",".join(CASES))
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.recbole_cdr))
    np.NINF = -np.inf  # type: ignore[attr-defined]
    if not hasattr(dok_matrix, "_update"):
        dok_matrix._update = lambda self, pairs: self._dict.update(pairs)
    for name in arguments.models.split(","):
        print(json.dumps(beside(name, CASES[name])), flush=True)


if __name__ == "__main__":
    main()
