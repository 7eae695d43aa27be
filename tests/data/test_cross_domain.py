"""Several domains over one id space, on atomic files written here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_mm.config import Config
from recbole_mm.data import create_dataset, data_preparation
from recbole_mm.data.cross_domain import group_of_tags
from recbole_mm.errors import WrongUse
from recbole_mm.modality import ModalityStore
from recbole_mm.testing import Built, write_toy

BOOKS = [
    ("ann", "b1"),
    ("ann", "b2"),
    ("ann", "b3"),
    ("bob", "b1"),
    ("bob", "b2"),
    ("cy", "b3"),
    ("cy", "b1"),
]
FILMS = [
    ("ann", "f1"),
    ("ann", "f2"),
    ("dan", "f1"),
    ("dan", "f3"),
    ("dan", "b1"),
    ("bob", "f3"),
    ("bob", "f2"),
]


def write_set(root: Path, name: str, rows: list[tuple[str, str]]) -> None:
    (root / name).mkdir(parents=True, exist_ok=True)
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    lines += [f"{user}\t{item}\t{k}" for k, (user, item) in enumerate(rows)]
    (root / name / f"{name}.inter").write_text("\n".join(lines) + "\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_set(tmp_path, "books", BOOKS)
    write_set(tmp_path, "films", FILMS)
    return tmp_path


def build(root: Path, **settings: Any) -> Any:
    base = {
        "data_path": str(root),
        "modality_path": str(root / "modality"),
        "domains": ["books", "films"],
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "checkpoint_dir": str(root / "saved"),
        "min_coverage": 0.0,
    }
    return create_dataset(Config(settings.pop("model", "CMC"), "both", config_dict={**base, **settings}))


def pairs(dataset: Any) -> set[tuple[str, str, str]]:
    frame = dataset.inter_feat
    user, item = (dataset.id2token(f, np.asarray(frame[f])) for f in ("user_id", "item_id"))
    return set(zip(user, item, np.array(dataset.domain_names)[frame["domain"]], strict=True))


def test_equal_user_tokens_are_one_user(root: Path) -> None:
    dataset = build(root)
    assert dataset.domain_names == ["books", "films"]
    assert dataset.user_num == 1 + 4
    assert pairs(dataset) == {(u, i, "books") for u, i in BOOKS} | {(u, i, "films") for u, i in FILMS}


def test_an_item_of_two_domains_belongs_to_both(root: Path) -> None:
    dataset = build(root)
    shared = dataset.token2id("item_id", "b1")
    assert dataset.item_in_domain[shared].tolist() == [True, True]
    assert dataset.item_domain[shared] == 0
    assert dataset.item_domain[0] == -1


def test_equal_tokens_can_be_kept_apart(root: Path) -> None:
    dataset = build(root, item_overlap=False, user_overlap=False)
    assert dataset.item_num == 1 + 3 + 4 and dataset.user_num == 1 + 3 + 3
    assert int(dataset.item_in_domain.sum(dim=1).max()) == 1
    assert ("books:ann", "books:b1", "books") in pairs(dataset)


def test_a_link_file_says_who_is_who(root: Path) -> None:
    (root / "link.tsv").write_text("books\tfilms\ncy\tdan\n")
    dataset = build(root, user_link=str(root / "link.tsv"))
    assert dataset.user_num == 1 + 3
    assert ("cy", "f3", "films") in pairs(dataset)


def test_linked_tokens_meet_though_equal_ones_are_kept_apart(root: Path) -> None:
    (root / "link.tsv").write_text("books\tfilms\nb3\tf3\n")
    dataset = build(root, item_link=str(root / "link.tsv"), item_overlap=False)
    assert {"books:b1", "films:b1", "books:b3"} <= set(dataset.field2id_token["item_id"])
    assert dataset.item_num == 1 + 3 + 4 - 1
    assert dataset.item_in_domain[dataset.token2id("item_id", "books:b3")].tolist() == [True, True]


@pytest.mark.parametrize("overlap", [True, False])
def test_a_linked_item_has_the_vector_of_any_of_its_stores(root: Path, overlap: bool) -> None:
    (root / "link.tsv").write_text("books\tfilms\nb3\tf3\n")
    for name, tokens, offset in (("books", ["b2"], 10.0), ("films", ["f1", "f3"], 20.0)):
        values = (offset + np.arange(len(tokens), dtype=np.float32)).reshape(-1, 1).astype(np.float32)
        ModalityStore.write(root / "modality" / name / "text", values, tokens, modality="text", encoder="e")
    dataset = build(root, item_link=str(root / "link.tsv"), item_overlap=overlap)
    linked = dataset.token2id("item_id", "b3" if overlap else "books:b3")
    assert dataset.modality["text"].take(np.array([linked])).item() == 21


def test_an_interaction_without_a_domain_is_named(tmp_path: Path) -> None:
    settings = write_toy(tmp_path, domains=2)
    path = tmp_path / "toy" / "toy.inter"
    path.write_text(path.read_text().replace("\td1\t", "\t\t"))
    with pytest.raises(
        WrongUse, match=r"\d+ interactions have no domain, the first with item 'item\d+'; fill in 'domain'"
    ):
        Built("GCE", settings)


def test_the_order_of_domains_changes_nothing(root: Path) -> None:
    first, second = build(root), build(root, domains=["films", "books"])
    assert first.inter_feat.equals(second.inter_feat)
    assert (first.field2id_token["item_id"] == second.field2id_token["item_id"]).all()


def test_stores_of_each_domain_meet_on_their_items(root: Path) -> None:
    for name, tokens, offset in (("books", ["b3", "b1"], 10.0), ("films", ["f1", "b1", "f3"], 20.0)):
        values = (offset + np.arange(len(tokens) * 2)).reshape(-1, 2).astype(np.float32)
        ModalityStore.write(root / "modality" / name / "text", values, tokens, modality="text", encoder="e")
    dataset = build(root, item_overlap=False)
    text = dataset.modality["text"]
    ids = [dataset.token2id("item_id", t) for t in ("books:b1", "films:b1", "films:f3", "books:b2")]
    np.testing.assert_array_equal(text.take(np.array(ids))[:3], [[12, 13], [22, 23], [24, 25]])
    assert text.present[ids].tolist() == [True, True, True, False]


@pytest.mark.parametrize(("encoder", "width"), [("e", 3), ("other", 2)])
def test_stores_of_two_encoders_are_refused(root: Path, encoder: str, width: int) -> None:
    for name, made in (("books", ("e", 2)), ("films", (encoder, width))):
        ModalityStore.write(
            root / "modality" / name / "text",
            np.zeros((1, made[1]), np.float32),
            ["b1"],
            modality="text",
            encoder=made[0],
        )
    said = rf"modality 'text': .*films.* {encoder} \({width}-d\), .*books.* e \(2-d\)"
    with pytest.raises(WrongUse, match=said):
        build(root)


@pytest.mark.parametrize("films", ["class:token_seq\nf1\ta", "kind:token\nf1\ta"], ids=["shorter", "none"])
def test_lists_of_tags_are_whole_whichever_set_has_the_longest(root: Path, films: str) -> None:
    (root / "books" / "books.item").write_text("item_id:token\tclass:token_seq\nb1\ta b c\nb2\tb\n")
    (root / "films" / "films.item").write_text(f"item_id:token\t{films}\n")
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "class"]}
    dataset = build(root, load_col=columns)
    dataset.build()
    names = dataset.field2id_token["class"]
    for item, tags in (("b1", "a b c"), ("b2", "b"), ("f1", "a" if "class" in films else "")):
        row = dataset.item_feat["class"][dataset.token2id("item_id", item)]
        assert names[row[row > 0].numpy()].tolist() == tags.split()


def test_files_of_parts_are_the_parts_of_all_domains(root: Path) -> None:
    lines = {}
    for name in ("books", "films"):
        head, *rows = (root / name / f"{name}.inter").read_text().splitlines()
        for part, own in (("train", rows[:4]), ("valid", rows[4:5]), ("test", rows[5:])):
            (root / name / f"{name}.{part}.inter").write_text("\n".join([head, *own]) + "\n")
            lines.setdefault(part, set()).update((*row.split("\t")[:2], name) for row in own)
    parts = build(root, benchmark_filename=["train", "valid", "test"]).build()
    assert {name: pairs(part) for name, part in zip(lines, parts, strict=True)} == lines


def test_an_empty_domain_is_named(root: Path) -> None:
    with pytest.raises(WrongUse, match="domain 'films' has no interaction left"):
        build(root, item_inter_num_interval="[3,inf)", item_overlap=False)


def test_a_domain_twice_or_alone_is_refused(root: Path) -> None:
    for domains in (["books"], ["books", "books"]):
        with pytest.raises(WrongUse, match="two or more different data sets"):
            build(root, domains=domains)


def test_domains_without_a_link_work_and_say_so(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING"):
        dataset = build(root, item_overlap=False, user_overlap=False)
    assert "nothing links them" in caplog.text
    assert dataset.inter_num == len(BOOKS) + len(FILMS)


def test_recboles_models_take_the_merged_set(root: Path) -> None:
    config_of = build(root, model="BPR", split={"random": [0.5, 0.25, 0.25], "by": ["user", "domain"]})
    train, valid, test = data_preparation(config_of.config, config_of)
    assert sum(len(part._dataset) for part in (train, valid, test)) == len(BOOKS) + len(FILMS)


GROUPS = {"A": ["Action", "Crime"], "B": ["Drama", "Comedy"]}


@pytest.mark.parametrize(
    ("tags", "group"),
    [("Action Crime Drama", "A"), ("Drama Action", "B"), ("Action Drama", "A"), ("unknown", "B"), ("", "B")],
)
def test_genre_rule(tags: str, group: str) -> None:
    assert group_of_tags(tags.split(), GROUPS) == group


def test_genre_rule_on_the_embedded_films() -> None:
    settings = {"domain_rule": "genre", "modalities": []}
    dataset = create_dataset(Config("CMC", "ml-100k", config_dict=settings))
    assert dataset.domain_names == ["A", "B"]
    # Toy Story: Animation Children's Comedy; GoldenEye: Action Adventure Thriller
    assert dataset.item_domain[dataset.token2id("item_id", ["1", "2"])].tolist() == [1, 0]
    assert torch.equal(
        dataset.item_in_domain[1:].sum(dim=1), torch.ones(dataset.item_num - 1, dtype=torch.long)
    )


@pytest.mark.parametrize("model", ["CMC", "GCE"])
def test_four_domains_train(tmp_path: Path, model: str) -> None:
    built = Built(model, write_toy(tmp_path, domains=4)).fit()
    assert built.train_data._dataset.domain_names == ["d0", "d1", "d2", "d3"]
    assert torch.isfinite(built.scores()).all()


SHARED = [(f"u{k % 5}", f"{'ab'[k % 3 == 0]}{k % 7}") for k in range(60)]


@pytest.mark.parametrize("split", [{"LS": "valid_and_test"}, {"LS": "valid_only"}, {"RS": [0.6, 0.2, 0.2]}])
@pytest.mark.parametrize("model", ["BPR", "CMC"])
def test_recboles_splits_go_by_user_and_domain(tmp_path: Path, model: str, split: dict[str, Any]) -> None:
    """As RecBole would split each domain on its own."""
    rows = {"books": BOOKS * 3 + SHARED, "films": SHARED[::2] + FILMS * 4}
    for name, each in rows.items():
        write_set(tmp_path, name, each)
    args = {"split": split, "order": "TO", "mode": "full", "group_by": "user"}
    parts = build(tmp_path, model=model, eval_args=args).build()
    for name in rows:
        own = Config("BPR", name, config_dict={"data_path": str(tmp_path), "eval_args": args,
                     "load_col": {"inter": ["user_id", "item_id", "timestamp"]}})  # fmt: skip
        for part, alone in zip(parts, create_dataset(own).build(), strict=True):
            of_domain = part.inter_feat["domain"].numpy() == part.domain_names.index(name)
            got = part.inter_feat[np.flatnonzero(of_domain)]
            assert sorted(rows_of(part, got)) == sorted(rows_of(alone, alone.inter_feat))


def test_sequences_cut_from_parts_are_split_as_the_rows_of_other_models(root: Path) -> None:
    args = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": "user"}
    asked = []
    for model, more in (("BPR", {}), ("SASRec", {"sequence_split": "interactions"})):
        part = build(root, model=model, eval_args=args, **more).build()[2]
        users, items = part.pairs["test"]
        asked.append(
            sorted(zip(part.id2token("user_id", users), part.id2token("item_id", items), strict=True))
        )
    assert asked[0] == asked[1] and ("ann", "b3") in asked[0] and ("ann", "f2") in asked[0]


def rows_of(dataset: Any, feat: Any) -> list[tuple[Any, ...]]:
    named = [dataset.id2token(f, feat[f].numpy()) for f in ("user_id", "item_id")]
    return list(zip(*named, feat["timestamp"].tolist(), strict=True))


def test_a_random_split_goes_by_user_and_domain_unless_told_otherwise(root: Path) -> None:
    shares = [0.5, 0.25, 0.25]
    parts = {}
    for by in (None, ["user", "domain"], ["user"]):
        split = {"random": shares, **({"by": by} if by else {})}
        parts[str(by)] = [part.inter_feat["timestamp"].tolist() for part in build(root, split=split).build()]
    assert parts["None"] == parts["['user', 'domain']"] != parts["['user']"]


def test_no_test_row_decides_the_domain_of_an_item(root: Path) -> None:
    """b1 stands in both domains; where only films has training rows of it, it is an item of films."""
    lines = (root / "books" / "books.inter").read_text().splitlines()
    (root / "books" / "books.inter").write_text(
        "\n".join(
            [f"{lines[0]}\tpart:token", *(f"{x}\t{'test' if 'b1' in x else 'train'}" for x in lines[1:])]
        )
        + "\n"
    )
    lines = (root / "films" / "films.inter").read_text().splitlines()
    (root / "films" / "films.inter").write_text(
        "\n".join(
            [f"{lines[0]}\tpart:token", *(f"{x}\t{'valid' if 'f3' in x else 'train'}" for x in lines[1:])]
        )
        + "\n"
    )
    load = {"inter": ["user_id", "item_id", "timestamp", "part"]}
    dataset = build(root, split={"field": "part"}, load_col=load)
    shared, only_valid = (dataset.token2id("item_id", item) for item in ("b1", "f3"))
    parts = dataset.build()
    for each in (dataset, *parts):
        assert (
            each.item_domain[shared] == 1 and each.item_domain[only_valid] == 1 and each.item_domain[0] == -1
        )
        assert each.item_in_domain[shared].tolist() == [True, True]


def test_a_row_that_a_filter_removes_needs_no_domain(tmp_path: Path) -> None:
    write_set(tmp_path, "shop", [("ann", "i1"), ("ann", "i2"), ("bob", "i1"), ("bob", "lost"), ("cy", "")])
    (tmp_path / "shop" / "shop.item").write_text("item_id:token\tkind:token\ni1\ta\ni2\tb\n")
    settings = {
        "data_path": str(tmp_path), "domain_field": "kind",
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    }  # fmt: skip
    early = {**settings, "val_interval": {"timestamp": "[0,2]"}}
    dataset = create_dataset(Config("BPR", "shop", config_dict=early))
    assert len(dataset.inter_feat) == 3 and dataset.domain_names == ["a", "b"]
    said = "^1 interactions have no domain, the first with item 'lost'; fill in 'kind' or leave them out$"
    with pytest.raises(WrongUse, match=said):
        create_dataset(Config("BPR", "shop", config_dict=settings))


def test_negatives_come_from_the_domain_of_the_positive(tmp_path: Path) -> None:
    built = Built("CMC", write_toy(tmp_path, domains=3))
    batch, domain = built.batch(), built.train_data._dataset.item_domain
    assert (domain[batch["neg_item_id"]] == domain[batch["item_id"]].unsqueeze(1)).all()


@pytest.mark.parametrize("model", ["BPR", "NeuMF"])
@pytest.mark.parametrize("distribution", ["uniform", "popularity"])
def test_negatives_of_recboles_models_are_of_the_positives_domain(
    root: Path, model: str, distribution: str
) -> None:
    for name in ("books", "films"):  # enough items that a user has not seen
        more = [(f"u{k}", f"{name[0]}{k}") for k in range(4, 12)]
        write_set(root, name, (BOOKS if name == "books" else FILMS) + more)
    dataset = build(
        root,
        model=model,
        train_neg_sample_args={"distribution": distribution, "sample_num": 3},
        item_overlap=False,
        split={"random": [0.6, 0.2, 0.2], "by": ["user", "domain"]},
    )
    train, _, _ = data_preparation(dataset.config, dataset)
    part = train._dataset
    seen = set(zip(*(part.inter_feat[f].tolist() for f in ("user_id", "item_id")), strict=True))
    for batch in train:
        users, items = batch["user_id"].tolist(), batch["item_id"].tolist()
        if model == "BPR":
            triples = list(zip(users, items, batch["neg_item_id"].tolist(), strict=True))
        else:  # the positives, then N blocks of negatives in their order
            n = int(batch["label"].sum())
            triples = [(users[k], items[k % n], items[k]) for k in range(n, len(items))]
            assert users[:n] * 3 == users[n:] and len(triples) == 3 * n
        for user, positive, negative in triples:
            assert (user, negative) not in seen
            assert dataset.item_domain[negative] == dataset.item_domain[positive]
