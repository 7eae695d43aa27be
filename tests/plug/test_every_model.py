"""The plug on each model of RecBole that embeds items, against the same model with a table that was overwritten."""

from __future__ import annotations

import copy
import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.utils import KGDataLoaderState, ModelType, init_seed
from torch import Tensor

from recbole_mm.errors import WrongUse
from recbole_mm.layer.loss import total
from recbole_mm.modality import ModalityStore
from recbole_mm.model import model_names
from recbole_mm.plug import plug, tables_of
from recbole_mm.plug.table import Plug, PluggedEmbedding
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec

#: held out of the test, and why
LACK = {
    "KGAT": "dgl",
    "KGIN": "torch_scatter",
    "MCCLK": "torch_scatter",
    "LightGBM": "lightgbm",
    "XGBoost": "xgboost",
}
NO_TABLE = {
    **dict.fromkeys(
        ["ADMMSLIM", "AsymKNN", "EASE", "ItemKNN", "NCEPLRec", "Pop", "Random", "SLIMElastic"],
        "learn no vectors",
    ),
    **dict.fromkeys(
        ["CDAE", "DMF", "DiffRec", "LDiffRec", "MultiDAE", "MultiVAE", "RaCT", "RecVAE"],
        "read a user's row of interactions; an item is a column of a weight",
    ),
    "GCMC": "items are one-hot vectors",
    "LR": "scores by one number an id, and reads no vector",
}
MODELS = sorted(
    name
    for name, where in model_names().items()
    if where.startswith("recbole.") and name not in NO_TABLE and name not in LACK
)
FAMILIES = ("BPR", "SASRec", "KGCN", "DeepFM")


def test_71_of_the_92_hold_a_table_and_run() -> None:
    assert len(MODELS) == 71


def test_the_documentation_lists_the_others() -> None:
    text = (Path(__file__).parents[2] / "docs/plug.md").read_text(encoding="utf-8")
    section = text.split("## Models that cannot take vectors of items")[1].split("##")[0]
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("|")][2:]
    listed = {name.strip(): why.strip() for names, why in rows for name in names.split(",")}
    trees = dict.fromkeys(("LightGBM", "XGBoost"), "trees")
    assert listed == {**NO_TABLE, **trees}
    assert all(name in section for name in LACK)


@pytest.fixture(scope="module")
def data(cut: Path) -> Path:
    """``cut`` with vectors of the entities, for KSR and GRU4RecKG."""
    folder = cut / "ml-100k"
    entities = sorted(
        {line.split("\t")[1] for line in (folder / "ml-100k.link").read_text().splitlines()[1:]}
    )
    rng = np.random.default_rng(0)
    lines = [f"{entity}\t{' '.join(map(str, rng.standard_normal(64).round(3)))}" for entity in entities]
    (folder / "ml-100k.ent").write_text("\n".join(["ent_id:token\tent_emb:float_seq", *lines]) + "\n")
    relations = sorted({line.split("\t")[1] for line in (folder / "ml-100k.kg").read_text().splitlines()[1:]})
    lines = [f"{relation}\t{' '.join(map(str, rng.standard_normal(64).round(3)))}" for relation in relations]
    (folder / "ml-100k.rel").write_text("\n".join(["rel_id:token\trel_emb:float_seq", *lines]) + "\n")
    return cut


def built(model: str, data: Path) -> Session:
    settings: dict[str, Any] = {"data_path": str(data), "epochs": 1, "min_coverage": 0.1, "use_gpu": False}
    if model in ("KSR", "GRU4RecKG"):
        settings |= {
            "load_col": {
                "inter": ["user_id", "item_id", "timestamp"],
                "kg": ["head_id", "relation_id", "tail_id"],
                "link": ["item_id", "entity_id"],
                "ent": ["ent_id", "ent_emb"],
                "rel": ["rel_id", "rel_emb"],
            },
            "additional_feat_suffix": ["ent", "rel"],
            "alias_of_entity_id": ["ent_id"],
            "alias_of_relation_id": ["rel_id"],
            "preload_weight": {"ent_id": "ent_emb", "rel_id": "rel_emb"},
        }
    return Session.build(RunSpec(model, "ml-100k", settings))


def store_of(session: Session, kind: str, width: int, folder: Path) -> str:
    """Random vectors of four in five of the items or users."""
    dataset = session.train_data._dataset
    tokens = dataset.field2id_token[{"item": dataset.iid_field, "user": dataset.uid_field}[kind]][1:]
    rng = np.random.default_rng(width)
    kept = rng.permutation(tokens)[: round(0.8 * len(tokens))]
    values = rng.standard_normal((len(kept), width)).astype(np.float32)
    path = folder / f"{kind}{width}"
    if not path.exists():
        ModalityStore.write(path, values, kept.astype(object), modality=f"{kind}{width}", encoder="random")
    return str(path)


def first_batch(session: Session) -> Any:
    """64 training rows."""
    if session.config["MODEL_TYPE"] == ModelType.KNOWLEDGE:
        session.train_data.set_mode(KGDataLoaderState.RSKG)
    return next(iter(session.train_data))[:64]


