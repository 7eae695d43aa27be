"""Many runs, one after another: finished ones are read, those cut off go on, one that fails stops no other."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_mm.config import Config
from recbole_mm.errors import Failure, Interrupted, WrongUse, one_line
from recbole_mm.files import write_text
from recbole_mm.quick_start.logger import init_logger
from recbole_mm.quick_start.progress import RunsProgress
from recbole_mm.quick_start.session import Prepared, Session
from recbole_mm.quick_start.showcase import leave_showcase
from recbole_mm.run.comparison import RUNS, At
from recbole_mm.run.folder import RunFolder, RunResult, run_folders
from recbole_mm.run.question import OneQuestion, OtherQuestion, Question
from recbole_mm.run.spec import RunSpec
from recbole_mm.trainer import Callback

Left = tuple[RunFolder, RunResult]


def run_one(
    spec: RunSpec,
    callbacks: Sequence[Callback],
    log: Path,
    before: RunFolder | None = None,
    one: OneQuestion | None = None,
    prepared: Prepared | None = None,
    **options: Any,
) -> Left:
    """A run of a table or a search, quietly: taken from ``before`` where that is it, gone on with where it was cut off.

    Args:
        spec: the run.
        callbacks: who hears of it.
        log: folder of the log.
        before: an earlier folder of the same key.
        one: what the other lines of the table are asked; a run that is asked something else is not trained.
        prepared: its configuration and data, where they are there already.
        options: of :meth:`Session.run`; with ``test=False`` no row of the test is in the session.
    """
    if before is not None and before.finished:
        return before, before.result()
    test = options.get("test", True)
    config = Config.of(spec) if prepared is None else prepared.config
    with init_logger(config, verbosity="quiet", folder=log):
        session = Session.build(spec, callbacks, test=test, prepared=prepared)
        # a search chooses by validation, a table shows the test
        needed = "test" if test else "validation"
        if (session.test_data if needed == "test" else session.valid_data) is None:
            raise WrongUse(f"the split leaves no {needed} row; see eval_args, split and benchmark_filename")
        if one is not None:
            one.check(spec.label, session.question())
        cut_off = before is not None and before.last.is_file() and session.trainer.resumable
        result = session.run(resume=before.path if before is not None and cut_off else None, **options)
        if needed == "test":
            leave_showcase(session)
    return session.trainer.folder, result


def run_all(
    runs: Sequence[RunSpec], folder: Path, fresh: bool, one: OneQuestion | None = None, **options: Any
) -> tuple[dict[At, Left], dict[At, str]]:
    """What each run left, by (label, seed), and for those that failed one line.

    Runs of the same key share one folder.

    Args:
        runs: in their order, each with its key.
        folder: where ``runs/`` and ``log/`` are.
        fresh: run again what is finished.
        one: to which the runs are held, where they make a table.
        options: of :meth:`Session.run`.

    Raises:
        Interrupted: Ctrl-C; what is finished stays.
        OtherQuestion: a run is asked something else than the first; what is finished stays.
    """
    options |= {} if one is None else {"one": one}
    earlier = {} if fresh else run_folders(folder / RUNS)
    done: dict[At, Left] = {}
    errors: dict[At, str] = {}
    for run in runs:
        if run.key in earlier and earlier[run.key].finished:
            done[_at(run)] = earlier[run.key], earlier[run.key].result()
    for (label, _), (_, result) in done.items():
        if one is not None:
            one.check(label, Question.read(result.record))
    todo = [run for run in runs if _at(run) not in done]
    if done:
        print(
            f"{len(done)} of {len(runs)} runs are finished in {folder / RUNS} and taken from there (--fresh: anew)"
        )
    seconds: dict[str, list[float]] = {}
    for (label, _), (_, result) in done.items():
        seconds.setdefault(label, []).append(result.record["seconds"])
    with RunsProgress([run.label for run in todo], seconds) as progress:
        for run in todo:
            progress.start(f"{run.label}, seed {run.seed}")
            try:
                same = next((done[_at(r)][0] for r in runs if r.key == run.key and _at(r) in done), None)
                before = same or earlier.get(run.key or "")
                done[_at(run)] = left = run_one(run, [progress], folder / "log", before, **options)
                if one is not None:
                    one.check(run.label, Question.read(left[1].record))
                gc.collect()
            except KeyboardInterrupt as error:
                kept = f"{len(done)} of {len(runs)} runs are kept in {folder / RUNS}"
                raise Interrupted(f"{kept}; the same command goes on from there") from error
            except OtherQuestion:
                raise
            except Exception as error:  # one run must not take the others with it
                errors[_at(run)] = keep_error(folder, run, error)
                progress.end(f"failed: {errors[_at(run)]}")
            else:
                progress.end(outcome(done[_at(run)][1].record))
    return done, errors


def _at(run: RunSpec) -> At:
    assert run.seed is not None
    return run.label, run.seed


def outcome(record: dict[str, Any]) -> str:
    """How a run ended, in words."""
    valid = record.get("best_valid_score")
    score = "" if valid is None else f"valid {valid:.4f}, "
    epochs = int(record.get("epochs_run") or 0)
    return f"{score}{epochs} epoch{'s' * (epochs != 1)} ({record.get('stopped_by')})"


def error_file(folder: Path, run: RunSpec) -> Path:
    """Where it stands why a run failed: one line, and where it arose."""
    return folder / RUNS / f"{run.key}.error.txt"


def keep_error(folder: Path, run: RunSpec, error: BaseException) -> str:
    """Write why a run failed (`error_file`); the one line of it."""
    trace = "".join(traceback.format_exception(error))
    write_text(error_file(folder, run), f"{_reason(error)}\n\n{trace}")
    return _reason(error)


def _reason(error: BaseException) -> str:
    expected = isinstance(error, (WrongUse, Failure))
    return one_line(error) if expected else f"{type(error).__name__}: {one_line(error)}"
