"""CMC against naive loops over its formulas, and each switch does what it says."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from naive_cmc import NaiveCMC, cosine

from recbole_mm.errors import WrongUse
from recbole_mm.testing import Built, write_toy

ROWS = 12


def make(folder: Path, domains: int = 2, **settings: Any) -> tuple[Built, NaiveCMC]:
    base = {"embedding_size": 8, "train_neg_sample_args": {"distribution": "uniform", "sample_num": 5}}
    built = Built("CMC", {**write_toy(folder, domains=domains), **base, **settings})
    built.model.eval()
    return built, NaiveCMC(built, folder)


def terms(built: Built, batch: Any) -> dict[str, float]:
    losses = built.model.calculate_loss(batch)
    return {n: x.item() for n, x in zip(losses.names, losses, strict=True)}


def triples(naive: NaiveCMC, batch: Any) -> list[tuple[float, list[float]]]:
    """Score of the positive and of the negatives, row by row."""
    rows = []
    for u, i, negatives in zip(batch["user_id"], batch["item_id"], batch["neg_item_id"], strict=True):
        user = naive.user_token(u)
        rows.append(
            (
                naive.score(user, naive.item_token(i)).item(),
                [naive.score(user, naive.item_token(n)).item() for n in negatives],
            )
        )
    return rows


@torch.no_grad()
@pytest.mark.parametrize("domains", [1, 2, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"lambda": 0.3},
        {"fusion": "none"},
        {"fusion": "concat"},
        {"fusion": "concat", "use_id": False},
        {"fusion": "gate"},
        {"fusion": "weight"},
        {"modalities": ["text"]},
        {"use_id": False},
        {"cross_domain_fusion": False},
        {"user_id": "shared"},
        {"user_id": "both", "lambda": 0.3},
        {"user_id": "both", "fusion": "none"},
    ],
    ids=str,
)
def test_scores_are_the_formula(tmp_path: Path, domains: int, settings: dict[str, Any]) -> None:
    built, naive = make(tmp_path, domains, **settings)
    if settings.get("fusion") == "weight":
        built.model.fusion.scale.copy_(torch.tensor([0.4, 1.7]))  # all ones is the sum
    torch.testing.assert_close(built.scores(), naive.scores(), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_toy_has_the_cases_that_matter(tmp_path: Path) -> None:
    _, naive = make(tmp_path, 3)
    counts = {len(naive.present(u)) for u in naive.users}
    assert {1, 3} <= counts or {1, 2} <= counts
    assert any(i not in naive.vectors["text"] and i in naive.vectors["image"] for i in naive.items)
    assert any(not naive.user_features(u, d, "text") for u in naive.users for d in naive.present(u))


@torch.no_grad()
@pytest.mark.parametrize("domains", [1, 3])
@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_contrast_is_info_nce_over_cosines(tmp_path: Path, domains: int, temperature: float) -> None:
    built, naive = make(tmp_path, domains, temperature=temperature, alpha=2.0)
    batch, expected = built.batch(ROWS), 0.0
    for positive, negatives in triples(naive, batch):
        top = math.exp(positive / temperature)
        expected -= math.log(top / (top + sum(math.exp(n / temperature) for n in negatives))) / ROWS
    assert terms(built, batch)["contrastive"] == pytest.approx(2.0 * expected, rel=1e-4)


POPULAR = {"train_neg_sample_args": {"distribution": "popularity", "alpha": 0.5, "sample_num": 5}}


def contrast(positive: float, others: list[float], temperature: float) -> float:
    return -math.log(
        math.exp(positive / temperature) / sum(math.exp(s / temperature) for s in [positive, *others])
    )


@torch.no_grad()
@pytest.mark.parametrize("domains", [1, 3])
def test_contrast_with_the_domain_is_over_all_that_the_user_did_not_take(
    tmp_path: Path, domains: int
) -> None:
    built, naive = make(tmp_path, domains, softmax_over="domain", softmax_memory_mib=1e-3)
    batch, losses = built.batch(ROWS), []
    for u, i in zip(batch["user_id"], batch["item_id"], strict=True):
        user, item = naive.user_token(u), naive.item_token(i)
        domain = naive.domain_of[item]
        others = [
            naive.score(user, j).item()
            for j in naive.items
            if naive.domain_of[j] == domain and j not in naive.taken[user]
        ]
        losses.append(contrast(naive.score(user, item).item(), others, built.config["temperature"]))
    assert terms(built, batch)["contrastive"] == pytest.approx(sum(losses) / ROWS, rel=1e-4)


@torch.no_grad()
def test_logq_takes_back_how_often_each_is_drawn(tmp_path: Path) -> None:
    built, naive = make(tmp_path, logq=True, **POPULAR)
    assert built.model.without_effect() == []
    taken = [i for items in naive.taken.values() for i in items]
    tau, batch, losses = built.config["temperature"], built.batch(ROWS), []

    def correction(item: int) -> float:
        return tau * math.log(taken.count(naive.item_token(item)) ** 0.5)

    ids = zip(batch["item_id"].tolist(), batch["neg_item_id"].tolist(), strict=True)
    for (positive, negatives), (item, others) in zip(triples(naive, batch), ids, strict=True):
        corrected = [score - correction(j) for score, j in zip(negatives, others, strict=True)]
        losses.append(contrast(positive - correction(item), corrected, tau))
    assert terms(built, batch)["contrastive"] == pytest.approx(sum(losses) / ROWS, rel=1e-4)


@pytest.mark.parametrize(
    "settings", [{}, {**POPULAR, "contrastive": False}, {**POPULAR, "softmax_over": "domain"}]
)
def test_logq_without_such_draws_is_said(tmp_path: Path, settings: dict[str, Any]) -> None:
    said = "CMC: logq has no effect: it corrects a softmax over negatives drawn by popularity"
    assert make(tmp_path, logq=True, **settings)[0].model.without_effect() == [said]


@torch.no_grad()
def test_without_contrast_bpr_on_the_same_triples(tmp_path: Path) -> None:
    built, naive = make(tmp_path, contrastive=False)
    batch, losses = built.batch(ROWS), []
    for positive, negatives in triples(naive, batch):
        losses += [math.log1p(math.exp((n - positive) / built.config["temperature"])) for n in negatives]
    found = terms(built, batch)
    assert list(found) == ["bpr", "domain"]
    assert found["bpr"] == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def naive_domain_loss(naive: NaiveCMC, users: list[str], kind: str, temperature: float) -> float:
    total, count = 0.0, 0
    for k, a in enumerate(naive.domains):
        for b in naive.domains[:k]:
            both = [u for u in users if {a, b} <= set(naive.present(u))]
            left, right = [naive.own(u, a) for u in both], [naive.own(u, b) for u in both]
            count += len(both)
            for n, (x, y) in enumerate(zip(left, right, strict=True)):
                if kind == "mse":
                    total += (x - y).square().sum().item()
                elif kind == "mse_norm":
                    total += (x / x.norm() - y / y.norm()).square().sum().item()
                else:
                    for one, others in ((x, right), (y, left)):
                        cosines = [math.exp(cosine(one, o).item() / temperature) for o in others]
                        total -= math.log(cosines[n] / sum(cosines)) / 2
    return total / count


@torch.no_grad()
@pytest.mark.parametrize("domains", [2, 3])
@pytest.mark.parametrize("kind", ["mse", "mse_norm", "infonce"])
def test_domain_loss_is_a_mean_over_the_distinct_users_of_the_batch(
    tmp_path: Path, domains: int, kind: str
) -> None:
    built, naive = make(tmp_path, domains, domain_loss=kind, beta=0.7)
    batch = built.batch()
    users = [naive.user_token(u) for u in batch["user_id"].unique()]
    assert len(users) < len(batch["user_id"])
    expected = 0.7 * naive_domain_loss(naive, users, kind, built.config["temperature"])
    assert terms(built, batch)["domain"] == pytest.approx(expected, rel=1e-4)


def test_domain_loss_of_users_of_one_domain_is_zero(tmp_path: Path) -> None:
    built, naive = make(tmp_path)
    batch = built.batch()
    alone = torch.tensor([len(naive.present(naive.user_token(u))) == 1 for u in batch["user_id"]])
    losses = built.model.calculate_loss(batch[alone])
    assert losses[losses.names.index("domain")].item() == 0.0
    sum(losses).backward()
    assert all(torch.isfinite(p.grad).all() for p in built.model.parameters() if p.grad is not None)


def test_no_cross_domain_has_no_domain_term(tmp_path: Path) -> None:
    built, _ = make(tmp_path, cross_domain_fusion=False, beta=0.0)
    assert built.model.calculate_loss(built.batch(ROWS)).names == ("contrastive",)
    assert built.model.diagnostics() == {}


@torch.no_grad()
def test_modal_alignment_is_symmetric_info_nce_of_the_items_with_both(tmp_path: Path) -> None:
    built, naive = make(tmp_path, modal_align_weight=0.3)
    batch, temperature = built.batch(), built.config["temperature"]
    items = [naive.item_token(i) for i in batch["item_id"].unique()]
    both = [i for i in items if all(i in known for known in naive.vectors.values())]
    assert 0 < len(both) < len(items)
    text, image = ([built.model.encoders[m](naive.vectors[m][i]) for i in both] for m in ("text", "image"))
    total = 0.0
    for n, (x, y) in enumerate(zip(text, image, strict=True)):
        for one, others in ((x, image), (y, text)):
            cosines = [math.exp(cosine(one, o).item() / temperature) for o in others]
            total -= math.log(cosines[n] / sum(cosines)) / (2 * len(both))
    assert terms(built, batch)["modal_align"] == pytest.approx(0.3 * total, rel=1e-4)
    assert list(terms(built, batch)) == ["contrastive", "domain", "modal_align"]


def test_modal_alignment_needs_two_modalities(tmp_path: Path) -> None:
    built, _ = make(tmp_path, modal_align_weight=0.3, modalities=["text"])
    assert list(terms(built, built.batch())) == ["contrastive", "domain"]


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({}, "encoders item_id user_id"),
        ({"fusion": "none"}, "item_id user_id"),
        ({"fusion": "gate"}, "encoders fusion item_id user_id"),
        ({"fusion": "weight"}, "encoders fusion item_id user_id"),
        ({"use_id": False}, "encoders"),
        ({"modalities": []}, "item_id user_id"),
        ({"user_id": "shared"}, "encoders item_id shared_user_id"),
        ({"user_id": "both"}, "encoders item_id user_id shared_user_id"),
        ({"user_id": "both", "use_id": False}, "encoders"),
    ],
    ids=str,
)
def test_a_switched_off_part_has_no_parameters(tmp_path: Path, settings: dict[str, Any], parts: str) -> None:
    built, _ = make(tmp_path, **settings)
    assert {name.split(".")[0] for name, _ in built.model.named_parameters()} == set(parts.split())


def test_text_alone_has_one_encoder(tmp_path: Path) -> None:
    built, _ = make(tmp_path, modalities=["text"])
    assert list(built.model.encoders) == ["text"]


@torch.no_grad()
def test_users_and_items_share_the_encoders(tmp_path: Path) -> None:
    built, naive = make(tmp_path, 1, use_id=False, modalities=["text"])
    user = next(u for u in naive.users if naive.user_features(u, "-", "text"))
    before = naive.own(user, "-"), built.scores()
    for p in built.model.encoders.parameters():
        p.mul_(1.5).add_(0.1)
    built.model.forget_cached()
    assert not torch.allclose(naive.own(user, "-"), before[0])
    torch.testing.assert_close(built.scores(), naive.scores(), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(built.scores(), before[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fusion": "summ"}, r"fusion: expected one of .*gate.*, got 'summ'"),
        ({"domain_loss": "mae"}, r"domain_loss: expected one of .*mse_norm.*, got 'mae'"),
        ({"user_id": "all"}, r"user_id: expected one of .*both.*, got 'all'"),
        ({"user_text": "titles"}, r"user_text: expected one of items, reviews, got 'titles'"),
        ({"use_id": False, "fusion": "none"}, r"use_id is False and there is no modality"),
        ({"use_id": False, "modalities": []}, r"use_id is False and there is no modality"),
        ({"modalities": ["txet"]}, r"'txet' not found in .*did you mean 'text'"),
    ],
    ids=str,
)
def test_wrong_values_are_one_line(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(WrongUse, match=message) as error:
        make(tmp_path, **settings)
    assert "\n" not in str(error.value)


@torch.no_grad()
@pytest.mark.parametrize("domains", [2, 3])
def test_diagnostics_are_cosine_and_norm_of_the_overlapping_users(tmp_path: Path, domains: int) -> None:
    built, naive = make(tmp_path, domains)
    cosines, norms = [], []
    for u in naive.users:
        present = naive.present(u)
        if len(present) < 2:
            continue
        norms += [naive.own(u, d).norm().item() for d in present]
        cosines += [
            cosine(naive.own(u, a), naive.own(u, b)).item()
            for k, a in enumerate(present)
            for b in present[:k]
        ]
    found = built.model.diagnostics()
    assert found["domain_cosine"] == pytest.approx(sum(cosines) / len(cosines), rel=1e-4)
    assert found["domain_norm"] == pytest.approx(sum(norms) / len(norms), rel=1e-4)


def test_diagnostics_of_one_domain_are_none(tmp_path: Path) -> None:
    assert make(tmp_path, 1)[0].model.diagnostics() == {}


def test_encoders_and_fusion_can_have_their_own_learning_rate(tmp_path: Path) -> None:
    built, _ = make(tmp_path, fusion="gate", feature_learning_rate=0.5)
    groups = {g["lr"]: {id(p) for p in g["params"]} for g in built.model.parameter_groups(0.01)}
    own = {id(p) for part in (built.model.encoders, built.model.fusion) for p in part.parameters()}
    assert groups[0.5] == own
    assert groups[0.01] == {id(p) for p in built.model.parameters()} - own


def test_features_left_on_disk_give_the_same_losses(tmp_path: Path) -> None:
    (near, _), (far, _) = make(tmp_path / "a"), make(tmp_path / "b", feature_memory_mib=0)
    assert near.model.features.resident and not far.model.features.resident
    assert terms(near, near.batch()) == terms(far, far.batch())


NO_FUSION = {"cross_domain_fusion": False, "beta": 0.0}


def trained_scores(folder: Path, **settings: Any) -> torch.Tensor:
    """Without features, after one epoch."""
    built, _ = make(folder, modalities=[], learning_rate=0.05, **settings)
    return built.fit().scores()


def test_without_features_the_user_ids_decide_whether_fusion_acts(tmp_path: Path) -> None:
    """Shared ids: the same but for rounding, as said; a vector for each domain: another model."""
    same = {
        kind: torch.allclose(
            trained_scores(tmp_path / f"{kind}-on", user_id=kind),
            trained_scores(tmp_path / f"{kind}-off", user_id=kind, **NO_FUSION),
            atol=1e-4,
        )
        for kind in ("shared", "per_domain", "both")
    }
    assert same == {"shared": True, "per_domain": False, "both": False}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"user_id": "shared"}, ["cross_domain_fusion and beta have no effect"]),
        ({"user_id": "shared", "fusion": "none", "beta": 0.0}, ["cross_domain_fusion has no effect"]),
        ({"user_id": "shared", **NO_FUSION}, []),
        ({"user_id": "both"}, []),
        ({"user_id": "per_domain"}, []),
        ({"user_id": "shared", "modalities": ["text"]}, []),
    ],
    ids=str,
)
def test_says_what_has_nothing_to_act_on(tmp_path: Path, settings: dict[str, Any], said: list[str]) -> None:
    model = make(tmp_path, **{"modalities": [], **settings})[0].model
    lines = model.without_effect()
    assert len(lines) == len(said) and all(words in line for words, line in zip(said, lines, strict=True))


def test_says_that_no_user_is_in_two_domains(tmp_path: Path) -> None:
    model = make(tmp_path)[0].model
    assert model.without_effect() == []
    model.seen[model.seen.all(dim=1), 0] = False
    (line,) = model.without_effect()
    assert line == "CMC: no user has training rows in several domains, so beta (L_domain) has no effect"


def test_one_domain_has_one_vector_of_a_user(tmp_path: Path) -> None:
    built, _ = make(tmp_path, 1, modalities=[], user_id="both")
    assert {name for name, _ in built.model.named_parameters()} == {"item_id.weight", "user_id.weight"}
    assert built.model.without_effect() == []


def test_what_has_no_effect_is_logged_once_and_stands_in_the_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="recbole_mm.run"):
        built, _ = make(tmp_path, modalities=[], user_id="shared", nproc=2, epochs=0)
        remarks = built.session.run(saved=False).record["remarks"]
    assert remarks[-1:] == built.model.without_effect()
    assert remarks[0].startswith("nproc: 2 has no effect")
    said = [record.getMessage() for record in caplog.records]
    assert all(said.count(line) == 1 for line in remarks)