def probe(model: Any, batch: Any, scored: Any) -> tuple[Tensor, Tensor]:
    """The loss of a training batch and the scores of some rows, dropout off, drawn alike at each call."""
    init_seed(3, True)
    model.train(type(model).__name__ == "SGL")  # whose graphs are drawn by it; it has no dropout
    if hasattr(model, "e_step"):
        model.e_step()
    loss_of = getattr(model, "calculate_rs_loss", model.calculate_loss)
    loss = total(loss_of(batch))
    with torch.no_grad():
        whole = type(model).__name__.endswith("CPR")  # they rank all items only
        scores = model.full_sort_predict(scored) if whole else model.predict(scored)
    return loss, scores


@pytest.mark.parametrize(
    "model", [m if m in FAMILIES else pytest.param(m, marks=pytest.mark.slow) for m in MODELS]
)
def test_scores_and_gradients(
    model: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        session = built(model, data)
    except WrongUse as error:
        assert model == "NCL" and "faiss" in str(error)
        pytest.skip(str(error))
    plain, batch, other = session.model, first_batch(session), 7
    for kind in ("item", "user"):
        targets = tables_of(plain, session.train_data._dataset, kind)
        assert targets or kind == "user"
        if not targets:
            continue
        same = targets[-1].embedding.embedding_dim
        for mode, width in (
            ("init", same),
            ("init", other),
            ("add", other),
            ("replace", same),
            ("concat", other),
        ):
            session.config["pretrained_items"] = session.config["pretrained_users"] = None
            session.config[f"pretrained_{kind}s"] = store_of(session, kind, width, tmp_path)
            session.config["pretrained_mode"] = mode
            compare(session, batch, kind, mode)
    gc.collect()


def compare(session: Session, batch: Any, kind: str, mode: str) -> None:
    """Scores, loss and every gradient of the plugged model from those of one with overwritten rows."""
    plain, dataset = session.model, session.train_data._dataset
    plugged, by_hand = copy.deepcopy(plain), copy.deepcopy(plain)
    plug(session.config, dataset, plugged)
    names = [target.name for target in tables_of(plain, dataset, kind)]
    starts = [target.start for target in tables_of(plain, dataset, kind)]
    tables = [plugged.get_submodule(name) for name in names]
    originals = [by_hand.get_submodule(name) for name in names]
    with torch.no_grad():
        for table, original, start in zip(tables, originals, starts, strict=True):
            if isinstance(table, PluggedEmbedding):
                part = table.plugs[kind]
                rows = original.weight[start : start + len(part.present)]
                rows[:] = by_formula(part, table.own[start : start + len(part.present)], mode)
            else:
                original.weight.copy_(table.weight)
    rows = dataset.join(dataset.inter_feat[:64])  # ENMF trains on users alone
    scored = batch if dataset.iid_field in batch else rows
    loss, scores = probe(plugged, batch, scored)
    expected_loss, expected_scores = probe(by_hand, batch, scored)
    torch.testing.assert_close(loss, expected_loss)
    torch.testing.assert_close(scores, expected_scores)
    if not expected_loss.requires_grad:
        return
    loss.backward()
    expected_loss.backward()
    of_hand = dict(by_hand.named_parameters())
    inside = {id(p) for table in tables for p in table.parameters()}
    for name, parameter in plugged.named_parameters():
        if id(parameter) not in inside:
            close(parameter.grad, of_hand[name].grad)
    for table, original, start in zip(tables, originals, starts, strict=True):
        if isinstance(table, PluggedEmbedding):
            gradients(table, original.weight.grad, start, kind, mode)


def by_formula(part: Plug, own: Tensor, mode: str) -> Tensor:
    """The rows, one by one."""
    (name,), key = part.features.names, next(iter([*part.projections, *part.vectors]), None)
    rows = own.clone()
    for i in part.present.nonzero().flatten().tolist():
        vector = part.features(name)[i]
        if key in part.projections:
            vector = part.projections[key] @ vector
        mine = torch.zeros_like(own[i]) if part.cold[i] else own[i]
        if part.use.mode == "concat":
            mine = part.mix @ mine
        rows[i] = vector if part.use.mode in ("init", "replace") else mine + vector
    return rows


def gradients(table: PluggedEmbedding, of_rows: Tensor | None, start: int, kind: str, mode: str) -> None:
    """Of W, V, P and A from the gradient of the rows."""
    part = table.plugs[kind]
    if of_rows is None:
        assert all(p.grad is None for p in table.parameters())
        return
    n = len(part.present)
    g, name = of_rows[start : start + n], part.features.names[0]
    vectors, present, cold = part.features(name), part.present, part.cold
    own = table.own.grad
    replaced = part.use.mode in ("init", "replace")
    expected = of_rows.clone()
    mine = g.clone()
    if part.mix is not None:
        mine[present] = mine[present] @ part.mix.detach()
    mine[present if replaced else cold] = 0
    expected[start : start + n] = mine
    close(own, expected)
    assert not any(b.requires_grad for b in part.features.buffers())
    for projection in part.projections.values():
        assert projection.requires_grad
        close(projection.grad, g[present].t() @ vectors[present])
    if part.mix is not None:
        weights = table.own.detach()[start : start + n].clone()
        weights[cold] = 0
        close(part.mix.grad, g[present].t() @ weights[present])
    assert bool(part.vectors) == (mode == "init" and bool(part.projections))
    for each, projection in zip(part.vectors.values(), part.projections.values(), strict=False):
        expected = g @ projection.detach()
        expected[~present | cold] = 0
        close(each.grad, expected)


def close(found: Tensor | None, expected: Tensor | None) -> None:
    if expected is None or found is None:
        for each in (found, expected):
            assert each is None or not each.any()
        return
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
