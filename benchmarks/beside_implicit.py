"""Our iALS beside the ALS of `implicit`, from the same first vectors on the same data; one JSON line.

    pip install implicit
    python benchmarks/beside_implicit.py --dataset hm

``scores``: the largest difference of the scores of all users and items after ``--iterations`` over the largest score.
`implicit` has the formula of Hu et al. (ICDM 2008), whose regularisation does not grow with the rows, so ours runs with
``reg_exponent: 0``: with α₀ = ``unobserved_weight`` and λ = ``reg_weight`` its confidence is (1 + α₀) / α₀, its
regularisation λ (1 + α₀) / α₀, its vectors are √(1 + α₀) times ours. ``seconds``, ``ratio``: our time, theirs over it.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch
from implicit.cpu.als import AlternatingLeastSquares
from scipy import sparse

from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data", default="dataset")
    parser.add_argument("--iterations", type=int, default=16)
    parser.add_argument("--unobserved_weight", type=float, default=0.01)
    parser.add_argument("--reg_weight", type=float, default=0.03)
    arguments = parser.parse_args()
    threads, weight = torch.get_num_threads(), arguments.unobserved_weight
    settings = {
        "data_path": arguments.data, "use_gpu": False, "reg_exponent": 0.0, "n_iterations": arguments.iterations,
        "unobserved_weight": weight, "reg_weight": arguments.reg_weight,
    }  # fmt: skip
    built = Session.build(RunSpec("iALS", arguments.dataset, settings, seed=1))
    model = built.model
    users, items = (each - 1 for each in model.training_pairs(built.train_data.dataset))
    confidence = (1 + weight) / weight
    shape = model.n_users - 1, model.n_items - 1  # without padding, which a sum over all items would count
    clicks = sparse.csr_matrix((np.full(len(items), confidence, np.float32), (users, items)), shape)
    theirs = AlternatingLeastSquares(
        factors=model.item_emb.shape[1], regularization=arguments.reg_weight * confidence,
        iterations=arguments.iterations, use_cg=False, num_threads=threads,
    )  # fmt: skip
    theirs.item_factors = (1 + weight) ** 0.5 * model.item_emb[1:].numpy()
    theirs.user_factors = np.zeros((shape[0], theirs.factors), dtype=np.float32)
    start = time.perf_counter()
    ours = model.score_all(torch.arange(1, model.n_users))[:, 1:].numpy()
    middle = time.perf_counter()
    theirs.fit(clicks, show_progress=False)
    their_users = theirs.recalculate_user(np.arange(shape[0]), clicks)
    seconds = middle - start, time.perf_counter() - middle
    other = their_users @ theirs.item_factors.T / (1 + weight)
    print(json.dumps({
        "dataset": arguments.dataset, "scores": float(np.abs(ours - other).max() / np.abs(ours).max()),
        "seconds": round(seconds[0], 2), "ratio": round(seconds[1] / seconds[0], 2),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
