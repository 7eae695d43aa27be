"""RecBole's configuration with our layers, checked keys and values, and no look at ``sys.argv``."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole.config import Config as RecBoleConfig
from recbole.utils import ModelType

from recbole_mm.config.check import check_values
from recbole_mm.config.effect import without_effect
from recbole_mm.config.evaluation import check_eval_args, check_metrics, find_metric, settle_valid_metric
from recbole_mm.config.family import adapt, family_defaults, no_negatives, takes_no_negatives
from recbole_mm.config.fields import field_problems
from recbole_mm.config.header import Header, read_header
from recbole_mm.config.known import hyper_parameters, strict_keys, unknown_keys
from recbole_mm.config.mask import settle_mask
from recbole_mm.config.properties import ConfigLoader, load_internal, load_user, recbole_dir
from recbole_mm.config.recbole_cdr import refuse_recbole_cdr
from recbole_mm.config.requirements import check_libraries
from recbole_mm.config.values import parse_cli, parse_value
from recbole_mm.errors import WrongUse
from recbole_mm.files import at_home, dataset_folder, properties_dir
from recbole_mm.model import defaults_of, get_model, model_spec
from recbole_mm.model.traits import pretrains, trait
from recbole_mm.run.model_key import describe
from recbole_mm.run.spec import RunSpec, relative_paths
from recbole_mm.serialize import readable

_CLI, _DICT = "command line", "config_dict"


class Config(RecBoleConfig):
    """RecBole's ``Config``, from a model, a data set, files, a dict and the arguments of a command line.

    Layers, later wins: RecBole's overall.yaml, ours, the family of the model, RecBole's and our yaml of the model (or
    of the one that it extends), those of the data set, RecBole's quick-start settings, ``<dataset>.yaml`` beside the
    data, what depends on the fields of the data (``family.adapt``), config files, ``config_dict``, ``cli_args``.

    Attributes:
        sources: key -> where its value was given (a file, "config_dict" or "command line").
        model_spec: the model as it was named (a user's ``file.py:Class``, where ``model`` is the class's name).
        notes: a sentence for each default that was chosen and for each key without effect, of which one should know.

    Raises:
        WrongUse: one line that names the key, where it was given and what to do.
    """

    def __init__(
        self,
        model: str | type | None = None,
        dataset: str | None = None,
        config_file_list: Sequence[str | Path] | None = None,
        config_dict: Mapping[str, Any] | None = None,
        cli_args: Sequence[str] = (),
        typed: bool = False,
    ) -> None:
        self.sources: dict[str, str] = {}
        self.notes: list[str] = []
        self._loaded: list[tuple[str, dict[str, Any]]] = []
        self._cli_args, self._typed = list(cli_args), typed
        self._cli_texts: dict[str, str] = {}
        if isinstance(config_file_list, (str, Path)):
            config_file_list = [config_file_list]
        super().__init__(model, dataset, config_file_list, config_dict)
        self.pretrains = pretrains(self.model_class)
        check_libraries(self.model_class)
        self.notes += without_effect(self)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "model_class": None, "model_spec": model_spec(self.model_spec)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, model_class=get_model(state["model_spec"]))

    @classmethod
    def of(cls, spec: RunSpec) -> Config:
        """The configuration of a run."""
        return cls(spec.model, spec.dataset, None, spec.config_dict(), typed=True)

    @property
    def spec(self) -> RunSpec:
        """The run that is configured here, without its key."""
        given = relative_paths(readable(self.external_config_dict))
        given = {key: value for key, value in given.items() if key not in ("model", "dataset")}
        return RunSpec.of(model_spec(self.model_spec), self.dataset, {**given, "seed": self["seed"]})

    @property
    def home(self) -> type:
        """The class whose defaults the model starts from (`recbole_mm.model.defaults_of`)."""
        return defaults_of(self.model_class)

    def trait(self, name: str) -> Any:
        """What the model says of itself (`recbole_mm.model.traits`)."""
        return trait(self.model_class, name)

    # --- what was given ---

    def compatibility_settings(self) -> None:
        """RecBole sets names that numpy 2 lost; ``recbole_mm.compat`` has done so already."""

    def _init_parameters_category(self) -> None:
        super()._init_parameters_category()
        # RecBole appends to its own module's lists: one run's data set would change the next run
        self.parameters: dict[str, list[str]] = {name: list(keys) for name, keys in self.parameters.items()}

    def _build_yaml_loader(self) -> type:
        return ConfigLoader

    def _load_config_files(self, file_list: Iterable[str | Path] | None) -> dict[str, Any]:
        settings: dict[str, Any] = {}
        for file in file_list or ():
            loaded = load_user(file)
            settings.update(loaded)
            self.sources.update(dict.fromkeys(loaded, str(file)))
        return settings

    def _load_variable_config_dict(self, config_dict: Mapping[str, Any] | None) -> dict[str, Any]:
        settings = dict(config_dict or {})
        odd = [key for key in settings if not isinstance(key, str)]
        if odd:
            raise WrongUse(f"config_dict: key {odd[0]!r} is not text")
        self.sources.update(dict.fromkeys(settings, _DICT))
        # a copy: RecBole writes into the nested mappings
        return self._convert_config_dict(copy.deepcopy(settings))

    def _convert_config_dict(self, config_dict: dict[str, Any]) -> dict[str, Any]:
        """Text to values, unless they are typed. RecBole runs it through ``eval``."""
        if self._typed:
            return config_dict
        return {key: parse_value(v) if isinstance(v, str) else v for key, v in config_dict.items()}

    def _load_cmd_line(self) -> dict[str, Any]:
        settings, self._cli_texts = parse_cli(self._cli_args)
        self.sources.update(dict.fromkeys(settings, _CLI))
        return settings

    # --- model and data set ---

    def _get_model_and_dataset(self, model: Any, dataset: Any) -> tuple[str, type, str]:
        given = self.external_config_dict
        given.update(at_home(refuse_recbole_cdr(given, self.sources)))
        model = given.get("model") if model is None else model
        dataset = given.get("dataset") if dataset is None else dataset
        for value, what, key in ((model, "model", "model"), (dataset, "data set", "dataset")):
            if value is None:
                raise WrongUse(f"no {what} given: --{key}=NAME, or '{key}' in a file, dict or call")
        self.model_spec = model
        model_class = get_model(model)
        if not isinstance(getattr(model_class, "type", None), ModelType):
            name = model_class.__name__
            raise WrongUse(f"model {name} has no `type`: subclass one of RecBole's recommenders")
        name, root = dataset_folder(str(dataset), given.get("data_path"))
        given.update({"data_path": root} if root else {})
        return model_class.__name__, model_class, name

    # --- layers ---

    def _update_internal_config_dict(self, file: str) -> dict[str, Any]:
        settings = load_internal(Path(file))
        self._loaded.append((os.path.normpath(file), settings))
        self.internal_config_dict.update(settings)
        return settings

    def _load_internal_config_dict(self, model: str, model_class: type, dataset: str) -> None:
        home = self.home.__name__
        super()._load_internal_config_dict(home, model_class, dataset)
        rooms = ("overall", "model", "dataset", "quick_start_config")
        layers: dict[str, dict[str, Any]] = {room: {} for room in rooms}
        for file, settings in self._loaded:
            room = Path(file).parent.name
            layers[room if room in layers else "overall"].update(settings)
        ours = properties_dir()
        user_file = self._folder(layers) / f"{dataset}.yaml"
        user = load_user(user_file) if user_file.is_file() else {}
        merged: dict[str, Any] = {}
        for layer in (
            layers["overall"],
            load_internal(ours / "overall.yaml"),
            family_defaults(model_class),
            # RecBole spells the files of its tree models in lower case and does not find them
            layers["model"] or load_internal(recbole_dir() / f"properties/model/{home.lower()}.yaml"),
            load_internal(ours / f"model/{home}.yaml"),
            layers["dataset"],
            load_internal(ours / f"dataset/{dataset}.yaml"),
            layers["quick_start_config"],
        ):
            merged.update(copy.deepcopy(layer))
        merged["MODEL_TYPE"] = model_class.type  # type: ignore[attr-defined]  # checked above
        self._check_given(user, dict.fromkeys(user, str(user_file)), merged)
        merged.update(user)
        self._check_given(self.external_config_dict, self.sources, merged)
        header = self._header(merged)
        changes, self.notes = adapt(merged, self.external_config_dict, model_class, header)
        self.internal_config_dict = {**merged, **changes}
        given = {**user, **self.external_config_dict}
        self.complain(field_problems(self.internal_config_dict, given, header))

    def _folder(self, layers: Mapping[str, Mapping[str, Any]]) -> Path:
        """Where the atomic files are: for ml-100k RecBole's wheel, unless a person has a folder of that name."""
        given = self.external_config_dict.get("data_path")
        folder = Path(str(given or layers["overall"]["data_path"])) / self.dataset
        if self.dataset == "ml-100k" and not (given and folder.is_dir()):
            return recbole_dir() / "dataset_example" / self.dataset
        return folder

    def _header(self, defaults: Mapping[str, Any]) -> Header:
        merged = {**defaults, **self.external_config_dict}
        folder, name = self._folder({"overall": defaults}), self.dataset
        if merged.get("domains"):  # several data sets side by side, with the same fields
            name = str(merged["domains"][0])
            folder = folder.parent / name
        return read_header(folder, name, merged)

    # --- checks ---

    def _check_given(
        self, given: dict[str, Any], sources: Mapping[str, str], defaults: Mapping[str, Any]
    ) -> None:
        """Keys and values of what was given from outside; replaces values by those the code wants."""
        unknown = unknown_keys(given, defaults, self.model_class)
        self.complain(
            [f"unknown key '{key}' ({sources.get(key, _DICT)}){hint}" for key, hint in unknown.items()]
        )
        described = partial(describe, model=self.home.__name__, own=hyper_parameters(self.home))
        texts = self._cli_texts if given is self.external_config_dict else {}
        self.complain(check_values(given, defaults, sources, texts, strict_keys(self.home), described))

    def complain(self, problems: list[str]) -> None:
        """Raise ``WrongUse`` with what is wrong, or warn where ``strict_config`` is off."""
        if not problems:
            return
        if self.external_config_dict.get("strict_config", True) is not False:
            raise WrongUse("; ".join(problems))
        for problem in problems:
            getLogger("recbole_mm.config").warning(problem)

    # --- RecBole's settings that follow from others ---

    def _get_final_config_dict(self) -> dict[str, Any]:
        final = {**copy.deepcopy(self.internal_config_dict), **copy.deepcopy(self.external_config_dict)}
        if no_negatives(final.get("train_neg_sample_args")) or takes_no_negatives(self.model_class):
            final["train_neg_sample_args"] = None
        return final

    def _set_default_parameters(self) -> None:
        final = self.final_config_dict
        ours = final["evaluator"] == "mm"
        metrics, ranking, value = check_metrics(final["metrics"], final["evaluator"])
        source, defaults = self.sources.get("eval_args", "defaults"), self.internal_config_dict["eval_args"]
        check_eval_args(final["eval_args"], source, defaults, self.model if ranking else None)
        modes = final["eval_args"].get("mode")
        # AUC over all scores is ours to compute beside ranking metrics; RecBole sees those it can take
        final["metrics"] = [name for name in ranking if not find_metric(name).ours]
        if not final["metrics"]:
            pooled = ours and modes == "full" and all(find_metric(name).reads == "scores" for name in value)
            final["metrics"] = ["NDCG"] if ranking or pooled else value
        topk = final["topk"]
        if isinstance(topk, bool) or not isinstance(topk, (int, list)) or not topk:
            raise WrongUse(f"topk: expected int or list, got {topk!r}")
        final["mask_seen"] = settle_mask(final, final["MODEL_TYPE"] == ModelType.SEQUENTIAL)
        try:
            super()._set_default_parameters()
        except (ValueError, TypeError, RuntimeError, KeyError, AttributeError) as error:
            raise WrongUse(f"{self.model}: {' '.join(str(error).split())}") from error
        given = set(self.external_config_dict)
        final["valid_metric"], final["metrics"], final["topk"] = settle_valid_metric(
            final["valid_metric"], metrics, topk if isinstance(topk, list) else [topk], given
        )
        watched = find_metric(final["valid_metric"].partition("@")[0])
        by_loss = pretrains(self.model_class) and final.get("pretrain_valid") == "loss"
        final["valid_metric_bigger"] = not (watched.smaller_is_better or by_loss)
        final["data_path"] = str(self._folder({"overall": self.internal_config_dict}))

    def _set_train_neg_sample_args(self) -> None:
        try:
            super()._set_train_neg_sample_args()
        except ValueError as error:
            raise WrongUse(str(error)) from error

    def _init_device(self) -> None:
        """RecBole's choice of device; hides no GPU from a process that uses none or was told which to use."""
        final, before = self.final_config_dict, os.environ.get("CUDA_VISIBLE_DEVICES")
        if "local_rank" not in final:
            if "gpu_id" not in self.external_config_dict and before is not None:
                final["gpu_id"] = before
            if not final["use_gpu"]:
                final["gpu_id"] = ""
        super()._init_device()
        if final["device"].type == "cpu":
            if before is None:
                os.environ.pop("CUDA_VISIBLE_DEVICES", None)
            else:
                os.environ["CUDA_VISIBLE_DEVICES"] = before
