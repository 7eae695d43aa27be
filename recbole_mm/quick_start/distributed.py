"""One run on several workers (``run --engine ray --workers N``): Ray Train starts them, torch's DDP joins them.

The driver reads the data once and shares them; the first worker writes the run's folder, which all machines must see.
A worker that dies takes the others with it; all start again from the last epoch. Tables of embeddings that are larger
than one machine are out of scope: every worker holds the whole model.
"""

from __future__ import annotations

import argparse
import os
import shutil
from dataclasses import dataclass, replace
from functools import partial

import torch

from recbole_mm.config import Config
from recbole_mm.errors import Failure, WrongUse
from recbole_mm.quick_start.cluster import connected
from recbole_mm.quick_start.fingerprint import run_key
from recbole_mm.quick_start.pretrain_vectors import filled
from recbole_mm.quick_start.session import Prepared, Session, shared_data
from recbole_mm.quick_start.showcase import leave_showcase
from recbole_mm.run.folder import RunFolder
from recbole_mm.run.spec import RunSpec
from recbole_mm.trainer import Workers, read_last, trained_plainly

#: how often a run is started again after a worker has died
RESTARTS = 3
ERROR = "error.txt"


@dataclass(frozen=True)
class Group:
    """The workers of a run.

    Attributes:
        size: how many.
        cpus: cores and threads of each.
        gpu: whether each has a GPU.
        address: of a cluster; None: this machine.
    """

    size: int
    cpus: int = 1
    gpu: bool = False
    address: str | None = None


def run_distributed(config: Config, group: Group, resume: str | None = None) -> RunFolder:
    """Train and test on several workers; the folder of the run. A pre-training before it is made here, once.

    Raises:
        WrongUse: the model has a training loop of its own, the workers do not fit, or ``resume`` has no ``last.pth``.
        Failure: it failed on a worker, or workers died again and again.
    """
    require_plain(config)
    if resume := resume or config["resume"]:
        read_last(str(RunFolder.open(resume).last))  # without one the workers would begin anew, in its place
    with connected(group.address):
        import ray
        from ray import cloudpickle
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        there = ray.cluster_resources()
        if group.size * group.cpus > there.get("CPU", 0):
            raise WrongUse(
                f"--workers {group.size} of {group.cpus} cores: Ray has {there.get('CPU', 0):g} in all"
            )
        key = run_key(config, config["seed"])
        config = filled(config, Session)
        data = ray.put(shared_data(config))
        folder = RunFolder.open(resume) if resume else _new_folder(config, key)
        (folder.path / ERROR).unlink(missing_ok=True)
        storage = folder.path.resolve() / "ray"
        spec = folder.read_spec()
        work = cloudpickle.dumps((config, spec, data))
        resources = {"CPU": group.cpus, **({"GPU": 1} if group.gpu else {})}
        trainer = TorchTrainer(
            partial(_train, work, str(folder.path.resolve()), os.getcwd(), group.cpus),
            scaling_config=ScalingConfig(
                num_workers=group.size, use_gpu=group.gpu, resources_per_worker=resources
            ),
            torch_config=TorchConfig(backend="nccl" if group.gpu else "gloo"),
            run_config=RunConfig(
                name="run", storage_path=str(storage), failure_config=FailureConfig(max_failures=RESTARTS)
            ),
        )
        try:
            trainer.fit()
        except Exception as error:
            raise _failure(folder, error) from error
        finally:
            shutil.rmtree(storage, ignore_errors=True)
    return folder


def require_plain(config: Config) -> None:
    """Raise ``WrongUse`` where RecBole's plain ``Trainer`` does not train the model."""
    if not trained_plainly(config, config.model_class):
        raise WrongUse(
            f"--workers: {config['model']} is not trained by RecBole's plain trainer, so it runs in one process alone"
        )
    if config.trait("one_process"):
        raise WrongUse(
            f"--workers: {config['model']}'s loss is over a whole batch, so it runs in one process alone"
        )
    if config["worker"]:
        raise WrongUse("--workers: batches must be made in the process that trains; leave `worker` out")
    if config["loader"] == "fast":
        raise WrongUse("--workers: loader: fast deals no batches out to workers; use loader: recbole")
    if config["evaluator"] == "recbole":
        raise WrongUse(
            "--workers: evaluator: recbole averages coverage and Gini wrongly over processes; use mm"
        )


def _new_folder(config: Config, key: str) -> RunFolder:
    return RunFolder.create(config["checkpoint_dir"], replace(config.spec, key=key))


def _failure(folder: RunFolder, error: Exception) -> Failure:
    file = folder.path / ERROR
    if file.is_file():
        return Failure(file.read_text(encoding="utf-8").strip())
    text = " ".join(str(error).split())[:300]
    return Failure(f"{folder.path}: a worker died {RESTARTS + 1} times; --resume goes on ({text})")


def _train(work: bytes, place: str, working: str, threads: int) -> None:
    """What each worker does."""
    import ray
    import ray.train
    from ray import cloudpickle

    if os.path.isdir(working):
        os.chdir(working)  # from where a file of a model is named
    config, spec, data = cloudpickle.loads(work)
    context = ray.train.get_context()
    folder = RunFolder(place)
    if (folder.path / ERROR).is_file():  # it would go wrong again
        raise Failure((folder.path / ERROR).read_text(encoding="utf-8"))
    torch.set_num_threads(threads)
    workers = Workers(context.get_world_rank(), context.get_world_size())
    try:
        train_as(workers, Prepared(config, ray.get(data).unpack()), spec, folder)
    except (WrongUse, Failure) as error:
        (folder.path / ERROR).write_text(str(error), encoding="utf-8")
        raise


def train_as(workers: Workers, prepared: Prepared, spec: RunSpec, folder: RunFolder) -> Session:
    """Train and test as one of several workers, in a process group that is there; the first writes ``folder``."""
    session = Session.build(spec, prepared=prepared)
    trainer = session.trainer
    trainer.workers = workers
    if workers.rank == 0:
        trainer.write_to(folder)
    begun = workers.of_first(folder.last.is_file())
    session.run(resume=folder.path if begun else None)
    if workers.rank == 0:
        leave_showcase(session)
    return session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``run`` on several workers."""
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="ray: several workers")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes that train together (--engine ray)"
    )
    parser.add_argument("--cpus", type=int, help="cores and threads of a worker (default 1)")
    parser.add_argument("--address", help="of a Ray cluster: HOST:PORT or auto (default: this machine)")


def group_of(args: argparse.Namespace, config: Config) -> Group | None:
    """The workers that were asked for, None for one process. Raises ``WrongUse`` on what does not fit."""
    if args.engine != "ray":
        for flag in ("workers", "cpus", "address"):
            if getattr(args, flag) is not None:
                raise WrongUse(f"--{flag} goes with --engine ray")
        return None
    cpus = 1 if args.cpus is None else args.cpus
    if args.workers is None or args.workers < 1 or cpus < 1:
        raise WrongUse("--engine ray: say how many processes train together: --workers 2")
    return Group(args.workers, cpus, config["device"].type == "cuda", args.address)
