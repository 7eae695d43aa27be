"""From a configuration to loaders: RecBole's classes wherever they serve, ours where the model asks for them."""

from __future__ import annotations

import importlib
from logging import getLogger
from typing import Any

import numpy as np
from recbole.data import utils as recbole_data
from recbole.data.dataloader import FullSortEvalDataLoader, NegSampleEvalDataLoader, TrainDataLoader
from recbole.data.dataset import SequentialDataset
from recbole.utils import ModelType, init_seed

from recbole_mm.data.block import BlockTrainDataLoader, BlockTripletDataLoader
from recbole_mm.data.cross_domain import CrossDomainMixin, is_cross_domain
from recbole_mm.data.dataloader import (
    HistoryEvalDataLoader,
    ItemDataLoader,
    RowsDataLoader,
    TripletDataLoader,
)
from recbole_mm.data.dataset import MultimodalMixin
from recbole_mm.data.draws import DrawnEvalDataLoader, FixedDraws
from recbole_mm.data.part import eval_part
from recbole_mm.data.phase_sampler import (
    OtherItemSampler,
    PhaseSampler,
    create_kg_sampler,
    create_samplers,
)
from recbole_mm.data.sampler import DomainSampler, NegativeSampler
from recbole_mm.data.seen import report_cold
from recbole_mm.data.sequence import BY_PARTS, SequenceMixin
from recbole_mm.data.shifted import ShiftedDataLoader
from recbole_mm.data.ties import by_time
from recbole_mm.errors import WrongUse
from recbole_mm.serialize import class_of

_CLASS_OF_TYPE = {ModelType.SEQUENTIAL: "SequentialDataset", ModelType.KNOWLEDGE: "KnowledgeBasedDataset"}


_WITHOUT = (
    "no validation part: no early stopping, the last epoch is tested, and nothing may be chosen by its result",
    "no test part: nothing is tested",
)


def create_dataset(config: Any) -> Any:
    """Load, filter and remap the data set of ``config``; aligns modalities if the model uses them.

    Never reads or writes RecBole's pickled cache of data sets.
    """
    if config["save_dataset"] or config["dataset_save_path"]:
        raise WrongUse(
            "save_dataset, dataset_save_path: RecBole caches data sets as pickles; recbole_mm reads none"
        )
    classes = importlib.import_module("recbole.data.dataset")
    default = _CLASS_OF_TYPE.get(config["MODEL_TYPE"], "Dataset")
    names = (f"{config['model']}Dataset", f"{config.home.__name__}Dataset", default)
    recbole_class = next(getattr(classes, name) for name in names if hasattr(classes, name))
    mixin = CrossDomainMixin if is_cross_domain(config) else MultimodalMixin
    name = f"{mixin.__name__.removesuffix('Mixin')}{recbole_class.__name__}"
    bases: tuple[type, ...] = (mixin, recbole_class)
    if issubclass(recbole_class, SequentialDataset):
        bases = (SequenceMixin, *bases)
    dataset = class_of(name, bases, mixin.__module__)(config)
    if config.trait("multimodal"):
        dataset.load_modalities()
    return dataset


def data_preparation(config: Any, dataset: Any) -> tuple[Any, Any, Any]:
    """Training, validation and test loaders; None for validation or test where the split leaves it no row.

    The split and everything drawn while it is made depend on ``split_seed`` alone; ``seed`` decides the order of
    training rows and the negatives.
    """
    return loaders_of(config, dataset, split_parts(config, dataset))


def split_parts(config: Any, dataset: Any) -> list[Any]:
    """The data sets of training, validation and test, of which the last two may be empty."""
    if config["save_dataloaders"] or config["dataloaders_save_path"]:
        raise WrongUse("save_dataloaders, dataloaders_save_path: pickled loaders are not supported")
    _refuse_labels(config, dataset)
    _refuse_coarse_times(config, dataset)
    init_seed(config["split_seed"], config["reproducibility"])
    parts: list[Any] = dataset.build()
    if not len(parts[0]):
        raise WrongUse(
            f"the training part of {config['dataset']} is empty; see split, eval_args and the filters"
        )
    for part, without in zip(parts[1:], _WITHOUT, strict=True):
        if not len(part):
            getLogger("recbole_mm.data").warning(without)
    return [_positives(part) for part in parts] if config.pretrains else parts


def _positives(part: Any) -> Any:
    """``part`` without its rows of label 0, for a pre-training; its ``pairs`` stay those of the split."""
    if part.label_field not in part.inter_feat:
        return part
    return part.copy(part.inter_feat[part.inter_feat[part.label_field] > 0])


def loaders_of(config: Any, dataset: Any, parts: list[Any]) -> tuple[Any, Any, Any]:
    """The loaders of the parts, None for an empty one."""
    samplers = create_samplers(config, dataset, parts)
    train = _train_loader(config, dataset, parts[0], samplers[0])
    valid, test = (
        _eval_loader(config, eval_part(config, part, phase), sampler, phase) if len(part) else None
        for phase, part, sampler in zip(("valid", "test"), parts[1:], samplers[1:], strict=True)
    )
    # now, not in the middle of an epoch or when training has ended
    for loader in filter(None, (train, valid, test)):
        if hasattr(loader, "neg_sample_num") and hasattr(loader._sampler, "refuse_full"):
            loader._sampler.refuse_full(loader._dataset.inter_feat[dataset.uid_field].unique().numpy())
    report_cold(parts)
    return train, valid, test


