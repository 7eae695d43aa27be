from __future__ import annotations

from dataclasses import replace

import pytest

from recbole_mm.config.properties import load_user
from recbole_mm.errors import WrongUse
from recbole_mm.files import properties_dir
from recbole_mm.quick_start.controls import CONTROLS, control_rows
from recbole_mm.quick_start.plan import Request, plan_runs
from recbole_mm.quick_start.preset import load_preset, preset_names, rows_of
from recbole_mm.quick_start.search.rows import _space
from recbole_mm.run.comparison import Row
from recbole_mm.run.metric import check_columns
from recbole_mm.testing import write_toy


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", preset_names())
def test_every_shipped_preset_is_well_formed(name):
    preset = load_preset([name])
    assert preset.rows
    check_columns(preset.metrics)
    labels = [row.get("label", row["model"]) for row in preset.rows]
    assert len(set(labels)) == len(labels)
    assert preset.reference is None or preset.reference in labels
    for columns in preset.published_columns.values():
        assert set(columns) <= set(preset.metrics)


def test_the_ablation_has_the_switches_of_the_publication():
    rows = {row.label: row for row in rows_of(load_preset(["cmc-ablation"]))}
    assert {label: row.settings for label, row in rows.items()} == {
        "complete": {},
        "no contrastive learning": {"contrastive": False},
        "no cross-domain fusion": {"cross_domain_fusion": False, "beta": 0},
        "no image": {"modalities": ["text"]},
        "no multimodal fusion": {"fusion": "none"},
    }
    assert rows["complete"].published == {"ndcg": 0.725, "auc": 0.826}


def test_layers_win_in_the_order_that_the_head_of_the_default_preset_says(tmp_path):
    path = write(
        tmp_path / "p.yaml",
        """
config: {epochs: 1, learning_rate: 1, a: 1, b: 1}
models: {CMC: {learning_rate: 3, a: 3}}
rows: [{label: cut, model: CMC, settings: {fusion: none}}]
datasets:
  toy: {config: {a: 2, b: 2, c: 2}, models: {CMC: {learning_rate: 4}}, rows: {cut: {d: 6}}}
""",
    )
    preset = load_preset([path])
    row = rows_of(preset)[0]
    found = preset.settings(row, "toy", {"c": 5, "d": 5}, {"e": 7, "fusion": "sum"})
    wanted = {"epochs": 1, "learning_rate": 4, "a": 3, "b": 2, "c": 5, "d": 6, "e": 7, "fusion": "none"}
    assert {key: found[key] for key in wanted} == wanted
    assert preset.settings(row, "other", {}, {})["learning_rate"] == 3


def test_a_setting_that_a_row_overrules_is_said_and_one_that_reaches_none_is_refused(tmp_path, caplog):
    text = "rows: [{model: BPR}, {label: wide, model: BPR, settings: {embedding_size: 16}}]\n"
    path, given = write(tmp_path / "p.yaml", text), {"embedding_size": 8, **write_toy(tmp_path)}
    del given["checkpoint_dir"]

    def plan(labels):
        request = Request.read([path], "toy", [], given, tmp_path / "out", "")
        rows = [row for row in rows_of(request.preset) if row.label in labels]
        return plan_runs(request, rows, [1], ["ndcg@10"])[0].rows

    assert [row.settings["embedding_size"] for row in plan(["BPR", "wide"])] == [8, 16]
    assert "embedding_size: 8 does not reach wide: own value" in caplog.messages
    with pytest.raises(
        WrongUse, match=r"^embedding_size: 8 would reach no row: each has its own embedding_size"
    ):
        plan(["wide"])


def test_a_later_preset_adds_to_an_earlier_one(tmp_path):
    first = write(tmp_path / "a.yaml", "models: {BPR: {learning_rate: 1, x: 1}}\nrows: [{model: BPR}]\n")
    best = write(tmp_path / "b.yaml", "datasets: {toy: {models: {BPR: {learning_rate: 2}}}}\n")
    preset = load_preset([first, best])
    settings = preset.settings(rows_of(preset)[0], "toy", {}, {})
    assert (settings["learning_rate"], settings["x"]) == (2, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("metrix: [ndcg@10]", "metrics"),
        ("rows: [{model: BPR, setings: {}}]", "settings"),
        ("rows: [{label: x}]", "row 1"),
        ("seeds: many", "seeds"),
        ("models: {BPR: {epochs: 5}}", "epochs"),
        ("rows: [{model: BPR, settings: {split_seed: 5}}]", "split_seed"),
        ("datasets: {hm: {model: {}}}", "models"),
        ("datasets: {hm: {models: {BPR: 3}}}", "datasets.hm.models.BPR"),
    ],
)
def test_a_malformed_preset_is_one_line_with_the_place(tmp_path, text, words):
    path = write(tmp_path / "p.yaml", text)
    with pytest.raises(WrongUse) as caught:
        load_preset([path])
    message = str(caught.value)
    assert words in message
    assert path in message
    assert "\n" not in message


