"""Two processes train as one: the same curve, the same metrics, the same files. Real processes, joined by gloo."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from recbole_mm.config import Config
from recbole_mm.data import create_dataset, split_parts
from recbole_mm.data.shared import share
from recbole_mm.errors import WrongUse
from recbole_mm.layer.gather import gather_distinct
from recbole_mm.layer.loss import symmetric_info_nce
from recbole_mm.quick_start.distributed import require_plain, train_as
from recbole_mm.quick_start.session import Prepared, Session
from recbole_mm.report.card import read_record, sections
from recbole_mm.run.folder import RunFolder
from recbole_mm.testing import Built, write_toy
from recbole_mm.testing.steps import gradients
from recbole_mm.trainer import Workers
from recbole_mm.trainer.workers import Shard

# nothing is drawn in training: no negatives, no dropout
EXACT = {
    "split": None, "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
    "train_neg_sample_args": None, "loss_type": "CE", "dropout_prob": 0.0, "epochs": 3, "embedding_size": 8,
    "hidden_size": 8, "metrics": ["NDCG", "Recall", "GAUC", "ItemCoverage", "GiniIndex"], "eval_memory_mib": 0.001,
    "metric_decimal_place": 12, "train_batch_size": 50, "protocol": ["recbole", "sampled-5"], "topk": [3, 10],
}  # fmt: skip


DOMAINS = frozenset(["CMC", "GCE", "CMF", "EMCDR", "CoNet", "DTCDR", "BiTGCF"])


def in_processes(size: int, work: Callable[[Workers], Any], folder: Path) -> list[Any]:
    """What ``work`` gives in each of ``size`` forked processes that are one process group."""
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()

    def body(rank: int) -> None:
        try:
            dist.init_process_group(
                "gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=size,
                timeout=timedelta(seconds=60),
            )  # fmt: skip
            results.put((rank, work(Workers(rank, size))))
        except BaseException:
            results.put((rank, traceback.format_exc()))

    processes = [context.Process(target=body, args=(rank,)) for rank in range(size)]
    for process in processes:
        process.start()
    found = dict(results.get() for _ in processes)
    for process in processes:
        process.join(60)
    for value in found.values():
        assert not isinstance(value, str), value
    return [found[rank] for rank in range(size)]


def settings_of(folder: Path, **more: Any) -> dict[str, Any]:
    return {**write_toy(folder), **EXACT, **more}


@pytest.mark.parametrize(
    "rows",
    # windows with 4 or with fewer targets, so that a worker's share of these is not that of the rows
    [{}, {"train_sequences": "shifted", "MAX_ITEM_LIST_LENGTH": 4}],
    ids=["prefix", "shifted"],
)
def test_two_workers_give_the_loss_curve_and_the_metrics_of_one(tmp_path: Path, rows: dict[str, Any]) -> None:
    settings = settings_of(tmp_path, **rows)
    spec = Config("GRU4Rec", "toy", config_dict=settings).spec
    alone = Session.build(spec)
    result = alone.run()
    best = alone.trainer.folder.best
    shared = RunFolder.create(tmp_path / "several", spec)

    def work(workers: Workers) -> dict[str, Any]:
        session = train_as(workers, _prepared(settings), spec, shared)
        session.trainer.evaluate(session.test_data, model_file=best)  # a fixed checkpoint
        found = session.trainer.eval_result
        return {
            "metrics": dict(found.metrics),
            "queries": found.queries,
            "weights": {name: value.numpy() for name, value in session.model.state_dict().items()},
            "shares": workers.part(100),
        }

    first, second = in_processes(2, work, tmp_path)
    assert first["metrics"] == second["metrics"] == result.record["test_result"]  # to the last digit
    assert first["queries"].equals(result.queries) and second["queries"].equals(result.queries)
    assert all(np.array_equal(first["weights"][name], second["weights"][name]) for name in first["weights"])
    assert (first["shares"], second["shares"]) == (range(50), range(50, 100))
    losses = [[each["loss"] for each in run.history] for run in (result, shared.result())]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4) and losses[0] != losses[1]
    assert len(list((tmp_path / "several").iterdir())) == 1  # one of them writes
    assert shared.result().record["test_result"] == pytest.approx(result.record["test_result"], rel=0.05)


def test_workers_go_on_from_the_last_epoch_and_draw_as_seed_epoch_and_rank_say(tmp_path: Path) -> None:
    settings = {**write_toy(tmp_path), "epochs": 4, "keep_checkpoints": "all"}
    spec = Config("VBPR", "toy", config_dict=settings).spec

    def train(folder: RunFolder, epochs: int) -> Callable[[Workers], Any]:
        def work(workers: Workers) -> Any:
            mine = Config("VBPR", "toy", config_dict={**settings, "epochs": epochs})
            dataset = create_dataset(mine)
            data = share(dataset, split_parts(mine, dataset)).unpack()
            session = train_as(workers, Prepared(mine, data), spec, folder)
            return [each["loss"] for each in session.trainer.history]

        return work

    whole, cut = (RunFolder.create(tmp_path / name, spec) for name in ("whole", "cut"))
    for name in "abc":
        (tmp_path / name).mkdir()
    at_once = in_processes(2, train(whole, 4), tmp_path / "a")
    in_processes(2, train(cut, 2), tmp_path / "b")
    (cut.path / "record.json").unlink()
    resumed = in_processes(2, train(cut, 4), tmp_path / "c")
    assert at_once == resumed and at_once[0] == at_once[1] and len(at_once[0]) == 4
    record = cut.result().record
    assert (record["workers"], record["changes"]) == (2, [])


def test_a_run_that_goes_on_with_other_workers_says_so_and_is_no_settings_to_repeat(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, epochs=1, keep_checkpoints="all")
    spec = Config("GRU4Rec", "toy", config_dict=settings).spec
    several = RunFolder.create(tmp_path / "several", spec)
    in_processes(2, lambda workers: train_as(workers, _prepared(settings), spec, several) and None, tmp_path)
    assert ("workers", "2") in dict(sections(read_record(several.path / "card.md")))["Machine"]
    more = Session.build(Config("GRU4Rec", "toy", config_dict={**settings, "epochs": 2}).spec)
    record = more.run(resume=several.path).record
    assert record["workers"] == 1 and "(workers 2 -> 1)" in record["changes"][0]


def test_a_contrast_sees_the_rows_of_all_workers_each_once(tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(1)
    table = torch.randn(2, 6, 4, generator=rng, dtype=torch.float64)
    shares = [torch.tensor([4, 1, 2]), torch.tensor([2, 5])]

    def work(workers: Workers) -> list[Any]:
        weights = table.clone().requires_grad_()
        ids = shares[workers.rank]
        left, right = gather_distinct(ids, weights[0][ids], weights[1][ids])
        loss = symmetric_info_nce(left, right, 0.2)
        loss.backward()
        assert weights.grad is not None
        dist.all_reduce(weights.grad)
        return [float(loss.detach()), (weights.grad / 2).numpy()]

    found = in_processes(2, work, tmp_path)
    weights = table.clone().requires_grad_()
    ids = torch.tensor([1, 2, 4, 5])
    loss = symmetric_info_nce(weights[0][ids], weights[1][ids], 0.2)
    loss.backward()
    assert weights.grad is not None
    for value, gradient in found:
        assert value == pytest.approx(loss.item(), rel=1e-12)
        np.testing.assert_allclose(gradient, weights.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("CPMM", {"input_size": 6}),
        ("CPMM", {"input_size": 6, "first_order_bias": True, "id_source": "table"}),
        ("MMCPR", {"cl_weight": 1.0, "min_common": 2}),
        ("CMC", {"modal_align_weight": 1.0, "domain_loss": "infonce"}),
        ("GCE", {}),
        ("MMT", {"loss": "softmax", "hidden_size": 8, "n_layers": 1, "n_heads": 2, "inner_size": 8}),
        *(
            (name, {"reg_weight": 0.1})
            for name in ("LATTICE", "MGCN", "SMORE", "DRAGON", "GRCN", "MMGCN", "VBPR")
        ),
        *((name, {}) for name in ("CMF", "EMCDR", "CoNet", "DTCDR", "BiTGCF")),
        (
            "UniSRec",
            {
                "hidden_size": 8,
                "n_layers": 1,
                "n_heads": 2,
                "inner_size": 8,
                "train_stage": "pretrain",
                "train_sequences": "prefix",
                "split": None,
                "cl_weight": 0.0,
                "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
            },
        ),
    ],
)
def test_the_gradients_of_two_workers_are_those_of_one(
    tmp_path: Path, model: str, more: dict[str, Any]
) -> None:
    """Losses that compare rows with each other see all of them, also where no row of one worker has an image."""
    written = write_toy(tmp_path, domains=2 if model in DOMAINS else 1)
    built = Built(model, {**written, "embedding_size": 8, "train_batch_size": 500, **more})
    built.model.eval()  # nothing is drawn, a batch's own figures are not used
    batch, features = built.batch(), getattr(built.model, "features", None)
    if model in ("CPMM", "MMCPR"):
        image = features.mask(batch["item_id"])[:, features.names.index("image")]
        with_image, without = image.nonzero()[:5, 0], (~image).nonzero()[:4, 0]
        rows = torch.empty(9, dtype=torch.long)
        rows[::2], rows[1::2] = with_image, without  # the workers' shares
        batch = batch[rows]
    whole = built.model.calculate_loss(batch)
    whole = torch.stack(whole if isinstance(whole, tuple) else [whole])
    whole.sum().backward()
    expected = gradients(built.model)

    def work(workers: Workers) -> Any:
        shard = Shard(lambda rows: batch[rows], workers.rank, workers.size)
        workers._shard = shard
        built.model.zero_grad(set_to_none=True)
        mine = shard(torch.arange(len(batch["item_id"])))
        losses = workers.objective(built.model, built.model.calculate_loss)(mine)
        losses = losses if isinstance(losses, tuple) else (losses,)
        torch.stack(losses).sum().backward()
        found = {name: value.numpy() for name, value in gradients(built.model).items()}
        return workers.mean(tuple(float(each.detach()) for each in losses)), found

    for losses, found in in_processes(2, work, tmp_path):
        assert losses == pytest.approx(whole.tolist(), rel=1e-5)
        for name, gradient in found.items():
            scale = float(expected[name].abs().max())
            np.testing.assert_allclose(
                gradient, expected[name].numpy(), rtol=1e-4, atol=1e-5 * scale + 1e-9, err_msg=name
            )


@pytest.mark.parametrize(
    ("model", "more", "message"),
    [
        ("RaCT", {}, "--workers: RaCT is not trained by RecBole's plain trainer, so it runs in one process alone"),
        ("BPR", {"worker": 2},
         "--workers: batches must be made in the process that trains; leave `worker` out"),
        ("BPR", {"evaluator": "recbole"},
         "--workers: evaluator: recbole averages coverage and Gini wrongly over processes; use mm"),
        ("SLMRec", {}, "--workers: SLMRec's loss is over a whole batch, so it runs in one process alone"),
        ("LGMRec", {}, "--workers: LGMRec's loss is over a whole batch, so it runs in one process alone"),
        ("BPR", {"loader": "fast"},
         "--workers: loader: fast deals no batches out to workers; use loader: recbole"),
    ],
)  # fmt: skip
def test_what_several_workers_cannot_train_is_one_line(
    tmp_path: Path, model: str, more: dict[str, Any], message: str
) -> None:
    config = Config(model, "toy", config_dict={**write_toy(tmp_path), **more})
    with pytest.raises(WrongUse) as error:
        require_plain(config)
    assert str(error.value) == message


def _prepared(settings: dict[str, Any]) -> Prepared:
    config = Config("GRU4Rec", "toy", config_dict=settings)
    dataset = create_dataset(config)
    return Prepared(config, share(dataset, split_parts(config, dataset)).unpack())
