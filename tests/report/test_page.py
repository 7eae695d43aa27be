"""The page of a comparison, in a headless Chromium where there is one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import CHROMIUM, Browser
from PIL import Image

from recbole_mm.report.page import curves, page
from recbole_mm.report.page_data import curves_of, half_width, shown
from recbole_mm.report.paired import paired_tests
from recbole_mm.report.thumbnail import SIDE, thumbnails
from recbole_mm.run.comparison import Comparison, RowResult
from recbole_mm.run.folder import RunResult

HOSTILE = "<img src=x onerror='window.hacked=1'></script><script>window.hacked=2</script>"
QUALITY = {"BPR": 0.2, "CMC": 0.4, HOSTILE: 0.3}


def row(label: str, quality: float, **more) -> RowResult:
    rng = np.random.default_rng([len(label), 3])
    runs = {}
    for seed in (2020, 2021):
        value = np.clip(quality + (seed - 2020) / 100 + rng.normal(0, 0.05, 40), 0, 1)
        queries = pd.DataFrame({"user": [f"u{k:02d}" for k in range(40)], "n_positives": 1, "ndcg@10": value})
        groups = pd.DataFrame(
            {"group": ["cold"] * 2 + ["popularity"] * 2, "value": ["cold (<5)", "warm", "head", "tail"]}
            | {"n_queries": [5, 40, 40, 9], "n_positives": 40, "ndcg@10": [np.nan, quality, quality, 0.01]}
        )
        history = [
            {
                "epoch": k,
                "batches": 2,
                "terms": {"loss": 4.0 / (k + 1)},
                "valid_score": quality - 0.1 / (k + 1),
            }
            for k in range(3)
        ]
        record = {
            "best_valid_score": quality, "test_result": {"ndcg@10": float(value.mean())}, "epochs_run": 3,
            "seconds": 2.0 + 100 * quality, "stopped_by": "cap", "parameters": 1234,
            "config": {"learning_rate": quality, "data_path": "/secret"}, "remarks": ["a remark"],
        }  # fmt: skip
        runs[seed] = RunResult(record, queries, groups, history)
    return RowResult(label, label, runs=runs, **more)


def showcase(label: str, image: Path) -> dict:
    """Two users: u1 took i1 and i2 in the test, u2 took i3; the better a model, the more it finds."""
    lists = {"BPR": ["i4", "i5"], "CMC": ["i1", "i2"], HOSTILE: ["i1", "i5"]}[label]
    users = [
        {
            "user": "u1",
            "seen": 2,
            "in_time": True,
            "history": ["i0", "i5"],
            "held": ["i1", "i2"],
            "list": lists,
        },
        {"user": "u2", "seen": 1, "in_time": True, "history": ["i4"], "held": ["i3"], "list": ["i3"]},
    ]
    items = {f"i{k}": {"title": f"Film {k}", "category": "Drama" if k % 2 else HOSTILE} for k in range(6)}
    items["i1"]["image"] = str(image)
    items["i2"]["title"] = HOSTILE
    plane = {"item": list(items), "x": [0, 1, 2, 3, 4, 5], "y": [0, 1, 0, 1, 0, 1], "share": [0.7, 0.2]}
    return {"users": users, "map": plane, "items": items}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    Image.new("RGB", (300, 400), "green").save(folder / "poster.jpg")
    rows = [
        row("BPR", 0.2, baseline=True, published={"ndcg": 0.6}),
        row("CMC", 0.4, published={"ndcg": 0.7}),
        row(HOSTILE, 0.3),
        RowResult("GCE", "GCE", errors={2020: f"no memory {HOSTILE}"}),
        row("CMC, ids only", 0.35, of="CMC", control="ids only"),
        row("CMC, 30% masked", 0.3, of="CMC", missing=0.3),
    ]
    comparison = Comparison(
        rows, ["ndcg@10"], "toy", [2020, 2021], published_columns={"ndcg": ["ndcg@10"]}, published_source="A. Author",
        common={"command": f"recbole-mm compare {HOSTILE}", "budget": {"epochs": 3, "valid_metric": "NDCG@10"}},
    )  # fmt: skip
    tests, notes = paired_tests(comparison)
    text = page(
        comparison, tests, notes, {label: showcase(label, folder / "poster.jpg") for label in QUALITY}
    )
    (folder / "report.html").write_text(text, encoding="utf-8")
    return folder / "report.html"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine (apt-get install chromium)")
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser, made: Path) -> Iterator[Browser]:
    chromium.console.clear()
    chromium.requests.clear()
    chromium.open(made)
    yield chromium
    assert chromium.console == []
    assert [url for url in chromium.requests if not url.startswith(("data:", "blob:"))] == [made.as_uri()]
    assert chromium.run("window.hacked") is None


def order(browser: Browser) -> list[str]:
    return browser.run(
        "[...document.querySelectorAll('#board tbody tr:not([hidden])')].map(r => r.dataset.name)"
    )


HEADS = (
    "[...document.querySelectorAll('#board th[aria-sort]')].map(h => h.innerText.trim() + ' ' + h.ariaSort)"
)
VALUES = "[...document.querySelectorAll('#board tbody tr')].map(r => [r.dataset.name, r.cells[1].dataset.value || -1])"
LISTS = """[...document.querySelectorAll('#user-lists ol')].map(l => [l.ariaLabel,
  [...l.children].map(i => i.querySelector('.what').firstChild.textContent), l.querySelectorAll('.hit').length])"""


def sorted_by(browser: Browser) -> list[str]:
    return browser.run(HEADS)


def change(browser: Browser, place: str, value: str, event: str = "change") -> None:
    element = f"document.getElementById('{place}')"
    browser.run(f"{element}.value = {json.dumps(value)}; {element}.dispatchEvent(new Event('{event}'))")


def draw_all(browser: Browser) -> None:
    browser.run("""(async () => { for (const box of document.querySelectorAll('.plot'))
      while (!box.querySelector('.main-svg'))
        { box.scrollIntoView({ behavior: 'instant' }); await new Promise((done) => setTimeout(done, 20)); } })()""")


def test_the_board_sorts_by_mouse_and_keyboard_and_failed_rows_stand_last(browser):
    best_first = ["CMC", "CMC, ids only", HOSTILE, "CMC, 30% masked", "BPR", "GCE"]
    value = {name: float(value) for name, value in browser.run(VALUES)}
    assert order(browser) == sorted(value, key=lambda name: -value[name])
    assert order(browser)[0] == best_first[0] and order(browser)[-2:] == best_first[-2:]
    assert sorted_by(browser) == ["ndcg@10 descending"]
    browser.run("document.querySelectorAll('#board thead button')[1].click()")
    assert order(browser) == [*sorted(value, key=lambda name: value[name])[1:], "GCE"]
    assert sorted_by(browser) == ["ndcg@10 ascending"]
    browser.run("document.querySelectorAll('#board thead button')[0].focus()")
    browser.press("Enter", 13, "\r")
    assert order(browser) == browser.run(f"{json.dumps(list(value))}.sort((a, b) => a.localeCompare(b))")
    assert sorted_by(browser) == ["Model ascending"]


def test_the_board_filters_by_name_and_kind(browser):
    change(browser, "board-search", "cMc", "input")
    assert sorted(order(browser)) == ["CMC", "CMC, 30% masked", "CMC, ids only"]
    browser.run("document.querySelector('.kind[value=control]').click()")
    assert sorted(order(browser)) == ["CMC", "CMC, 30% masked"]
    assert browser.run("document.getElementById('board-count').textContent") == "2 of 6 rows"


def test_all_losses_are_in_one_picture(chromium, tmp_path: Path):
    """Whatever their kinds: each by its own first epoch. What has no loss has no line."""
    rows = [row("MMT", 0.4), row("CMC", 0.3), row("EASE", 0.2), row("once", 0.1)]
    for run in rows[1].runs.values():
        for entry in run.history:
            entry["terms"] = {"contrastive": 60.0 / (entry["epoch"] + 1), "domain": 2.0}
    for run in rows[2].runs.values():
        run.history[:] = [{"epoch": 0, "batches": 2, "terms": {"loss": 0.0}, "valid_score": 0.1}]
    for run in rows[3].runs.values():
        del run.history[1:]
    (tmp_path / "curves.html").write_text(curves(Comparison(rows, ["ndcg@10"], "toy", [2020, 2021])))
    chromium.console.clear()
    chromium.open(tmp_path / "curves.html")
    chromium.wait("document.querySelectorAll('#curves .js-plotly-plot').length > 1")
    cells = "[...line.children].map((cell) => cell.textContent)"
    lines = f"[...figure.querySelectorAll('tbody tr')].map((line) => {cells})"
    title = "figure.querySelector('figcaption').firstChild.data"
    figures = chromium.run(
        f"[...document.querySelectorAll('#curves figure')].map((figure) => [{title}, {lines}])"
    )
    shown = dict(figures)
    assert [title for title, _ in figures] == [
        "Validation", "Training loss of every model", "Training loss", "Loss: contrastive", "Loss: domain",
    ]  # fmt: skip
    assert shown["Training loss of every model"] == [
        [str(k + 1), name, f"{value:.4f}"]
        for name, values in (("MMT", (1, 1 / 2, 1 / 3)), ("CMC", (1, 32 / 62, 22 / 62)))
        for k, value in enumerate(values)
    ]
    assert {line[1] for line in shown["Training loss"]} == {"MMT", "once"}
    assert {line[1] for line in shown["Validation"]} == {"MMT", "CMC", "EASE", "once"}
    assert chromium.console == []


def test_a_model_opens_its_curves_and_settings(browser):
    browser.run("document.querySelector('button.model[data-row=\"0\"]').click()")
    assert browser.run("document.activeElement.id") == "h-model"
    settings = browser.run("document.getElementById('model-settings').innerText")
    assert settings.split("\n") == ["modelBPR", "parameters1,234", "learning_rate0.2"]  # no path
    assert "a remark" in browser.run("document.getElementById('model-remarks').innerText")
    draw_all(browser)
    lines = browser.run(
        "document.querySelector('#model-plots .plot').data.map(t => [t.name, t.x, t.y.length])"
    )
    assert lines == [["seed 2020", [1, 2, 3], 3], ["seed 2021", [1, 2, 3], 3]]


def test_two_models_lists_stand_beside_the_history_with_hits_marked(browser):
    said = "document.getElementById('user-says').textContent"
    assert browser.run(said) == (
        "User u1 has 2 items before the test and took 2 in it: CMC finds 2, BPR finds 0 in its first 2."
    )
    assert browser.run(LISTS) == [
        ["History", ["Film 0", "Film 5"], 0],
        ["CMC", ["Film 1", HOSTILE], 2],
        ["BPR", ["Film 4", "Film 5"], 0],
    ]
    assert browser.run("document.querySelector('#user-lists img').naturalHeight") == SIDE
    change(browser, "user-b", HOSTILE)
    assert [hits for *_, hits in browser.run(LISTS)] == [0, 2, 1]
    browser.run("document.getElementById('user-next').click()")
    assert browser.run(said).startswith("User u2 has 1 item before the test and took 1 in it: CMC finds 1,")
    assert browser.run("document.getElementById('user-held').innerText") == "Film 3 ✓ hit"


def test_every_figure_is_drawn_has_words_and_its_numbers(browser):
    draw_all(browser)
    titles = browser.run("[...document.querySelectorAll('figcaption')].map(c => c.firstChild.textContent)")
    assert titles == [
        "Validation", "Training loss", "Cold and warm items", "Head and tail items", "CMC", "CMC with features masked",
        "NDCG", "CMC",
    ]  # fmt: skip
    words = browser.run("[...document.querySelectorAll('.plot')].map(p => p.role + ' ' + p.ariaLabel)")
    assert len(words) == len(titles) and all(each.startswith("img ") and len(each) > 30 for each in words)
    bars = browser.run("document.querySelectorAll('#groups-plots .plot')[1].data.map(t => [t.name, t.y])")
    assert bars[:2] == [["BPR", [0.2, 0.01]], ["CMC", [0.4, 0.01]]]
    table = browser.run(
        "[...document.querySelectorAll('#groups-plots table')[1].rows].map(r => [...r.cells].map(c => c.textContent))"
    )
    assert table[1] == ["head (40)", "0.2000", "0.4000", "0.3000"]
    groups = browser.run("document.querySelector('#map-plot .plot').data.map(t => [t.name, t.x.length])")
    assert sorted(n for _, n in groups) == [3, 3]


NAMELESS = """[...document.querySelectorAll('select, input, button, img, table, section, nav, [role=region]')]
.filter((e) => {
  if (e.tagName === 'IMG') return !e.hasAttribute('alt');
  if (e.tagName === 'TABLE') return !e.caption || !e.caption.textContent.trim();
  if (e.tagName === 'BUTTON') return !e.textContent.trim();
  if (e.labels) return !e.labels.length;
  return !(e.ariaLabel || document.getElementById(e.getAttribute('aria-labelledby'))?.textContent);
}).map((e) => e.outerHTML.slice(0, 120))"""


def test_everything_has_a_name_for_a_screen_reader_and_fits_a_phone(browser, made):
    assert browser.run("document.documentElement.lang") == "en"
    assert browser.run(NAMELESS) == []
    assert browser.run("[...document.querySelectorAll('#board thead th')].every(h => h.scope === 'col')")
    browser.open(made, width=390, height=844)
    draw_all(browser)
    assert browser.run("document.documentElement.scrollWidth") <= 390
    browser.requests.clear()
    browser.open(made)


CONTRAST = """(() => {
  const rgba = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
  const over = (top, below) => top.slice(0, 3).map((c, k) => c * top[3] + below[k] * (1 - top[3])).concat(1);
  const linear = (v) => (v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  const light = (c) => [.2126, .7152, .0722].reduce((sum, w, k) => sum + w * linear(c[k] / 255), 0);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), low = [];
  for (let node; (node = walker.nextNode());) {
    const e = node.parentElement, chain = [];
    if (!node.textContent.trim() || /SCRIPT|STYLE/.test(e.tagName) || !e.getClientRects().length) continue;
    for (let p = e; p; p = p.parentElement) chain.unshift(p);
    const below = chain.reduce((c, p) => over(rgba(getComputedStyle(p).backgroundColor), c), [255, 255, 255, 1]);
    const style = getComputedStyle(e), ink = over(rgba(e instanceof SVGElement ? style.fill : style.color), below);
    const [a, b] = [light(ink), light(below)].sort((x, y) => y - x), ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) low.push(`${node.textContent.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return low;
})()"""


@pytest.mark.parametrize("dark", [False, True])
def test_all_text_has_a_contrast_of_four_and_a_half(browser, dark):
    browser.scheme(dark)
    draw_all(browser)
    paper = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper))) < 300) == dark
    browser.run("[...document.querySelectorAll('details')].forEach(d => d.open = true)")
    ink = "getComputedStyle(document.querySelector('.plot text')).fill"
    browser.wait(f"({ink} === getComputedStyle(document.body).color)")
    assert browser.run(CONTRAST) == []
    browser.scheme(False)


def test_the_page_is_small_and_whole(made):
    text = made.read_text(encoding="utf-8")
    assert len(text) < 2_400_000  # plotly packed; six models on ml-100k add less than 1 MB
    assert not re.search(r"""(src|href)=["'](https?:)?//""", text.partition('id="plotly"')[0])
    assert HOSTILE not in text


def test_a_term_that_some_epochs_lack_stays_at_its_epochs():
    made = row("A", 0.3)
    for run in made.runs.values():
        run.history[:] = [
            {"epoch": k, "batches": 2, "terms": {"bpr": 4.0} | ({"contrast": 2.0 * k} if k % 2 else {})}
            for k in range(4)
        ]
    for curve in curves_of(made):
        assert curve["epoch"] == [1, 2, 3, 4]
        assert curve["terms"] == {"bpr": [2.0] * 4, "contrast": [None, 1.0, None, 3.0]}


def test_an_interval_is_that_of_the_mean_and_weighs_as_the_metric_does():
    x = pd.DataFrame(
        {"ndcg@10": [0.0, 1.0, 0.5, np.nan], "auc": [0.0, 1.0, 0.5, 1.0], "n_positives": [1, 1, 2, 1]}
    )
    assert half_width(x, "ndcg@10", False) == pytest.approx(1.96 * (0.25 + 0.25) ** 0.5 / 3)
    mean = (0 + 1 + 2 * 0.5 + 1) / 5
    error = (mean**2 + (1 - mean) ** 2 + 4 * (0.5 - mean) ** 2 + (1 - mean) ** 2) ** 0.5 / 5
    assert half_width(x, "gauc", False) == pytest.approx(1.96 * error)
    assert half_width(x, "itemcoverage@10", False) is None


def test_pictures_are_small_within_the_budget_and_what_is_left_out_is_said(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for k in range(3):
        Image.fromarray(rng.integers(0, 255, (200, 100, 3), dtype=np.uint8)).save(tmp_path / f"{k}.jpg")
    (tmp_path / "2.jpg").write_text("none")
    paths = {k: str(tmp_path / f"{k}.jpg") for k in range(4)}
    small, note = thumbnails(paths, [1, 0, 1, 2, 3])
    assert set(small) == {0, 1}
    assert note == "2 of 4 pictures are left out: 2 cannot be read."
    monkeypatch.setattr("recbole_mm.report.thumbnail.BUDGET", len(small[1]) + 10)
    small, note = thumbnails(paths, [1, 0, 1])
    assert set(small) == {1}
    assert note == "1 of 2 pictures are left out, the others to keep the page small."


def test_rows_share_the_items_and_users_they_show(tmp_path):
    found = shown({"CMC": showcase("CMC", tmp_path), "BPR": showcase("BPR", tmp_path)})
    titles = [item[0] for item in found["items"]]
    assert len(titles) == 6
    (first, second) = found["people"]
    assert [titles[k] for k in first["lists"]["BPR"]] == ["Film 4", "Film 5"]
    assert [titles[k] for k in second["held"]] == ["Film 3"]
