"""The right vector sits on the right item after all that RecBole does, and the controls do what they say."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from recbole_mm.config import Config
from recbole_mm.data import create_dataset
from recbole_mm.data.modality import ItemModality, Stacked
from recbole_mm.data.scaling import fit_scaling
from recbole_mm.errors import WrongUse
from recbole_mm.modality import ModalityStore
from recbole_mm.testing import write_toy

WIDTHS = {"text": 3, "image": 5, "audio": 1}
TOKENS = st.text("019ab.-é:_", min_size=1, max_size=6)


@st.composite
def catalogues(draw: st.DrawFn) -> dict[str, Any]:
    items = draw(st.lists(TOKENS, min_size=4, max_size=14, unique=True))
    users = draw(st.lists(TOKENS, min_size=2, max_size=6, unique=True))
    rows = draw(
        st.lists(
            st.tuples(st.sampled_from(users), st.sampled_from(items)), min_size=8, max_size=40, unique=True
        )
    )
    names = draw(st.lists(st.sampled_from(list(WIDTHS)), min_size=1, max_size=3, unique=True))
    strangers = ["zz1", "zz2"]  # vectors of items the data set does not know
    return {
        "rows": rows,
        # permuted, so no order agrees by luck
        "listed": draw(st.one_of(st.none(), st.permutations(items))),
        "stores": {
            n: draw(st.permutations(items + strangers))[: draw(st.integers(1, len(items)))] for n in names
        },
        "filters": {
            f"{who}_inter_num_interval": f"[{draw(st.integers(1, 3))},inf)" for who in ("user", "item")
        },
    }


def vector(modality: str, token: str) -> np.ndarray:
    """A vector no other token and no other modality has."""
    seed = [*modality.encode(), 0, *token.encode()]
    return np.random.default_rng(seed).standard_normal(WIDTHS[modality]).astype(np.float32)


def write(root: Path, case: Mapping[str, Any]) -> None:
    (root / "set").mkdir()
    lines = ["user_id:token\titem_id:token"] + ["\t".join(row) for row in case["rows"]]
    (root / "set" / "set.inter").write_text("\n".join(lines) + "\n", "utf-8")
    if case["listed"] is not None:
        lines = ["item_id:token\tshelf:token"] + [f"{item}\ts" for item in case["listed"]]
        (root / "set" / "set.item").write_text("\n".join(lines) + "\n", "utf-8")
    for name, tokens in case["stores"].items():
        values = np.stack([vector(name, t) for t in tokens])
        ModalityStore.write(root / "modality" / "set" / name, values, tokens, modality=name, encoder="e")


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(case=catalogues())
def test_the_right_vector_sits_on_the_right_item(
    tmp_path_factory: pytest.TempPathFactory, case: dict[str, Any]
) -> None:
    root = tmp_path_factory.mktemp("catalogue")
    write(root, case)
    columns = {"inter": ["user_id", "item_id"]}
    if case["listed"] is not None:
        columns["item"] = ["item_id", "shelf"]
    config = {
        "data_path": str(root),
        "modality_path": str(root / "modality"),
        "modalities": list(case["stores"]),
        "load_col": columns,
        "min_coverage": 0.0,
        "checkpoint_dir": str(root / "saved"),
        **case["filters"],
    }
    try:
        dataset = create_dataset(Config("CMC", "set", config_dict=config))
    except ValueError as error:
        assert "is left by the filters" in str(error)
        assume(False)
    assert list(dataset.modality) == list(case["stores"])
    every = np.arange(dataset.item_num)
    for k, (name, tokens) in enumerate(case["stores"].items()):
        values, present = dataset.modality[name].take(every), dataset.modality.present[:, k]
        assert not present[0]
        for i in every[1:]:
            token = str(dataset.id2token("item_id", i))
            assert bool(present[i]) == (token in tokens)
            if present[i]:
                np.testing.assert_array_equal(values[i], vector(name, token))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_stacked_is_concatenated(data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 3))
    lengths = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    parts = [
        np.random.default_rng(k).standard_normal((n, width)).astype(np.float16 if k % 2 else np.float32)
        for k, n in enumerate(lengths)
    ]
    rows = np.array(data.draw(st.lists(st.integers(0, sum(lengths) - 1), max_size=12)), dtype=np.int64)
    stacked, whole = Stacked(parts), np.concatenate([p.astype(np.float32) for p in parts])
    assert stacked.shape == whole.shape
    np.testing.assert_array_equal(stacked[rows], whole[rows])


def toy(folder: Path, **more: Any) -> Any:
    return create_dataset(Config("CMC", "toy", config_dict={**write_toy(folder), **more}))


def vectors(dataset: Any, name: str) -> dict[str, tuple[float, ...]]:
    """Token -> vector, of the items that have one."""
    modality = dataset.modality[name]
    held = np.flatnonzero(modality.present)
    tokens = dataset.id2token("item_id", held)
    return dict(zip(tokens.tolist(), map(tuple, modality.take(held).tolist()), strict=True))


def test_shuffled_deals_the_same_vectors_to_the_same_items_anew(tmp_path: Path) -> None:
    plain, other = toy(tmp_path / "a"), toy(tmp_path / "b", feature_control="shuffled")
    for name in ("text", "image"):
        before, after = vectors(plain, name), vectors(other, name)
        assert before.keys() == after.keys()
        assert sorted(before.values()) == sorted(after.values())
        moved = sum(before[t] != after[t] for t in before)
        assert moved > len(before) / 2
    assert (plain.modality.present == other.modality.present).all()


def test_noise_has_the_same_mean_and_deviation_and_no_real_vector(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    source = (rng.standard_normal((4000, 3)) * [1, 5, 0.1] + [0, 7, -2]).astype(np.float32)
    rows = np.array([-1, *rng.permutation(4000)])
    rows[rng.permutation(np.arange(1, 4001))[:500]] = -1
    plain, noise = ItemModality(source, rows), ItemModality(source, rows, noise=np.random.default_rng(1))
    np.testing.assert_array_equal(plain.present, noise.present)
    held = np.flatnonzero(plain.present)
    real, drawn = plain.take(held), noise.take(held)
    np.testing.assert_allclose(drawn.std(axis=0), real.std(axis=0), rtol=0.05)
    assert (np.abs(drawn.mean(axis=0) - real.mean(axis=0)) < 0.1 * real.std(axis=0)).all()
    correlation = [np.corrcoef(real[:, k], drawn[:, k])[0, 1] for k in range(3)]
    assert np.abs(correlation).max() < 0.1
    assert not noise.take(np.flatnonzero(~noise.present)).any()
    a, b = toy(tmp_path / "a"), toy(tmp_path / "b", feature_control="noise")
    assert not set(vectors(a, "text").values()) & set(vectors(b, "text").values())


def test_noise_of_two_modalities_is_not_the_same(tmp_path: Path) -> None:
    settings = write_toy(tmp_path, missing=0.0)
    folder = tmp_path / "modality" / "toy"
    shutil.copytree(folder / "text", folder / "more")
    dataset = create_dataset(Config("CMC", "toy", config_dict={
        **settings, "modalities": ["text", "more"], "feature_control": "noise", "feature_scaling": "standardize",
    }))  # fmt: skip
    text, more = (dataset.modality[name].take(np.arange(1, 31)).ravel() for name in ("text", "more"))
    assert abs(np.corrcoef(text, more)[0, 1]) < 0.3


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_missing_hides_a_share_and_leaves_the_rest(tmp_path: Path, share: float) -> None:
    plain, other = toy(tmp_path / "a"), toy(tmp_path / "b", feature_missing=share)
    for name in ("text", "image"):
        before, after = vectors(plain, name), vectors(other, name)
        assert len(after) == len(before) - round(share * len(before))
        assert after == {t: before[t] for t in after}


def test_missing_is_drawn_apart_for_each_modality(tmp_path: Path) -> None:
    present = toy(tmp_path, feature_missing=0.5).modality.present
    assert (present[1:, 0] != present[1:, 1]).any()


@pytest.mark.parametrize("control", ["shuffled", "noise"])
def test_controls_depend_on_the_split_seed_alone(tmp_path: Path, control: str) -> None:
    seeds = [{"seed": 1}, {"seed": 2}, {"split_seed": 7}]
    found = [
        vectors(toy(tmp_path / str(k), feature_control=control, **s), "text") for k, s in enumerate(seeds)
    ]
    assert found[0] == found[1] and found[0] != found[2]


def test_whitening_shrinks_as_the_settings_say(tmp_path: Path) -> None:
    for modality in toy(tmp_path, feature_scaling="whiten", whitening_shrinkage=0.5).modality.values():
        held = np.flatnonzero(modality.present)
        raw = np.asarray(modality.source[modality.rows[held]])
        expected = fit_scaling("whiten", lambda rows, raw=raw: raw[rows], np.arange(len(held)), 0.5)
        np.testing.assert_allclose(modality.take(held), expected(raw), rtol=1e-4, atol=1e-5)


def test_an_unknown_control_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match=r"feature_control: expected one of .*, got 'shufled'"):
        toy(tmp_path, feature_control="shufled")


@pytest.mark.parametrize(("modalities", "warned"), [(None, True), ([], False)])
def test_no_store_at_all_is_a_run_on_ids_only_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, modalities: Any, warned: bool
) -> None:
    settings = write_toy(tmp_path, ()) | {"modalities": modalities}
    (tmp_path / "modality").mkdir()
    dataset = create_dataset(Config("CMC", "toy", None, settings))
    said = [each.getMessage() for each in caplog.records if "ids only" in each.getMessage()]
    where = tmp_path / "modality" / "toy"
    line = f"CMC: no vectors of the items in {where}, so this is a run on ids only; recbole-mm extract makes them"
    assert dataset.modality.names == [] and said == [line] * warned
