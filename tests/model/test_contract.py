"""Every model of ours, found by itself, passes the contract; those that know domains pass it on 2 and 3 too."""

from __future__ import annotations

from recbole_mm.model import model_names
from recbole_mm.testing import ModelContract

OURS = {name: where for name, where in model_names().items() if where.startswith("recbole_mm.model.")}
CROSS_DOMAIN = {"CMC", "GCE"}

for _name in OURS:
    _settings = {"model": _name}
    globals()[f"Test{_name}"] = type(f"Test{_name}", (ModelContract,), _settings)
    for _domains in (2, 3) if _name in CROSS_DOMAIN else ():
        globals()[f"Test{_name}On{_domains}Domains"] = type(
            f"Test{_name}On{_domains}Domains", (ModelContract,), {**_settings, "domains": _domains}
        )
del ModelContract  # else pytest collects the abstract contract itself


def test_all_models_are_found() -> None:
    assert {"CMC", "VBPR"} <= set(OURS)
    assert set(OURS) >= CROSS_DOMAIN
