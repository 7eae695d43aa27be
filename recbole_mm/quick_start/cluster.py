"""Ray: found or started, with our code on every machine, and left as it was."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import recbole_mm
from recbole_mm.errors import WrongUse
from recbole_mm.files import properties_dir

_STARTS = 4


def require_ray(asked_by: str) -> Any:
    """The library. Raises ``WrongUse`` with the extra where it is missing."""
    try:
        import ray
        import ray.tune
    except ImportError as error:
        raise WrongUse(f'{asked_by} needs Ray: pip install "recbole_mm[ray]"') from error
    return ray


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """While open, Ray runs: the one this process has, a cluster, or one of its own on the cores it may use.

    Raises ``WrongUse`` where no cluster answers.
    """
    ray = require_ray("--engine ray")
    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    with tempfile.TemporaryDirectory() as packed:
        try:
            if address:
                environment = {"py_modules": [str(package(Path(packed)))]}
                ray.init(address=address, runtime_env=environment, **quiet)
            else:
                _start(ray, quiet)
        except (ConnectionError, ValueError) as error:
            raise WrongUse(f"--address {address}: no Ray cluster there ({error})") from error
        try:
            yield
        finally:
            ray.shutdown()


def _start(ray: Any, quiet: dict[str, Any]) -> None:
    """Ray on this machine's cores."""
    cores = len(os.sched_getaffinity(0))
    environment = {
        "env_vars": {"PYTHONPATH": _python_path()},
        "py_executable": shlex.quote(sys.executable),  # Ray puts it into a line for a shell as it is
    }
    for left in reversed(range(_STARTS)):
        try:
            ray.init(num_cpus=cores, include_dashboard=False, runtime_env=environment, **quiet)
            return
        except Exception as error:  # a busy machine takes longer than the 30 s that Ray allows
            ray.shutdown()
            if not left or "timed out" not in str(error):
                raise


def package(folder: Path) -> Path:
    """Our code with its yamls in ``folder``, as Ray ships it to machines that have RecBole and torch but not us."""
    ignored = shutil.ignore_patterns("__pycache__", "properties")
    target = folder / "recbole_mm"
    shutil.copytree(Path(recbole_mm.__file__).parent, target, ignore=ignored)
    shutil.copytree(properties_dir(), target / "properties", ignore=shutil.ignore_patterns("__pycache__"))
    return target


def _python_path() -> str:
    root = str(Path(recbole_mm.__file__).parents[1])
    return os.pathsep.join(
        dict.fromkeys([root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])
    )
