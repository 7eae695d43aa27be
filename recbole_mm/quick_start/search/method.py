"""How a search goes: on which engine, who chooses the points, who stops trials early, on which machines."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Any

from recbole_mm.errors import WrongUse, suggest
from recbole_mm.quick_start.cluster import require_ray
from recbole_mm.quick_start.search.searcher import SEARCHERS
from recbole_mm.quick_start.search.space import Space

ENGINES = ("local", "ray")
SCHEDULERS = ("none", "asha", "pbt", "median")


@dataclass(frozen=True)
class Method:
    """How a search goes.

    Attributes:
        engine: local or ray; None: ray where something here needs it.
        searcher: who chooses the points (`SEARCHERS`); None: the grid where all keys have lists, else random points.
        ray: of Ray's engine (`search.ray_engine.RayOptions`), those that were given.
    """

    engine: str | None = None
    searcher: str | None = None
    ray: dict[str, Any] = field(default_factory=dict)

    def settled(self, space: Space) -> Method:
        """With an engine and a searcher. Raises ``WrongUse`` on an unknown one, or one that does not fit."""
        asked = {key: value for key, value in self.ray.items() if value is not None}
        scheduler = asked.get("scheduler", "none")
        listed = (
            ("--engine", self.engine, ENGINES),
            ("--searcher", self.searcher, SEARCHERS),
            ("--scheduler", scheduler, SCHEDULERS),
        )
        for flag, value, known in listed:
            if value is not None and value not in known:
                raise WrongUse(f"{flag}: no '{value}'{suggest(value, known)}")
        needs = next((key for key, value in asked.items() if (key, value) != ("scheduler", "none")), None)
        engine = self.engine or ("ray" if needs else "local")
        if engine == "local" and needs:
            flag = {"at_once": "concurrent"}.get(needs, needs)
            raise WrongUse(f"--{flag} needs --engine ray; --engine local runs trials one after another")
        if engine == "ray":
            require_ray("--engine ray")
        listed_alone = all(axis.values for axis in space.axes.values())
        return Method(engine, self.searcher or ("grid" if listed_alone else "random"), asked)


def add_method_arguments(parser: argparse._ActionsContainer) -> None:
    """How a search goes: engine, searcher, scheduler, machines."""
    parser.add_argument("--engine", help="local or ray (default: ray where one of the following needs it)")
    parser.add_argument(
        "--searcher",
        help=f"{', '.join(SEARCHERS)} (default: grid where all keys have lists, else random)",
    )
    parser.add_argument(
        "--scheduler", help=f"{', '.join(SCHEDULERS)} (default none): who stops bad trials early"
    )
    parser.add_argument(
        "--grace",
        type=int,
        help="epochs before a trial may be stopped (default: a quarter of them, with median and pbt at most 5)",
    )
    parser.add_argument("--concurrent", type=int, help="trials at once (default: as many as fit)")
    parser.add_argument("--cpus", type=int, help="cores and threads of a trial (default 1)")
    parser.add_argument("--gpus", type=float, help="GPUs of a trial, such as 0.5 (default 0)")
    parser.add_argument("--address", help="of a Ray cluster: HOST:PORT or auto (default: this machine)")


def method_of(args: argparse.Namespace) -> Method:
    """What `add_method_arguments` read. Raises ``WrongUse`` on a number that is none."""
    for flag in ("grace", "concurrent", "cpus"):
        if getattr(args, flag) is not None and getattr(args, flag) < 1:
            raise WrongUse(f"--{flag}: expected a number from 1 on, got {getattr(args, flag)}")
    if args.gpus is not None and args.gpus < 0:
        raise WrongUse(f"--gpus: expected a number from 0 on, got {args.gpus:g}")
    given = {key: getattr(args, key) for key in ("scheduler", "grace", "cpus", "gpus", "address")}
    given["at_once"] = args.concurrent
    return Method(
        args.engine, args.searcher, {key: value for key, value in given.items() if value is not None}
    )
