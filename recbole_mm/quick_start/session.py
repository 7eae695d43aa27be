"""One run, assembled: the only place that seeds and builds configuration, data, model and trainer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from logging import getLogger
from pathlib import Path
from typing import Any

import pandas as pd
from recbole.utils import init_seed

from recbole_mm.config import Config, check_dataset, fit_to_dataset, missing_keys
from recbole_mm.data import create_dataset, loaders_of, split_parts
from recbole_mm.data.dataloader import of_interactions
from recbole_mm.data.shared import Packed, SharedData, share, without_test
from recbole_mm.errors import WrongUse
from recbole_mm.files import check_folder
from recbole_mm.model.traits import trait
from recbole_mm.plug import finetune, plug
from recbole_mm.quick_start.embedded import ensure_embedded_stores
from recbole_mm.quick_start.fingerprint import run_key
from recbole_mm.quick_start.machine import Usage, file_hashes
from recbole_mm.quick_start.pretrain_vectors import of_a_run, with_pretrained
from recbole_mm.quick_start.record import run_record
from recbole_mm.report.card import write_card
from recbole_mm.run.folder import BEST, RunFolder, RunResult
from recbole_mm.run.question import Question
from recbole_mm.run.spec import RunSpec
from recbole_mm.serve.recommend import Recommender
from recbole_mm.trainer import (
    Callback,
    check_same_data,
    get_trainer,
    load_model,
    read_checkpoint,
    start_pairs,
    warm_start,
)
from recbole_mm.trainer.tracking import KEYS as TRACKED
from recbole_mm.trainer.tracking import trackers

_log = getLogger("recbole_mm.run")


def require_files(config: Config) -> None:
    """The data set's files are there and the embedded modalities built; a missing one is one clear line."""
    check_dataset(config)
    ensure_embedded_stores(config)


def load_dataset(config: Config) -> Any:
    """The data set of ``config``, to which those settings are fitted that depend on its size."""
    require_files(config)
    dataset = create_dataset(config)
    fit_to_dataset(config, dataset)
    return dataset


def shared_data(config: Config, test: bool = True) -> Packed:
    """The data of ``config``, read and split, for processes that open no file of them; ``test``: with its rows."""
    dataset = load_dataset(config)
    dataset.file_hashes = file_hashes(config)
    parts = split_parts(config, dataset)
    return share(dataset, parts) if test else share(*without_test(dataset, parts))


@dataclass(frozen=True)
class Prepared:
    """What a session is built of where no file is to be read: a configuration, and a data set that was split by it."""

    config: Config
    data: SharedData


