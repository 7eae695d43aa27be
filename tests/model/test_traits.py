from __future__ import annotations

import pytest
import torch

from recbole_mm.model.traits import trait


class Silent(torch.nn.Linear):
    def __init__(self) -> None:
        super().__init__(2, 1)


class Loud(Silent):
    multimodal = True

    @property
    def loss_terms(self) -> tuple[str, ...]:
        return ("a", "b")

    def diagnostics(self) -> dict[str, float]:
        return {"norm": 1.0}


def test_a_silent_model_has_the_defaults() -> None:
    model = Silent()
    assert trait(model, "loss_terms") == ()
    assert trait(model, "diagnostics")() == {}
    assert not trait(Silent, "multimodal") and not trait(model, "triplet_batches")
    (group,) = trait(model, "parameter_groups")(0.1)
    assert group["lr"] == 0.1
    assert {id(p) for p in group["params"]} == {id(p) for p in model.parameters()}


def test_what_a_model_says_wins() -> None:
    assert trait(Loud, "multimodal")
    assert trait(Loud(), "loss_terms") == ("a", "b")
    assert trait(Loud(), "diagnostics")() == {"norm": 1.0}


@pytest.mark.parametrize("name", ["multi_modal", "__doc__"])
def test_an_undeclared_name_is_an_error(name: str) -> None:
    with pytest.raises(AttributeError, match="no trait"):
        trait(Loud, name)
