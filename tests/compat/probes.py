"""What RecBole does with and without our patches: a program, run in a process of its own.

`python probes.py` runs each probe on the untouched RecBole, `python probes.py patched` after
`import recbole_mm`. A probe is named as the patch it shows and ends without an error where RecBole works.
The last line printed is a JSON object: probe -> "" or the error.
"""

from __future__ import annotations

import importlib
import json
import pickle
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from logging import getLogger
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, create_autospec

PATCHED = sys.argv[1:] == ["patched"]
sys.argv = ["probes"]  # RecBole's Config reads it

if PATCHED:
    import recbole_mm

    for early in ("torch", "numpy", "pandas", "recbole", "ray"):
        assert early not in sys.modules, f"recbole_mm imported {early}"

PROBES: dict[str, Callable[[], None]] = {}


def probe(name: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def add(function: Callable[[], None]) -> Callable[[], None]:
        PROBES[name] = function
        return function

    return add


def dataset_like(**more: Any) -> Any:
    """Enough of a Dataset for one of its methods."""
    from recbole.utils import FeatureType

    kinds = {
        "t": FeatureType.TOKEN,
        "f": FeatureType.FLOAT,
        "fs": FeatureType.FLOAT_SEQ,
        "ts": FeatureType.TOKEN_SEQ,
    }
    return SimpleNamespace(
        logger=getLogger("probe"),
        field2type=kinds,
        field2id_token={},
        field2token_id={},
        field2seqlen={},
        **more,
    )


@probe("ray-optional")
def ray_optional() -> None:
    sys.modules["ray"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("recbole.quick_start")
    finally:
        del sys.modules["ray"]


@probe("numpy-aliases")
def numpy_aliases() -> None:
    from recbole.config import Config

    try:
        Config(model="BPR", dataset="ml-100k")
    finally:  # what follows looks at other things
        import numpy as np

        for name, value in {"int": int, "float": float, "object": object, "str": str}.items():
            setattr(np, name, value)
        Config.compatibility_settings = lambda self: None


@probe("pandas-fillna-501")
def fillna_sequence() -> None:
    from recbole.data.dataset import Dataset

    Path("x.item").write_text("t:token\tts:token_seq\na\tb c\nd\t\n")
    like = dataset_like(
        config={"field_separator": "\t", "encoding": "utf-8", "seq_separator": " ", "seq_len": None},
        field2source={},
        field2bucketnum={},
        _get_load_and_unload_col=lambda source: (None, None),
    )
    table = Dataset._load_feat(like, "x.item", "item")
    assert [list(row) for row in table["ts"]] == [["b", "c"], []]


@probe("pandas-fillna-648")
def fillna_token() -> None:
    import pandas as pd
    from recbole.data.dataset import Dataset

    like = dataset_like(feat_name_list=["feat"], feat=pd.DataFrame({"t": [1.0, None]}))
    Dataset._fill_nan(like)
    assert like.feat["t"].tolist() == [1, 0]


@probe("pandas-fillna-650")
def fillna_float() -> None:
    import pandas as pd
    from recbole.data.dataset import Dataset

    like = dataset_like(feat_name_list=["feat"], feat=pd.DataFrame({"f": [1.0, None, 2.0]}))
    Dataset._fill_nan(like)
    assert like.feat["f"].tolist() == [1, 1.5, 2]


def float_lists() -> Any:
    import numpy as np
    import pandas as pd

    return pd.DataFrame({"fs": [np.array([1.0, 2.0]), np.array([3.0])]})


@probe("pandas-agg-dataset")
def agg_dataset() -> None:
    import numpy as np
    import pandas as pd
    from recbole.data.dataset import Dataset
    from recbole.utils import FeatureType

    feat = float_lists()
    like = dataset_like(
        config={
            "normalize_field": ["fs"],
            "normalize_all": None,
            "numerical_features": ["fs"],
            "discretization": None,
        },
        field2feats=lambda field: [feat],
        field2bucketnum={},
    )
    Dataset._normalize(like)
    assert [list(row) for row in feat["fs"]] == [[0, 0.5], [1]]
    Dataset._discretization(like)
    assert [[list(part) for part in row] for row in feat["fs"]] == [[[0, 0.5], [1, 1]], [[1], [1]]]
    feat = float_lists()
    like.config["discretization"] = {"fs": {"method": "ED", "bucket": 2}}
    Dataset._discretization(like)
    assert [len(row[0]) for row in feat["fs"]] == [2, 1]
    tokens = pd.DataFrame({"ts": [["a", "b"], [], ["a"]]})
    like._concat_remaped_tokens = lambda remap_list: (np.array(["a", "b", "a"]), [])
    Dataset._remap(like, [(tokens, "ts", FeatureType.TOKEN_SEQ)])
    assert [list(row) for row in tokens["ts"]] == [[1, 2], [], [1]]


@probe("pandas-agg-kg_dataset")
def agg_kg_dataset() -> None:
    import numpy as np
    import pandas as pd
    from recbole.data.dataset import KnowledgeBasedDataset

    feat = pd.DataFrame({"ts": [np.array([1, 2]), np.array([2])]})
    like = dataset_like(field2feats=lambda field: [feat])
    KnowledgeBasedDataset._reset_ent_remapID(like, "ts", np.array([0, 5, 6]), [], {})
    assert [list(row) for row in feat["ts"]] == [[5, 6], [6]]


@probe("pandas-agg-sequential_dataset")
def agg_sequential_dataset() -> None:
    import pandas as pd
    from recbole.data.dataset import SequentialDataset

    like = dataset_like(
        config={"LIST_SUFFIX": "_list"},
        inter_feat=pd.DataFrame({"item_list": [[1, 2], [3]], "item": [3, 4]}),
        set_field_property=lambda *_: None,
        item_list_length_field="item_length",
        item_id_list_field="item_list",
    )
    SequentialDataset._benchmark_presets(like)
    assert like.inter_feat["item_length"].tolist() == [2, 1]


@probe("pandas-read-only")
def tensors_can_be_written() -> None:
    import pandas as pd
    from recbole.data.dataset import Dataset

    table = pd.DataFrame({"t": [1, 2]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensors = Dataset._dataframe_to_interaction(dataset_like(), table)
    tensors["t"][0] = 7
    assert table["t"].tolist() == [1, 2]


def feat_of(text: str, strict: bool = True) -> Any:
    """The columns that RecBole loads from an atomic file of this text."""
    from recbole.data.dataset import Dataset

    settings: dict[str, Any] = {
        "field_separator": "\t",
        "seq_separator": " ",
        "encoding": "utf-8",
        "seq_len": None,
    }
    settings["strict_config"] = strict
    like = dataset_like(config=settings, field2source={}, field2bucketnum={})
    like._get_load_and_unload_col = lambda source: (None, None)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "a.item"
        file.write_text(text)
        try:
            return Dataset._load_feat(like, str(file), "item")
        except ValueError as error:
            return str(error).removeprefix(folder)


@probe("recbole-read-header")
def read_header() -> None:
    """RecBole cuts off the last character, be it a line break or not; the second field of a name has no values."""
    assert "given twice" in feat_of("i:token\tt:token\tt:token\n1\t2\t3\n")


@probe("recbole-read-rows")
def read_rows() -> None:
    assert "line 3: 1 field, the header has 2" in feat_of("i:token\tt:token\n1\t2\n3\n")
    assert feat_of("i:token\tf:float\n1\t2\n3\t4.5\n")["f"].tolist() == [2, 4.5]
    assert feat_of("i:token\tt:token\n1\t2\n3\t4\t5\n", strict=False)["t"].tolist() == ["2", "4"]


@probe("recbole-read-floats")
def read_floats() -> None:
    assert "line 3: fs:float_seq is 'x'" in feat_of("i:token\tfs:float_seq\n1\t2\n3\t4 x\n")
    values = feat_of("i:token\tfs:float_seq\n1\t2\n3\t4 5\n4\t\n")["fs"]
    assert [list(value) for value in values] == [[2], [4, 5], []]


@probe("recbole-missing-feat")
def missing_feat() -> None:
    """A table of users of which a repeated row was left out."""
    import pandas as pd
    from recbole.data.dataset import Dataset

    users = pd.DataFrame({"user": ["a", None, "b", "c"]}, index=[0, 2, 3, 4])
    like = dataset_like(uid_field="user", iid_field=None, user_feat=users, item_feat=None)
    like.inter_feat = pd.DataFrame({"user": ["a"]})
    Dataset._filter_nan_user_or_item(like)
    assert like.user_feat["user"].tolist() == ["a", "b", "c"]


@probe("recbole-missing-inter")
def missing_inter() -> None:
    import pandas as pd
    from recbole.data.dataset import Dataset

    like = dataset_like(uid_field="user", iid_field="item", user_feat=None, item_feat=None)
    like.inter_feat = pd.DataFrame({"user": [None, *"abcd"], "item": ["e", None, *"fgh"]})
    Dataset._filter_nan_user_or_item(like)
    assert like.inter_feat.to_numpy().tolist() == [["b", "f"], ["c", "g"], ["d", "h"]]


@probe("recbole-concatenate-dataset")
def concatenate_dataset() -> None:
    """The row that a removal has left, in each of the four places; one row, so that .agg(len) is right too."""
    import pandas as pd
    from recbole.data.dataset import Dataset
    from recbole.utils import FeatureType

    def left(method: Any, bucket: int | None = None) -> Any:
        feat = pd.DataFrame({"fs": [None, [1.0, 3.0]]})[1:]
        like = dataset_like(
            config={
                "normalize_field": ["fs"],
                "normalize_all": None,
                "numerical_features": ["fs"],
                "discretization": bucket and {"fs": {"method": "ED", "bucket": bucket}},
            },
            field2feats=lambda field: [feat],
            field2bucketnum={},
        )
        method(like)
        return feat["fs"].iloc[0]

    tokens = pd.DataFrame({"ts": [["a"], ["b", "c"]]})[1:]
    joined, _ = Dataset._concat_remaped_tokens(None, [(tokens, "ts", FeatureType.TOKEN_SEQ)])
    assert joined.tolist() == ["b", "c"]
    assert list(left(Dataset._normalize)) == [0, 1]
    assert [list(part) for part in left(Dataset._discretization)] == [[1, 3], [1, 1]]
    assert [list(part) for part in left(Dataset._discretization, 2)] == [[1, 1], [1, 2]]


@probe("recbole-concatenate-kg_dataset")
def concatenate_kg_dataset() -> None:
    import numpy as np
    import pandas as pd
    from recbole.data.dataset import KnowledgeBasedDataset

    feat = pd.DataFrame({"ts": [[1], [1, 2]]})[1:]
    like = dataset_like(field2feats=lambda field: [feat])
    KnowledgeBasedDataset._reset_ent_remapID(like, "ts", np.array([0, 5, 6]), [], {})
    assert list(feat["ts"].iloc[0]) == [5, 6]


@probe("recbole-illegal-interval")
def illegal_interval() -> None:
    """RecBole warns and goes on; then no row may be missing."""
    import pandas as pd
    from recbole.data.dataset import Dataset

    feat = pd.DataFrame({"f": [1.0, 2.0, 3.0]})
    like = dataset_like(config={"val_interval": {"f": "1 to 2"}}, field2feats=lambda field: [feat])
    like._parse_intervals_str = lambda text: Dataset._parse_intervals_str(like, text)
    like._within_intervals = lambda *both: Dataset._within_intervals(like, *both)
    Dataset._filter_by_field_value(like)
    assert feat["f"].tolist() == [1, 2, 3]


@probe("recbole-lowest-interval")
def lowest_interval() -> None:

    import pandas as pd
    from recbole.data.dataset import Dataset

    like = dataset_like()
    like._within_intervals = lambda *both: Dataset._within_intervals(like, *both)
    intervals = [("[", 4, 5, "]"), ("[", 2, 3, "]")]
    count, table = Counter(a=1, b=2, c=4), pd.DataFrame({"t": list("abcd")})
    assert Dataset._get_illegal_ids_by_inter_num(like, "t", table, count, intervals) == {"a", "d"}


@probe("recbole-time-split")
def time_split() -> None:
    """Rows in any order; the test part holds those after the boundary."""
    import torch
    from recbole.data.dataset import Dataset
    from recbole.data.interaction import Interaction

    rows = {"user": torch.tensor([1, 1, 1, 1]), "time": torch.tensor([4.0, 1.0, 3.0, 2.0])}
    like = dataset_like(inter_feat=Interaction(rows), time_field="time", copy=lambda feat: feat)
    like._grouped_index = lambda groups: Dataset._grouped_index(like, groups)
    like._drop_unused_col = lambda: None
    parts = Dataset.time_based_split(like, [0.5, 0.25, 0.25], "user")
    assert [part["time"].tolist() for part in parts] == [[1, 2], [3], [4]]


class Keys(dict):
    """A configuration in which every key is known."""

    def __missing__(self, key: str) -> Any:
        return None


def features_like(*fields: str, user: tuple[str, ...] = ()) -> Any:
    """A data set whose items have ``fields`` and users ``user``, each named by its type; values are 1, 2, 3."""
    import torch
    from recbole.data.interaction import Interaction
    from recbole.utils import FeatureSource, FeatureType

    def fields_of(source: list[Any]) -> list[str]:
        return [
            *(user if FeatureSource.USER in source else ()),
            *(fields if FeatureSource.ITEM in source else ()),
        ]

    every = [*user, *fields]
    rows = torch.arange(3.0)[:, None]
    floats = torch.cat([rows + 1, torch.zeros(3, 1)], dim=1)  # value, bucket
    lists = torch.stack([torch.ones(3, 2), torch.ones(3, 2)], dim=-1)
    table = Interaction({field: lists if field.startswith("float_seq") else floats for field in fields})
    kinds = {field: FeatureType(field.rstrip("0123456789")) for field in every}
    return SimpleNamespace(
        field2type=kinds | {"item_id": FeatureType.TOKEN, "user_id": FeatureType.TOKEN},
        config=Keys(numerical_features=every),
        num=lambda field: 3,
        fields=lambda source: fields_of(source),
        get_item_feature=lambda: table,
    )


@probe("recbole-float-features")
def float_features() -> None:
    """Two float fields of an item are two embeddings, each times its value."""
    import torch
    from recbole.model.layers import FeatureSeqEmbLayer

    data = features_like("float1", "float2")
    layer = FeatureSeqEmbLayer(data, 4, ["float1", "float2"], "mean", "cpu")
    dense = layer(None, torch.tensor([[0, 2]]))[1]["item"]
    weights = layer.float_embedding_table["item"].embedding.weight[[0, 3]]
    assert dense.shape == (1, 2, 2, 4)
    assert torch.equal(dense[0], torch.stack([weights, 3 * weights]))


@probe("recbole-float-lists")
def float_lists_of_items() -> None:
    import torch
    from recbole.model.sequential_recommender import SASRecF

    sizes = {"n_layers": 1, "n_heads": 1, "hidden_size": 4, "inner_size": 4, "MAX_ITEM_LIST_LENGTH": 2}
    rates = dict.fromkeys(
        ("hidden_dropout_prob", "attn_dropout_prob", "layer_norm_eps", "initializer_range"), 0.1
    )
    words = {"hidden_act": "gelu", "pooling_mode": "mean", "loss_type": "CE", "device": "cpu"}
    words |= {"ITEM_ID_FIELD": "item_id", "LIST_SUFFIX": "_list", "NEG_PREFIX": "neg_"}
    model = SASRecF(Keys(sizes | rates | words, selected_features=["float_seq"]), features_like("float_seq"))
    assert model.forward(torch.tensor([[1, 2]]), torch.tensor([2])).shape == (1, 4)


@probe("recbole-user-tower")
def user_tower() -> None:
    from recbole.model.abstract_recommender import ContextRecommender

    config = Keys(double_tower=True, embedding_size=4, device="cpu", numerical_features=["float2"])
    model = ContextRecommender(config, features_like("token", user=("float1", "float2")))
    assert model.user_float_field_num == len(model.float_field_names) == 1


@probe("recbole-item-tower")
def item_tower() -> None:
    from recbole.model.abstract_recommender import ContextRecommender

    config = Keys(double_tower=True, embedding_size=4, device="cpu", numerical_features=["float2"])
    model = ContextRecommender(config, features_like("token", "float1", "float2"))
    assert model.item_float_field_num == len(model.float_field_names) == 1


@probe("recbole-fwfm-features")
def fwfm_features() -> None:
    """Features are numbered in the order in which their embeddings stand."""
    from recbole.model.context_aware_recommender import FwFM

    fields = ("token", "token_seq", "float", "float_seq")
    config = Keys(embedding_size=4, device="cpu", numerical_features=list(fields), dropout_prob=0.0)
    assert list(FwFM(config, features_like(*fields)).feature2id) == [
        "token_seq",
        "token",
        "float_seq",
        "float",
    ]


@probe("recbole-anomaly")
def anomaly() -> None:
    import torch
    from recbole.model.sequential_recommender import SASRec

    assert SASRec is not None
    assert not torch.is_anomaly_enabled()


@probe("recbole-pop-repeats")
def pop_repeats() -> None:
    import torch
    from recbole.model.general_recommender import Pop

    like = SimpleNamespace(item_cnt=torch.zeros(4, 1, dtype=torch.long), ITEM_ID="item", device="cpu")
    for batch in ([1, 1, 3], [1, 2, 2]):
        Pop.calculate_loss(like, {"item": torch.tensor(batch)})
    assert like.item_cnt.flatten().tolist() == [0, 3, 2, 1] and like.max_cnt == 3


@probe("recbole-tensorboard")
def tensorboard() -> None:
    """Nothing is written before there is something to write."""
    import logging
    import os
    import tempfile
    from pathlib import Path

    from recbole.trainer import trainer

    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            writer = trainer.get_tensorboard(logging.getLogger("probe"))
            assert not list(Path(folder).iterdir())
            writer.add_scalar("loss", 1.0, 0)
            writer.close()
            assert list(Path(folder, "log_tensorboard").rglob("events.*"))
        finally:
            os.chdir(here)


@probe("recbole-topk-absent")
def topk_absent() -> None:
    import torch
    from recbole.data.interaction import Interaction
    from recbole.utils.case_study import full_sort_scores

    dataset = SimpleNamespace(
        uid_field="user", user_num=9, inter_feat=Interaction({"user": torch.tensor([3, 5])}),
        id2token=lambda field, user: f"u{user}",
    )  # fmt: skip
    data = SimpleNamespace(
        dataset=dataset, _dataset=dataset, is_sequential=False, uid2history_item=[None] * 9
    )
    try:
        full_sort_scores([3, 4, 0], MagicMock(), data)
    except ValueError as error:
        said = str(error)
    assert "2 of 3 users have no row in this part" in said and said.endswith(": u4, no user 0")


@probe("recbole-repeated-pairs")
def repeated_pairs() -> None:
    """Of repeated pairs of one time the last line stays."""
    import numpy as np
    import pandas as pd
    from recbole.data.dataset import Dataset

    user = np.arange(100) // 2
    feat = pd.DataFrame({"user": user, "item": 7, "time": user % 3 + 0.0, "line": np.arange(100)})
    like = dataset_like(
        config={"rm_dup_inter": "last"}, inter_feat=feat, time_field="time", _check_field=lambda *_: None
    )
    like.uid_field, like.iid_field = "user", "item"
    Dataset._remove_duplication(like)
    assert like.inter_feat["line"].tolist() == sorted(range(1, 100, 2), key=lambda line: line // 2 % 3)


@probe("recbole-dien-negatives")
def dien_negatives() -> None:
    """A negative stays with the item it was drawn for."""
    import torch
    from recbole.data.dataset.customized_dataset import DIENDataset
    from recbole.data.interaction import Interaction
    from recbole.utils import FeatureType

    rows = {"user": [2, 1, 1], "time": [1.0, 2.0, 1.0], "item": [5, 6, 7]}
    feat = Interaction({field: torch.tensor(values) for field, values in rows.items()})
    like = dataset_like(
        config={"MAX_ITEM_LIST_LENGTH": 2, "numerical_features": []},
        inter_feat=feat,
        sort=feat.sort,
        neg_item_list=torch.tensor([50, 60, 70]),
        **{name: name.removesuffix("_field") for name in ("neg_item_list_field", "item_list_length_field")},
        **{f"{field}_list_field": f"{field}_list" for field in ("time", "item")},
        uid_field="user",
        iid_field="item",
        time_field="time",
        _aug_presets=lambda: None,
        _check_field=lambda *_: None,
    )
    like.field2seqlen = {"time_list": 2, "item_list": 2}
    like.field2type |= dict.fromkeys(("time", "time_list"), FeatureType.FLOAT_SEQ)
    like.field2type |= dict.fromkeys(("item", "item_list"), FeatureType.TOKEN_SEQ)
    DIENDataset.data_augmentation(like)
    assert like.inter_feat["item_list"].tolist() == [[7, 0]]
    assert like.inter_feat["neg_item_list"].tolist() == [[70, 0]]


@probe("scipy-dok-update")
def dok_update() -> None:
    importlib.import_module("recbole.model.abstract_recommender")
    from scipy.sparse import dok_matrix

    matrix = dok_matrix((2, 2))
    matrix._update({(0, 1): 1})
    assert matrix.tocsr()[0, 1] == 1


@probe("ray-worker")
def ray_worker() -> None:
    """A process that knows only the name of the function works."""
    module = importlib.import_module("recbole.quick_start.quick_start")
    functions = pickle.dumps((module.objective_function, module.run_recboles))
    script = (
        f"import sys, pickle; sys.argv = ['x']; pickle.loads({functions!r});"
        "from recbole.config import Config; Config(model='BPR', dataset='ml-100k')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-300:]


@probe("ray-report")
def ray_report() -> None:
    tune = importlib.import_module("ray.tune")
    tune.report = create_autospec(
        tune.report
    )  # outside of a trial the real one does not look at its arguments
    tune.get_context = MagicMock()
    module = importlib.import_module("recbole.quick_start.quick_start")
    for name in ("Config", "init_seed", "init_logger", "create_dataset", "get_model"):
        setattr(module, name, MagicMock())
    module.data_preparation = MagicMock(return_value=(MagicMock(), None, None))
    module.get_trainer = MagicMock()
    trainer = module.get_trainer.return_value.return_value
    trainer.fit.return_value = (1.0, {})
    trainer.evaluate.return_value = {"ndcg@10": 0.5}
    assert module.objective_function()["test_result"] == {"ndcg@10": 0.5}
    tune.report.assert_called_once_with({"ndcg@10": 0.5})


def imported_without_sklearn(name: str) -> Any:
    """A module loaded anew where scikit-learn does not exist; what it needs when called is there again."""
    kept = {n: m for n, m in sys.modules.items() if n == name or n.partition(".")[0] == "sklearn"}
    importlib.import_module(name)
    before = sys.modules.pop(name)
    for hidden in kept:
        sys.modules.pop(hidden, None)
    sys.modules["sklearn"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module(name)
    finally:
        del sys.modules["sklearn"]
        sys.modules.update(kept | {name: before})


@probe("sklearn-metrics")
def sklearn_metrics() -> None:
    metrics = imported_without_sklearn("recbole.evaluator.metrics")
    assert metrics.sk_auc([0.0, 0.5, 1.0], [0.0, 1.0, 1.0]) == 0.75
    assert metrics.mean_absolute_error([1.0, 2.0], [2.0, 4.0]) == 1.5
    assert metrics.mean_squared_error([1.0, 2.0], [2.0, 4.0]) == 2.5


@probe("sklearn-slimelastic")
def sklearn_slimelastic() -> None:
    model = imported_without_sklearn("recbole.model.general_recommender.slimelastic")
    assert model.ElasticNet(alpha=0.5).alpha == 0.5


@probe("sklearn-slimelastic-warning")
def sklearn_slimelastic_warning() -> None:
    model = imported_without_sklearn("recbole.model.general_recommender.slimelastic")
    assert model._convergence_warning().__name__ == "ConvergenceWarning"


@probe("sklearn-nceplrec")
def sklearn_nceplrec() -> None:
    import numpy as np

    model = imported_without_sklearn("recbole.model.general_recommender.nceplrec")
    _, sigma, _ = model.randomized_svd(np.diag([3.0, 1.0]), n_components=1, random_state=0)
    assert abs(sigma[0] - 3.0) < 1e-6


@probe("flops-never-stop")
def flops() -> None:
    import torch
    from recbole.data.interaction import Interaction
    from recbole.utils import ModelType, get_flops

    class Refuses(torch.nn.Module):
        type = ModelType.GENERAL

        def predict(self, interaction: Interaction) -> None:
            raise AssertionError("no predict here")

    data = Interaction({"a": torch.zeros(3)})
    get_flops(Refuses(), data, torch.device("cpu"), getLogger("probe"), lambda dataset, inter: inter)


def state_of_a_trainer() -> Any:
    import numpy as np
    import torch
    from recbole.config import Config

    model = torch.nn.Linear(2, 2)
    model.other_parameter = lambda: {"table": np.eye(2)}
    config = Config(model="BPR", dataset="ml-100k", config_dict={"epochs": 7})
    return SimpleNamespace(
        config=config,
        cur_step=0,
        best_valid_score=np.float64(0.5),
        model=model,
        optimizer=torch.optim.Adam(model.parameters()),
        saved_model_file="trainer.pth",
        logger=getLogger("probe"),
        device="cpu",
    )


@probe("torch-save")
def torch_save() -> None:
    import torch
    from recbole.trainer.trainer import PretrainTrainer, Trainer

    trainer = state_of_a_trainer()
    Trainer._save_checkpoint(trainer, 3)
    PretrainTrainer.save_pretrained_model(trainer, 3, "pretrained.pth")
    for file in ("trainer.pth", "pretrained.pth"):
        state = torch.load(file, weights_only=True)
        assert state["epoch"] == 3 and state["config"]["epochs"] == 7


@probe("torch-load-trainer")
def torch_load() -> None:
    """RecBole's own kind of file is refused in one line that says what to do."""
    from recbole.trainer.trainer import Trainer

    refuses(lambda: Trainer.resume_checkpoint(state_of_a_trainer(), foreign()))


@probe("torch-load-quick_start")
def torch_load_quick_start() -> None:
    from recbole.quick_start import load_data_and_model

    refuses(lambda: load_data_and_model(foreign()))


@probe("torch-load-nais")
def torch_load_nais() -> None:
    from recbole.model.general_recommender.nais import NAIS

    refuses(lambda: NAIS._load_pretrain(SimpleNamespace(pretrain_path=foreign())))


@probe("torch-load-neumf")
def torch_load_neumf() -> None:
    from recbole.model.general_recommender.neumf import NeuMF

    refuses(lambda: NeuMF.load_pretrain(SimpleNamespace(mf_pretrain_path=foreign())))


def foreign() -> str:
    import torch

    torch.save({"config": state_of_a_trainer().config}, "foreign.pth", pickle_protocol=4)
    return "foreign.pth"


def refuses(read: Callable[[], Any]) -> None:
    try:
        read()
    except Exception as error:
        assert "train again under recbole_mm" in str(error) and "\n" not in str(error), error
    else:
        raise AssertionError("a file with pickled objects was read")


@probe("torch-rebuild-config")
def rebuild_config() -> None:
    """A config read from a checkpoint is a Config again, whatever was written of it."""
    import torch
    from recbole.config import Config
    from recbole.utils import InputType

    module = importlib.import_module("recbole.quick_start.quick_start")
    config = state_of_a_trainer().config
    values = {
        key: value for key, value in config.final_config_dict.items() if key not in ("device", "single_spec")
    }
    values |= {"MODEL_TYPE": "GENERAL", "MODEL_INPUT_TYPE": "PAIRWISE", "eval_type": "RANKING"}
    torch.save({"config": values}, "plain.pth")
    seen: list[Any] = []
    module.init_seed = lambda seed, reproducibility: None
    module.init_logger = seen.append
    module.create_dataset = MagicMock(side_effect=KeyboardInterrupt)
    with suppress(KeyboardInterrupt):
        module.load_data_and_model("plain.pth")
    assert isinstance(seen[0], Config) and seen[0]["MODEL_INPUT_TYPE"] is InputType.PAIRWISE
    assert seen[0]["device"].type == config["device"].type and seen[0].model == "BPR"
    assert sorted(str(seen[0]).splitlines()) == sorted(str(config).splitlines())


@probe("torch-other-parameter")
def other_parameter() -> None:
    """A module among the other parameters is restored from its weights (DIN's embedding layer)."""
    import torch
    from recbole.model.abstract_recommender import AbstractRecommender

    class Model(AbstractRecommender):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.part = torch.nn.Linear(1, 1)
            self.other_parameter_name = ["part"]

    trainer = state_of_a_trainer()
    trainer.model = Model()
    if not PATCHED:
        torch.save({"other_parameter": trainer.model.other_parameter()}, "module.pth")
        torch.load("module.pth")
    from recbole.trainer.trainer import Trainer

    Trainer._save_checkpoint(trainer, 1)
    want = trainer.model.part.weight.item()
    trainer.model = Model()
    trainer.optimizer = torch.optim.Adam(trainer.model.parameters())
    part = trainer.model.part
    Trainer.resume_checkpoint(trainer, "trainer.pth")
    assert part is trainer.model.part and part.weight.item() == want


@probe("torch-save-neumf")
def save_neumf() -> None:
    import torch
    from recbole.model.general_recommender.neumf import NeuMF

    part = torch.nn.Linear(1, 1)
    part.mf_train, part.mlp_train, part.mf_pretrain_path = True, False, "mf.pth"
    NeuMF.dump_parameters(part)
    assert set(torch.load("mf.pth", weights_only=True)) == {"weight", "bias"}


def epoch_like(**more: Any) -> Any:
    import torch

    weight = torch.ones(1, requires_grad=True)
    return SimpleNamespace(
        model=MagicMock(calculate_loss=lambda interaction: (weight * 2).sum()),
        enable_scaler=False,
        enable_amp=False,
        config={"single_spec": True},
        device=torch.device("cpu"),
        optimizer=torch.optim.SGD([weight], lr=0.1),
        clip_grad_norm=None,
        gpu_available=False,
        _check_nan=lambda loss: None,
    )


@probe("torch-grad-scaler")
def grad_scaler() -> None:
    from recbole.trainer.trainer import Trainer

    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        assert Trainer._train_epoch(epoch_like(), [MagicMock()], 0) == 2


@probe("torch-autocast")
def autocast() -> None:
    from recbole.trainer.trainer import NCLTrainer

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*GradScaler")
        warnings.filterwarnings("error", message=".*autocast", category=FutureWarning)
        assert NCLTrainer._train_epoch(epoch_like(), [MagicMock()], 0) == 2


@probe("recbole-exlib")
def recbole_exlib() -> None:
    sys.modules["lightgbm"] = None  # type: ignore[assignment]
    sys.modules["xgboost"] = SimpleNamespace(Booster=object)  # type: ignore[assignment]
    room = importlib.import_module("recbole.model.exlib_recommender")
    assert room.XGBoost.__name__ == "XGBoost" and not hasattr(room, "CatBoost")
    with suppress(ModuleNotFoundError):
        raise AssertionError(room.LightGBM)


@probe("recbole-collector-counts")
def recbole_collector_counts() -> None:
    import torch
    from recbole.evaluator.collector import Collector, DataStruct

    like: Any = SimpleNamespace(data_struct=DataStruct())
    held = {"rec.items": torch.tensor([[1]]), "data.num_items": 3, "data.count_items": {1: 2}}
    for key, value in held.items():
        like.data_struct.set(key, value)
    found = Collector.get_data_struct(like)
    assert [found.get(key) for key in held] == list(held.values())


@probe("hyperopt-generator")
def hyperopt_generator() -> None:
    from recbole.trainer import HyperTuning

    def objective(values: Any, files: Any) -> dict[str, Any]:
        score = -values["a"]
        return {"model": "M", "best_valid_score": score, "valid_score_bigger": True, **results}

    results = {"best_valid_result": {}, "test_result": {}}
    tuning = HyperTuning(objective, params_dict={"choice": {"a": [1, 2], "b": [3, 4]}})
    tuning.run()
    assert sorted(tuning.params_list) == ["a:1, b:3", "a:1, b:4", "a:2, b:3", "a:2, b:4"]
    assert tuning.best_params["a"] == 1


@probe("torchvision-nms")
def torchvision_nms() -> None:
    importlib.import_module("torchvision")


def main() -> None:
    errors: dict[str, str] = {}
    for name, check in PROBES.items():
        try:
            check()
        except Exception as error:
            errors[name] = f"{type(error).__name__}: {error}"
        else:
            errors[name] = ""
    active = [patch.name for patch in recbole_mm.compat.active_patches()] if PATCHED else []
    print(json.dumps({"errors": errors, "active": active}))


main()