class Session:
    """A run with all its parts, to train, to evaluate, to look into.

    >>> spec = RunSpec("BPR", "ml-100k", {"epochs": 1, "show_progress": False}, seed=1)
    >>> result = Session.build(spec).run()  # a folder below saved/
    >>> session = Session.open(max(Path("saved").glob("BPR-ml-100k-1-*")))
    >>> session.evaluate() == result.record["test_result"]
    True

    Attributes:
        spec: what was asked for, with its key.
        config, dataset, train_data, valid_data, test_data, model, trainer: as in RecBole.
    """

    def __init__(
        self,
        spec: RunSpec,
        callbacks: Sequence[Callback] = (),
        test: bool = True,
        prepared: Prepared | None = None,
        writes: bool = True,
    ) -> None:
        self.began, self.usage = time.perf_counter(), Usage()
        config = Config.of(spec) if prepared is None else prepared.config
        filled = with_pretrained(config, spec, type(self))
        self.config = config = config if filled is spec else Config.of(filled)
        if writes:
            check_folder("checkpoint_dir", config["checkpoint_dir"])
        init_seed(config["split_seed"], config["reproducibility"])
        if prepared is None:
            self.dataset = load_dataset(config)
            parts = split_parts(config, self.dataset)
        else:
            self.dataset, parts = prepared.data.of(config)
            fit_to_dataset(config, self.dataset)
        if not test:
            self.dataset, parts = without_test(self.dataset, parts)
        _log.info(
            "%s on %s: %d users, %d items, %d interactions",
            config["model"], config["dataset"], self.dataset.user_num - 1, self.dataset.item_num - 1,
            self.dataset.inter_num,
        )  # fmt: skip
        for note in config.notes:
            _log.info("%s", note)
        getLogger().info(self.dataset)
        self.train_data, self.valid_data, self.test_data = loaders_of(config, self.dataset, parts)

        init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
        self.model = _model(config, self.train_data._dataset)
        self.plugged = plug(config, self.train_data._dataset, self.model)
        self.finetuned = finetune(config, self.train_data._dataset, self.model)
        getLogger().info(self.model)
        for line in trait(self.model, "without_effect")():
            _log.info("%s", line)
        name = f"{spec.label or config['model']}-{config['dataset']}-{config['seed']}"
        self._trackers = list(trackers(config, name))  # RecBole's trainer looks for a run of Weights & Biases
        self.trainer = get_trainer(config, config.model_class)(config, self.model)
        self.spec = self.trainer.spec = replace(
            config.spec, label=spec.label, key=spec.key or run_key(config, config["seed"])
        )
        self.trainer.callbacks += [self.usage, *self._trackers, *callbacks]
        self.trainer.know_training(self.train_data)

    @classmethod
    def build(
        cls,
        spec: RunSpec,
        callbacks: Sequence[Callback] = (),
        *,
        test: bool = True,
        prepared: Prepared | None = None,
    ) -> Session:
        """Assemble a run, with the weights of ``spec.init_from`` where it names another.

        Args:
            spec: the run.
            callbacks: who hears of it.
            test: False leaves no row of the test in it, so that nothing can be chosen by it.
            prepared: its configuration and data, where they are there already; no file of the data is read then.

        Raises:
            WrongUse: the configuration, the data or the other run do not serve; one line says why.
        """
        session = cls(spec, callbacks, test, prepared)
        if spec.init_from:
            start, part = str(_weights(spec.init_from)), session.train_data._dataset
            session.trainer.started_from = start_pairs(part, start)
            warm_start(session.model, part, start)
        return session

    @classmethod
    def open(cls, run: str | Path) -> Session:
        """A trained model with its data, from the folder of its run or from a checkpoint.

        Raises:
            WrongUse: there is none, or the data are not those of the run any more.
        """
        weights = _weights(run)
        state = read_checkpoint(weights)
        if "spec" not in state:
            raise WrongUse(
                f"{weights} does not say how it was made (by RecBole without recbole_mm?); train it again"
            )
        spec = RunSpec.from_dict(state["spec"])
        untracked = {key: value for key, value in spec.settings.items() if key not in TRACKED}
        # the run may lie where somebody else alone may write
        session = cls(replace(spec, settings=of_a_run(untracked)), writes=False)
        check_same_data(state, of_interactions(session.train_data)._dataset, str(weights))
        load_model(session.model, state, session.config["device"], str(weights))
        session.model.eval()
        return session

    def evaluate(self, part: str = "test") -> dict[str, float]:
        """Metrics of the model as it is on ``valid`` or ``test``; tables are in ``trainer.eval_result``."""
        loader = {"valid": self.valid_data, "test": self.test_data}[part]
        if loader is None:
            raise WrongUse(f"evaluate: the split leaves no row to {part}")
        return dict(self.trainer.evaluate(loader, load_best_model=False))

    @cached_property
    def recommender(self) -> Recommender:
        """Lists for people from the model as it is."""
        loaders = (self.train_data, self.valid_data, self.test_data)
        return Recommender(self.config, self.model, [loader and loader._dataset for loader in loaders])

    def recommend(self, users: Sequence[str] | None = None, k: int = 10, **options: Any) -> pd.DataFrame:
        """The ``k`` best items for users; see `Recommender.recommend`."""
        return self.recommender.recommend(users, k, **options)

    def run(
        self,
        *,
        resume: str | Path | None = None,
        test: bool = True,
        saved: bool = True,
        show_progress: bool = False,
    ) -> RunResult:
        """Train, read the test set once, and write what came out.

        Args:
            resume: the folder of a run to go on from.
            test: False never reads the test set (search on validation).
            saved: write the run's folder and test with the best weights; else test with the last (as RecBole).
            show_progress: bars for training and evaluation.
        """
        failed = True
        try:
            result = self._run(resume or self.config["resume"], test, saved, show_progress)
            failed = False
            return result
        finally:
            for tracker in self._trackers:
                tracker.close(failed)

    def _run(self, resume: str | Path | None, test: bool, saved: bool, show_progress: bool) -> RunResult:
        trainer, config = self.trainer, self.config
        if resume:
            trainer.resume(resume, self.train_data, self.valid_data)
        best_score, best_result = trainer.fit(
            self.train_data, self.valid_data, saved=saved, show_progress=show_progress
        )
        best_score = best_score if best_result else None  # RecBole's worst where nothing was validated
        scores = {"best_valid_score": best_score, "best_valid_result": best_result, "test_result": None}
        queries = groups = None
        if test and self.test_data is not None:
            scores["test_result"] = trainer.evaluate(
                self.test_data, load_best_model=saved, show_progress=show_progress
            )
            for tracker in self._trackers:
                tracker.on_test(scores["test_result"])
            if trainer.eval_result is not None:
                queries, groups = trainer.eval_result.queries, trainer.eval_result.groups
        result = RunResult(run_record(self, scores), queries, groups, trainer.history)
        if trainer.folder is not None:
            with trainer.folder.locked():
                trainer.folder.finish(result, config["keep_checkpoints"])
            write_card(trainer.folder.path, result.record)
        return result

    def question(self) -> Question | None:
        """What the test will ask; None where that shows when it is evaluated (drawn lists), or RecBole evaluates."""
        return None if self.test_data is None else self.trainer.question(self.test_data)


def _model(config: Config, dataset: Any) -> Any:
    """The model on its device. Raises ``WrongUse`` on a key that it reads and nobody gave, where it fails by that."""
    model_class: Any = config.model_class
    missing = missing_keys(config)
    try:
        model = model_class(config, dataset).to(config["device"])
    except (TypeError, ValueError, RuntimeError, AttributeError, KeyError) as error:
        if not missing or isinstance(error, WrongUse):
            raise
        why = " ".join(str(error).split())[:200]
        raise WrongUse(f"{missing[0]} ({type(error).__name__}: {why})") from error
    for sentence in missing:
        _log.warning("%s (it is None)", sentence)
    return model


def _weights(run: str | Path) -> Path:
    """The best checkpoint of a run folder, or the checkpoint itself."""
    path = Path(run).expanduser()
    if path.is_file():
        return path
    folder = RunFolder.open(path)
    name = folder.result().record["files"].get("best") if folder.finished else BEST
    if name is None or not (folder.path / name).is_file():
        raise WrongUse(f"{folder.path}: its weights were not kept, or no epoch has ended yet")
    return folder.path / name
