"""Toy data and the contract every model passes; for our tests and for authors of other models.

>>> class TestMyModel(ModelContract):
...     model = "path/to/my_model.py:MyModel"
"""

from recbole_mm.testing.contract import ModelContract
from recbole_mm.testing.steps import Built, gradients, recorded_steps
from recbole_mm.testing.toy import MODALITIES, write_toy

__all__ = ["MODALITIES", "Built", "ModelContract", "gradients", "recorded_steps", "write_toy"]