@pytest.mark.parametrize(("against", "said"), [("BPRR", "did you mean 'BPR'?"), ("EASE", "no other row")])
def test_a_row_that_names_no_other_row_is_refused(tmp_path, against, said):
    text = f"rows: [{{model: BPR}}, {{model: EASE, against: [BPR, {against}]}}]"
    with pytest.raises(WrongUse, match=r"^row 'EASE': against: ") as caught:
        rows_of(load_preset([write(tmp_path / "p.yaml", text)]))
    assert said in str(caught.value)


def test_an_unknown_preset_proposes_one():
    with pytest.raises(WrongUse, match="did you mean 'cmc-ablation'"):
        load_preset(["cmc-ablations"])


def test_models_choose_rows_of_the_preset_by_label_and_add_others():
    rows = rows_of(load_preset(["cmc"]), ["MF", "LightGCN", "CMC"])
    assert [(row.label, row.model, row.baseline) for row in rows] == [
        ("MF", "BPR", True),
        ("LightGCN", "LightGCN", True),
        ("CMC", "CMC", False),
    ]
    with pytest.raises(WrongUse, match="two rows"):
        rows_of(load_preset(), ["BPR", "BPR"])
    comma = replace(load_preset(), rows=[{"model": "BPR", "label": "BPR (tuned, long)"}])
    with pytest.raises(WrongUse, match=r"^row 'BPR \(tuned, long\)': a comma separates rows in --models"):
        rows_of(comma)
    with pytest.raises(WrongUse, match="nothing to compare"):
        rows_of(load_preset())


def test_controls_are_added_to_rows_that_read_features():
    rows = [Row("BPR", "BPR"), Row("CMC", "CMC", {"x": 1}), Row("cut", "CMC", {"fusion": "none"})]
    controls = control_rows(rows, list(CONTROLS), [0, 0.3])
    assert [(c.label, c.of, c.control, c.missing) for c in controls] == [
        ("CMC, ids only", "CMC", "ids only", None),
        ("CMC, shuffled features", "CMC", "shuffled features", None),
        ("CMC, noise features", "CMC", "noise features", None),
        ("CMC, 30% masked", "CMC", None, 0.3),
    ]
    assert controls[0].settings == {"x": 1, "modalities": []}
    assert controls[1].settings == {"x": 1, "feature_control": "shuffled"}
    assert controls[3].settings == {"x": 1, "feature_missing": 0.3}
    with pytest.raises(WrongUse, match="reads features"):
        control_rows(rows[:1], ["ids"], [])
    knn = Row("ContentKNN", "ContentKNN", {})
    with pytest.raises(WrongUse, match="none of these rows does"):
        control_rows([knn], ["ids"], [])  # content alone is its default
    (left,) = control_rows([knn], ["ids"], [], lambda row: {"content_weight": 0.2})
    assert left.label == "ContentKNN, ids only"
    near = control_rows(rows, [], [0.295, 0.304])
    assert len({row.label for row in near}) == len(near)
    for controls, missing in ((["ids", "ids"], []), ([], [0.3, 0.3])):
        with pytest.raises(WrongUse, match="is given twice"):
            control_rows(rows, controls, missing)
    with pytest.raises(WrongUse, match="no control 'random'; there are ids, shuffled, noise"):
        control_rows(rows, ["ids", "random"], [])


def test_what_knows_items_by_features_alone_has_no_row_on_ids():
    rows = [
        Row("content", "ContentKNN", {"content_weight": 1.0}),
        Row("both", "ContentKNN", {"content_weight": 0.5}),
        Row("UniSRec", "UniSRec"),
    ]
    found = [(c.of, c.control) for c in control_rows(rows, ["ids", "shuffled"], [])]
    assert found == [
        ("content", "shuffled features"),
        ("both", "ids only"),
        ("both", "shuffled features"),
        ("UniSRec", "shuffled features"),
    ]


def test_controls_of_a_row_with_plugged_vectors():
    plugged = Row("BPR, raw", "BPR", {"pretrained_items": "text", "pretrained_mode": "add", "x": 1})
    ids_only, shuffled = control_rows([plugged], ["ids", "shuffled"], [])
    none = {"pretrained_items": None, "pretrained_users": None, "pretrain": None}
    assert ids_only.settings == {"x": 1, **none}
    assert shuffled.settings == {**plugged.settings, "feature_control": "shuffled"}
    trained = Row("BPR, CPMM", "BPR", {"pretrain": {"model": "CPMM"}, "freeze": ["v"], "x": 1})
    assert control_rows([trained], ["ids"], [])[0].settings == {"x": 1, **none}


def test_all_search_spaces_are_of_one_size():
    sizes = {}
    for path in sorted((properties_dir() / "tune").glob("*.yaml")):
        sizes[path.stem] = 1
        for values in load_user(path).values():
            assert len(set(map(str, values))) == len(values)
            sizes[path.stem] *= len(values)
    assert len(sizes) >= 9
    assert len(set(sizes.values())) == 1, sizes  # the same number of trials is the same effort


@pytest.mark.parametrize("name", ["cmc", "mmt", "mmt-ablation", "mmt-published"])
def test_every_row_is_searched_at_as_many_points(name):
    """None of the axes of a model is a switch of one of its rows."""
    request = Request.read([name], "hm", (), {}, None, "x")
    points = {row.label: len(_space(row, request).grid()) for row in rows_of(request.preset)}
    assert set(points.values()) == {6}, points
