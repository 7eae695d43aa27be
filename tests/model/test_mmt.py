"""MMT against naive loops over its formulas; no row's user knows the row's item."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from naive_mmt import NaiveMMT
from recbole.data.interaction import Interaction

from recbole_mm.errors import WrongUse
from recbole_mm.testing import Built, write_toy

SMALL = {
    "hidden_size": 8, "n_layers": 2, "n_heads": 2, "inner_size": 12, "shared_size": 6, "history_length": 3,
    "hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "initializer_range": 0.5,
    "train_neg_sample_args": {"distribution": "uniform", "sample_num": 3},
}  # fmt: skip
CATALOGUE = {"loss": "softmax", "softmax_over": "domain"}


def repeat_pairs(folder: Path) -> None:
    """Some training rows twice, the copies at the end of the training rows."""
    path = folder / "toy" / "toy.inter"
    frame = pd.read_csv(path, sep="\t", dtype=str)
    train = frame[frame["part:token"] == "train"]
    frame = pd.concat([train, train.iloc[::4], train.iloc[::8], frame.drop(train.index)])
    frame.to_csv(path, sep="\t", index=False)


def make(folder: Path, domains: int = 2, **settings: Any) -> tuple[Built, NaiveMMT]:
    given = write_toy(folder, domains=domains)
    repeat_pairs(folder)
    built = Built("MMT", {**given, **SMALL, **settings})
    torch.nn.init.normal_(built.model.item_bias.weight)
    if built.model.domain_weight is not None:
        torch.nn.init.normal_(built.model.domain_weight)
    return built, NaiveMMT(built, folder)


@torch.no_grad()
@pytest.mark.parametrize("domains", [1, 2, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"norm_first": False},
        {"head": "mlp", "temperature": 0.5},
        {"cross_domain": False},
        {"cross_domain": False, "head": "mlp"},
        {"modalities": []},
        {"modalities": ["text"], "use_id": False},
        {"history_ids": True, "user_id": True},
        {"unit_vectors": True, "temperature": 0.2},
        {"tied_sharing": True, "history_ids": True},
        {"tied_sharing": True, "cross_domain": False},
        {"tied_sharing": True, "weights_by_domain": True, "unit_vectors": True},
    ],
    ids=str,
)
def test_scores_are_the_formula(tmp_path: Path, domains: int, settings: dict[str, Any]) -> None:
    built, naive = make(tmp_path, domains, **settings)
    torch.testing.assert_close(built.scores(), naive.scores(), rtol=1e-4, atol=1e-5)


def negative_log(positive: torch.Tensor, others: list[torch.Tensor], loss: str) -> torch.Tensor:
    every = torch.stack([positive, *others])
    if loss == "softmax":
        return -torch.log_softmax(every, 0)[0]
    sign = torch.tensor([1.0] + [-1.0] * len(others))
    return -torch.nn.functional.logsigmoid(sign * every).mean()


@torch.no_grad()
@pytest.mark.parametrize("domains", [1, 3])
@pytest.mark.parametrize("head", ["dot", "mlp"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"loss": "softmax"},
        {**CATALOGUE, "softmax_memory_mib": 1e-6},
        {**CATALOGUE, "cross_domain": False},
        {**CATALOGUE, "tied_sharing": True, "weights_by_domain": True},
    ],
    ids=str,
)
def test_the_loss_is_the_formula(tmp_path: Path, domains: int, head: str, settings: dict[str, Any]) -> None:
    built, naive = make(tmp_path, domains, head=head, temperature=0.7, **settings)
    batch = built.batch(24)
    terms = []
    for u, i, negatives in zip(batch["user_id"], batch["item_id"], batch["neg_item_id"], strict=True):
        user, item, others = int(u), int(i), negatives.tolist()
        if settings.get("softmax_over") == "domain":
            domain = naive.domain_of[item]
            others = [j for j, d in naive.domain_of.items() if d == domain and j not in naive.taken[user]]
        scores = [naive.score(user, j, without=item) for j in (item, *others)]
        terms.append(negative_log(scores[0], scores[1:], built.config["loss"]))
    torch.testing.assert_close(built.loss(batch), torch.stack(terms).mean(), rtol=1e-4, atol=1e-5)


POPULAR = {"train_neg_sample_args": {"distribution": "popularity", "alpha": 0.5, "sample_num": 3}}


@torch.no_grad()
@pytest.mark.parametrize("head", ["dot", "mlp"])
@pytest.mark.parametrize("loss", ["gbce", "softmax"])
def test_the_loss_allows_for_the_draws(tmp_path: Path, head: str, loss: str) -> None:
    """gBCE by the share that is drawn of a domain; a softmax by how often each item is drawn (logQ)."""
    given: dict[str, Any] = {"gbce_t": 0.6} if loss == "gbce" else {"logq": True}
    built, naive = make(tmp_path, 3, head=head, loss=loss, **POPULAR, **given)
    every = [i for items in naive.taken.values() for i in items]
    batch, terms = built.batch(24), []
    for u, i, negatives in zip(batch["user_id"], batch["item_id"], batch["neg_item_id"], strict=True):
        ids = [int(i), *negatives.tolist()]
        scores = torch.stack([naive.score(int(u), j, without=int(i)) for j in ids])
        if loss == "gbce":
            domain = naive.domain_of[int(i)]
            rate = 3 / (sum(d == domain for d in naive.domain_of.values()) - 1)
            beta = rate * (0.6 * (1 - 1 / rate) + 1 / rate)
            positive = -torch.log(torch.sigmoid(scores[0]) ** beta)
            terms.append((positive - torch.log(1 - torch.sigmoid(scores[1:])).sum()) / 4)
        else:
            scores -= torch.tensor([every.count(j) ** 0.5 for j in ids]).log()
            terms.append(-torch.log_softmax(scores, 0)[0])
    torch.testing.assert_close(built.loss(batch), torch.stack(terms).mean(), rtol=1e-4, atol=1e-5)
    assert built.model.without_effect() == []


@pytest.mark.parametrize(
    ("domains", "settings"),
    [(1, {"tied_sharing": True}), (2, {}), (2, {"tied_sharing": True, "cross_domain": False})],
)
def test_weights_of_domains_that_there_are_not_are_said(
    tmp_path: Path, domains: int, settings: dict[str, Any]
) -> None:
    model = make(tmp_path, domains, weights_by_domain=True, **settings)[0].model
    said = "MMT: weights_by_domain has no effect without tied_sharing, cross_domain and two domains"
    assert model.without_effect() == [said]
    tied = {"tied_sharing": True, "weights_by_domain": True}
    assert make(tmp_path / "b", 2, **tied)[0].model.without_effect() == []


@pytest.mark.parametrize(
    "settings", [{"loss": "softmax"}, {"loss": "gbce", **POPULAR}, {**CATALOGUE, **POPULAR}]
)
def test_logq_without_such_draws_is_said(tmp_path: Path, settings: dict[str, Any]) -> None:
    said = "MMT: logq has no effect: it corrects a softmax over negatives drawn by popularity"
    assert make(tmp_path, logq=True, **settings)[0].model.without_effect() == [said]


def batches(built: Built) -> dict[str, Interaction]:
    """Every form that a batch of training takes."""
    rows = built.train_data._dataset.inter_feat
    whole = built.batch()
    columns = {f: rows[f] for f in ("user_id", "item_id")}
    one_user = columns["user_id"] == columns["user_id"].mode().values
    return {
        "a batch of the loader": whole,
        "one row": built.batch(1),
        "a row twice": whole[torch.tensor([5, 5, 5])],
        "all rows": Interaction(columns),
        "all rows of a user": Interaction({f: c[one_user] for f, c in columns.items()}),
    }


@torch.no_grad()
@pytest.mark.parametrize("domains", [1, 3])
@pytest.mark.parametrize(
    "settings", [{}, {"cross_domain": False}, {"history_ids": True}, {"modalities": []}], ids=str
)
def test_a_row_does_not_know_its_item(tmp_path: Path, domains: int, settings: dict[str, Any]) -> None:
    """Replacing all that is known of the item of a row changes nothing in the row's user; of another item, it does."""
    built, naive = make(tmp_path, domains, **settings)
    model = built.model.eval()

    def users_of(rows: Interaction) -> torch.Tensor:
        return model.encode_rows(rows["user_id"], rows["item_id"], rows["item_id"])[0]

    def replace(item: int) -> None:
        for k in range(len(model.modalities)):
            getattr(model.features, f"table_{k}")[item] += 3.0
        if model.item_id is not None:
            model.item_id.weight[item] += 3.0

    for name, rows in batches(built).items():
        plain = users_of(rows)
        changed_by_others = 0
        for item in rows["item_id"].unique()[:6].tolist():
            replace(item)
            now = users_of(rows)
            own = rows["item_id"] == item
            torch.testing.assert_close(now[own], plain[own], rtol=0, atol=0, msg=name)
            changed_by_others += int((now != plain).any(dim=1).sum())
            replace(item)
            plain = users_of(rows)
        if name not in ("one row", "a row twice"):
            assert changed_by_others, f"{name}: nothing is shown"
    assert max(naive.taken[u].count(i) for u in naive.taken for i in naive.taken[u]) > 2


