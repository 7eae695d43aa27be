from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Small tensors: more threads would only wait for one another."""
    import torch

    torch.set_num_threads(1)
