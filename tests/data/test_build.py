from __future__ import annotations

import pickle
from typing import Any

import pytest

from recbole_mm.config import Config
from recbole_mm.data import MultimodalDataset, create_dataset


@pytest.mark.parametrize(
    ("model", "settings", "name"),
    [
        ("BPR", {}, "MultimodalDataset"),
        ("CFKG", {}, "MultimodalKnowledgeBasedDataset"),
        ("BPR", {"domain_rule": "genre"}, "CrossDomainDataset"),
    ],
)
def test_the_class_of_a_data_set_is_found_by_name(model: str, settings: dict[str, Any], name: str) -> None:
    made = [type(create_dataset(Config(model, "ml-100k", config_dict=settings))) for _ in range(2)]
    assert made[0] is made[1] and made[0].__name__ == name
    assert pickle.loads(pickle.dumps(made[0])) is made[0]
    assert (made[0] is MultimodalDataset) == (name == "MultimodalDataset")