@torch.no_grad()
def test_the_last_items_are_taken_in_the_order_of_time(tmp_path: Path) -> None:
    settings = {**write_toy(tmp_path), **SMALL, "history_length": 2}
    path = tmp_path / "toy" / "toy.inter"
    frame = pd.read_csv(path, sep="\t", dtype=str)
    turned = frame.assign(**{"timestamp:float": frame["timestamp:float"].iloc[::-1].to_numpy()})
    turned.to_csv(path, sep="\t", index=False)
    model, dataset = (built := Built("MMT", settings)).model, built.train_data._dataset
    train = turned[turned["part:token"] == "train"].assign(time=lambda f: f["timestamp:float"].astype(float))
    last = train.sort_values("time").groupby("user_id:token")["item_id:token"].apply(lambda x: list(x)[-2:])
    for user, items in last.items():
        cell = torch.tensor([int(dataset.token2id("user_id", user))])
        bags, places = model.history.last_of(cell)
        assert dataset.id2token("item_id", bags.ids).tolist() == items
        assert places.tolist() == [2, 1]


def test_training_noise_is_off_in_evaluation_and_leaves_what_is_absent(tmp_path: Path) -> None:
    noisy = {"feature_noise": 0.5, "modality_dropout": 0.6, "use_id": False}
    built, naive = make(tmp_path, **noisy)
    with torch.no_grad():
        torch.testing.assert_close(built.scores(), naive.scores(), rtol=1e-4, atol=1e-5)
    model, items = built.model.train(), torch.arange(built.model.n_items)
    first, present = model._contents(items)
    second, _ = model._contents(items)
    known = model.features.mask(items)
    assert not (present & ~known).any() and (known & ~present).any()
    assert torch.equal(present.any(dim=1), known.any(dim=1)), "nothing is left of an item"
    assert not torch.equal(first, second)
    every = torch.ones(len(items), dtype=torch.bool)
    model.projections["text"] = torch.nn.Identity()
    drawn = torch.stack([model._project("text", items, every) for _ in range(50)])
    torch.testing.assert_close(drawn.std(dim=0).mean(), torch.tensor(0.5), rtol=0.05, atol=0.0)
    model = make(tmp_path / "ids", modality_dropout=0.6)[0].model.train()
    kept = torch.stack([model._contents(items)[1][:, :-1][known] for _ in range(50)])
    assert kept.float().mean() == pytest.approx(0.4, abs=0.05)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"head": "cosine"}, "head: expected one of dot, mlp, got 'cosine' (config_dict)"),
        ({"loss": "bpr"}, "loss: expected one of bce, gbce, softmax, got 'bpr' (config_dict)"),
        (
            {"softmax_over": "batch"},
            "softmax_over: expected one of negatives, domain, got 'batch' (config_dict)",
        ),
        (
            {"use_id": False, "modalities": []},
            "MMT: use_id is False and there is no modality, so nothing is left to learn from",
        ),
    ],
)
def test_wrong_switches_are_one_line(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(WrongUse) as caught:
        make(tmp_path, **settings)
    assert str(caught.value) == words