def _refuse_labels(config: Any, dataset: Any) -> None:
    """Rows of label 0 are no positives, and only the mode ``labeled`` knows that. A warning in RecBole's scripts."""
    field, modes = dataset.label_field, set(config["eval_args"]["mode"].values()) - {"labeled"}
    if field not in dataset.inter_feat or not modes or config.pretrains:
        return
    labels = dataset.inter_feat[field]
    if not (negative := int((labels <= 0).sum())):
        return
    origin = f"threshold: {config['threshold']}" if config["threshold"] else f"LABEL_FIELD: {field}"
    problem = (
        f"{origin}: {negative} of {len(labels)} rows have label 0, and eval_args.mode {min(modes)} ranks them as "
        "positives; use mode: labeled with AUC and LogLoss, or keep the other rows alone (val_interval)"
    )
    config.complain([problem])


def _refuse_coarse_times(config: Any, dataset: Any) -> None:
    """Buckets of time have no order, and RecBole's ``TS`` reads no numerical feature. A warning in its scripts."""
    field, ordered = dataset.time_field, by_time(config) or config["MODEL_TYPE"] == ModelType.SEQUENTIAL
    if ordered and field in (config["discretization"] or {}):
        config.complain(
            [f"discretization: the order of time needs {field!r} as it is, not in buckets; leave it out"]
        )
    if by_time(config) and "TS" in config["eval_args"]["split"] and field in config["numerical_features"]:
        config.complain(
            [f"numerical_features: eval_args.split TS cuts by {field!r}, which may be none; leave it out"]
        )


def _eval_loader(config: Any, part: Any, sampler: Any, phase: str) -> Any:
    loader = _loader_class(config, phase)
    if loader is FullSortEvalDataLoader and part.sequence_split == BY_PARTS:
        loader = HistoryEvalDataLoader
    args = config[f"{phase}_neg_sample_args"]
    if "none" not in (args["distribution"], args["sample_num"]) and not config["resample_eval"]:
        sampler = FixedDraws(config, part, args["distribution"])
        loader = DrawnEvalDataLoader if loader is NegSampleEvalDataLoader else loader
    return loader(config, part, sampler, shuffle=False)


def _loader_class(config: Any, phase: str) -> Any:
    """RecBole's choice, which goes by the model's name: for a class that extends a model by that model's."""
    named = {
        "model": config.home.__name__,
        "MODEL_TYPE": config["MODEL_TYPE"],
        "eval_args": config["eval_args"],
    }
    return recbole_data.get_dataloader(named, phase)


def without_blocks(config: Any) -> str:
    """Why ``loader: fast`` changes nothing in a run of ``config``; ``""`` where it does."""
    if not config["single_spec"]:
        return "the processes of a run share its rows"
    if config.trait("item_batches"):
        return "it trains on items"
    if config.trait("triplet_batches"):
        return ""
    if config["MODEL_TYPE"] == ModelType.SEQUENTIAL and config["train_sequences"] == "shifted":
        return "it trains on windows (train_sequences: shifted)"
    if _loader_class(config, "train") is not TrainDataLoader:
        return "it does not train on rows of interactions alone"
    if config["transform"]:
        return "transform changes single batches"
    if config["train_neg_sample_args"].get("dynamic"):
        return "the model chooses its negatives batch by batch (dynamic)"
    return ""


def _is_fast(config: Any) -> bool:
    return config["loader"] == "fast" and not without_blocks(config)


def _train_sampler(config: Any, part: Any, sampler: Any) -> Any:
    """RecBole's sampler unless it is slow, would draw from other domains or look at validation and test rows."""
    args, fast, domains = config["train_neg_sample_args"], _is_fast(config), part.item_domain is not None
    repeatable = type(sampler) is OtherItemSampler
    own = domains if repeatable else type(sampler) is PhaseSampler and (fast or domains)
    if args["distribution"] != "none" and own:
        # numpy's global generator, as RecBole's samplers: its state is part of an exact resume
        bits = np.random.PCG64(config["seed"]) if fast else np.random.get_bit_generator()  # type: ignore[attr-defined]
        rng = np.random.Generator(bits)
        return DomainSampler(NegativeSampler.of_rows(part, args, rng, repeatable), sampler.used_ids)
    if args["distribution"] == "popularity":
        # RecBole's table counts all phases; what is no negative is the same
        if repeatable:
            return OtherItemSampler("train", part, "popularity", args["alpha"]).set_phase("train")
        return PhaseSampler(["train"], [part], "popularity", args["alpha"]).set_phase("train")
    return sampler


def _train_loader(config: Any, dataset: Any, part: Any, sampler: Any) -> Any:
    if config.trait("item_batches"):
        return ItemDataLoader(config, part, sampler, shuffle=config["shuffle"])
    fast = _is_fast(config)
    if config.trait("triplet_batches"):
        triplets = BlockTripletDataLoader if fast else TripletDataLoader
        return triplets(config, part, sampler, shuffle=config["shuffle"])
    sampler = _train_sampler(config, part, sampler)
    if getattr(part, "windows", None) is not None:
        return ShiftedDataLoader(config, part, sampler, shuffle=config["shuffle"])
    loader = _loader_class(config, "train")
    if loader is TrainDataLoader:
        loader = BlockTrainDataLoader if fast else RowsDataLoader
    args = config["train_neg_sample_args"]
    if isinstance(args["sample_num"], int) and args["sample_num"] > 1:
        getLogger("recbole_mm.data").info(
            "train_batch_size %d with %d negatives: RecBole tiles rows, so a step takes %d positives",
            config["train_batch_size"], args["sample_num"],
            max(config["train_batch_size"] // args["sample_num"], 1),
        )  # fmt: skip
    if config["MODEL_TYPE"] == ModelType.KNOWLEDGE:
        kg_sampler = create_kg_sampler(dataset, args["distribution"], args["alpha"])
        return loader(config, part, sampler, kg_sampler, shuffle=True)
    return loader(config, part, sampler, shuffle=config["shuffle"])
