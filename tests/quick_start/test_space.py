"""What a space may hold, and that the same seed chooses the same points however the trials end."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest

from recbole_mm.errors import WrongUse
from recbole_mm.files import properties_dir
from recbole_mm.quick_start.search.searcher import SEARCHERS, Points, searcher_of
from recbole_mm.quick_start.search.space import find_space

SPACE = """
temperature: {loguniform: [0.05, 1], when: {loss: softmax}}
loss: [bpr, softmax]
n_layers: {int: [1, 3]}
dropout: {uniform: [0, 0.5]}
fusion: {choice: [sum, [a, b]]}
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def written(text: str, name: str = "space.yaml") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return written


def test_points_lie_in_the_space_and_a_conditional_key_is_there_where_it_applies(write: Any) -> None:
    space, rng = find_space(write(SPACE)), random.Random(0)
    points = [space.draw(rng) for _ in range(300)]
    assert {point["n_layers"] for point in points} == {1, 2, 3}
    assert all(0 <= point["dropout"] < 0.5 for point in points)
    assert all(("temperature" in point) == (point["loss"] == "softmax") for point in points)
    warm = [point["temperature"] for point in points if "temperature" in point]
    assert all(0.05 <= value < 1 for value in warm)
    assert 0.4 < sum(value < math.sqrt(0.05) for value in warm) / len(warm) < 0.6  # even in the logarithm
    assert {str(point["fusion"]) for point in points} == {"sum", "['a', 'b']"}


def test_a_grid_holds_each_point_once(write: Any) -> None:
    space = find_space(write("loss: [a, b]\nk: {int: [1, 2], when: {loss: [b]}}\n"))
    assert space.grid() == [{"loss": "a"}, {"loss": "b", "k": 1}, {"loss": "b", "k": 2}]
    with pytest.raises(
        WrongUse, match=r"^--searcher grid: 'x' is a range; give a list of values, or use random$"
    ):
        find_space(write("x: {uniform: [0, 1]}")).grid()


def test_the_spaces_that_ship_are_grids_of_six_points() -> None:
    for file in sorted((properties_dir() / "tune").glob("*.yaml")):
        assert len(find_space(file).grid()) == 6, file


def test_a_params_file_of_recbole_is_read_as_recbole_reads_it(write: Any) -> None:
    text = "learning_rate loguniform -8,0\nembedding_size choice [64,96 , 128]\n\n# a remark\n"
    text += "train_batch_size quniform 512,2048,512\nmlp_hidden_size choice ['[64,64]', [128]]\ndropout uniform 0 0.5\n"
    space, rng = find_space(write(text, "hyper.test")), random.Random(1)
    points = [space.draw(rng) for _ in range(200)]
    assert all(math.exp(-8) <= point["learning_rate"] < 1 for point in points)
    assert {point["embedding_size"] for point in points} == {64, 96, 128}
    assert {point["train_batch_size"] for point in points} == {512, 1024, 1536, 2048}
    assert {str(point["mlp_hidden_size"]) for point in points} == {"[64,64]", "[128]"}
    assert all(0 <= point["dropout"] < 0.5 for point in points)
    # as the issue writes it, without a comma
    assert (
        find_space(write("x loguniform -8 0", "h")).axes == find_space(write("x loguniform -8,0", "h")).axes
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x: 0.1", "{}: 'x' must be a list of values or one of {{choice: [...]}}, {{uniform: [...]}}, "
         "{{loguniform: [...]}}, {{int: [...]}}, got 0.1"),
        ("x: []", "{}: 'x' must be a list of values, got []"),
        ("x: {unifrom: [0, 1]}", "{}: 'x': expected one of {{choice: [...]}}, {{uniform: [...]}}, "
         "{{loguniform: [...]}}, {{int: [...]}}, not 'unifrom'; did you mean 'uniform'?"),
        ("x: {uniform: [1, 0]}", "{}: 'x': uniform: 1 is not below 0"),
        ("x: {uniform: [1]}", "{}: 'x': uniform: expected two numbers [low, high], got [1]"),
        ("x: {int: [0.5, 2]}", "{}: 'x': int: expected two whole numbers [low, high], got [0.5, 2]"),
        ("x: {loguniform: [-8, 0]}",
         "{}: 'x': loguniform: -8 is not above 0; write the values, not their logarithms"),
        ("epochs: [1, 2]", "{}: 'epochs' is the same for all models of a comparison; it is not searched"),
        ("x: {choice: [1], when: {y: 1}}", "{}: 'x': when: 'y' is not searched; there are x"),
        ("y: [1]\nx: {choice: [1], when: {y: 2}}", "{}: 'x': when: 'y' never is 2"),
        ("", "{}: the space is empty; write lines of 'key: [values]'"),
        ("x gauss 0,1", "{}, line 1: no distribution 'gauss'; there are choice, uniform, quniform, loguniform"),
        ("x choice [1]\nx choice [2]", "{}, line 2: key 'x' is there twice"),
        ("x choice 1", "{}, line 1: 'x' must be a list of values, got '1'"),
        ("x uniform 1", "{}, line 1: 'x': uniform: expected low,high, got '1'"),
        ("x choice [1]\ny", "{}, line 2: expected 'key choice|uniform|quniform|loguniform values', got 'y'"),
    ],
)  # fmt: skip
def test_a_malformed_space_is_one_line(write: Any, text: str, message: str) -> None:
    path = write(text)
    with pytest.raises(WrongUse) as error:
        find_space(path)
    assert str(error.value) == message.format(path)


@pytest.mark.parametrize("name", SEARCHERS)
def test_the_same_seed_chooses_the_same_points_in_whatever_order_trials_end(write: Any, name: str) -> None:
    for library in ("optuna", "hyperopt"):
        if name == library:
            pytest.importorskip(library)
    text = SPACE if name != "grid" else "loss: [a, b, c]\nk: {int: [1, 4]}"
    space = find_space(write(text))

    def search(seed: int, late: bool) -> list[dict[str, Any]]:
        points, waiting = Points(searcher_of(name, space, seed), 10, behind=4), []
        while True:
            while not points.ready:
                number = waiting.pop(-1 if late else 0)
                points.tell(number, None if number == 3 else _loss(points.asked[number]))
            if points.next() is None:
                return points.asked
            waiting.append(len(points.asked) - 1)

    first = search(1, late=False)
    assert first == search(1, late=True)
    assert first != search(2, late=False)
    assert len(first) == 10 and all(first.count(point) == 1 for point in first)


def _loss(point: dict[str, Any]) -> float:
    return float(point.get("dropout", 0)) + (point["loss"] == "bpr")


@pytest.mark.parametrize("name", ["optuna", "hyperopt"])
def test_a_model_of_the_space_finds_more_good_points_than_chance(write: Any, name: str) -> None:
    pytest.importorskip(name)
    space = find_space(write("x: {uniform: [0, 1]}\ny: {loguniform: [0.001, 1]}\n"))
    points = Points(searcher_of(name, space, 0), 60, behind=1)
    while (point := points.next()) is not None:
        points.tell(len(points.asked) - 1, (point["x"] - 0.7) ** 2)
    late = [point for point in points.asked[30:] if abs(point["x"] - 0.7) < 0.1]
    assert len(late) > 8  # chance: 6


def test_an_unknown_searcher_is_one_line(write: Any) -> None:
    with pytest.raises(WrongUse, match=r"^--searcher: no 'optna'; did you mean 'optuna'\?$"):
        searcher_of("optna", find_space(write("x: [1]")), 0)
