from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.context import BaseContext
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def processes() -> Iterator[BaseContext]:
    """Real processes that need not import torch and RecBole again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (HERE, HERE.parents[1]))))
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["trainer_runs"])
        yield context
