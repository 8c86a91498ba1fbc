"""The page: it shows what was found, whatever it is called, and asks nobody for anything."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import jinja2
import numpy as np
import pytest

from probekit.errors import DataError
from probekit.report import html
from probekit.report.html import document, figure_images

NASTY = '<script>document.title = "broken"</script>'
LONG = "a label of two hundred characters " * 6
STRANGE = ["雀の声", "صوت العصفور", LONG, "quo\"te's & <b>more</b>", NASTY]


class Reader(HTMLParser):
    """The elements of a page, their attributes, and the text that is shown."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.shown, self.text = [], [], "", {}
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag  # nothing is left open

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.shown += data
            self.text.setdefault(self.open[-1], []).append(data)

    def each(self, tag):
        return [own for name, own in self.elements if name == tag]


@pytest.fixture
def strange(store):
    """Everything has a name that could be taken for something else."""
    store.clips(NASTY, np.arange(20) % 5, STRANGE)
    scores = np.eye(5)[(np.arange(20) + (np.arange(20) < 9)) % 5] * 0.6 + 0.08
    store.run(
        NASTY,
        NASTY,
        scores,
        title=NASTY,
        protocol=NASTY,
        probe=NASTY,
        preset=NASTY,
        provenance=[NASTY],
        steps=[NASTY],
        published=[{"method": NASTY, "score": 0.5, "where": NASTY, "differs": NASTY, "metric": ""}],
    )
    return store


def test_rows_scores_and_intervals(small):
    read = Reader(small.text())
    assert "0.750" in read.text["b"] and "0.500" in read.text["b"]
    intervals = [t for t in read.text["text"] if "–" in t]
    for entry in small.entries():
        certain = entry.results[0]["interval"]
        assert f"{certain['low']:.3f} – {certain['high']:.3f}" in intervals
    heads = [own for own in read.each("th") if "aria-sort" in own]
    assert [own["aria-sort"] for own in heads].count("descending") == 1
    assert len(read.each("button")) == len(heads)  # every column has one
    assert "95 % intervals: binomial, logit scale, over clips within folds." in read.shown


def test_points_stand_where_the_scores_are(small):
    read = Reader(small.text())
    places = {own["class"]: float(own["cx"].rstrip("%")) for own in read.each("circle")}
    assert set(places) == {"best", "worse"} or set(places) == {"best", "indistinguishable"}
    best, other = places.pop("best"), next(iter(places.values()))
    reach = [(float(o["x1"][:-1]), float(o["x2"][:-1])) for o in read.each("line")
             if o["class"] == "interval-line"]  # fmt: skip
    (a, b), (c, d) = reach
    assert a < best < b and c < other < d and other < best
    ends = [e.results[0]["interval"] for e in small.entries()]
    ends.sort(key=lambda one: -one["high"])
    per_unit = (b - a) / (ends[0]["high"] - ends[0]["low"])
    assert best - other == pytest.approx(per_unit * 0.25, abs=0.05)


def test_what_the_test_does_not_tell_from_the_best_is_not_called_equal(store):
    targets = np.arange(40) % 4
    store.clips("birds", targets, ["finch", "crow", "owl", "wren"], folds=2)
    for name, wrong in (("good", 10), ("near", 11)):
        store.run("birds", name, np.eye(4)[(targets + (np.arange(40) < wrong)) % 4])
    read = Reader(store.text())
    assert "†" in read.text["span"] and "≈" not in read.shown
    assert "† not distinguishable from the best" in read.shown
    assert {own["class"] for own in read.each("circle")} == {"best", "indistinguishable"}


def test_everything_is_escaped_and_still_there_to_be_read(strange):
    text = strange.text(title=NASTY)
    read = Reader(text)
    assert len(read.each("script")) == 2  # the data and the page's own
    assert not any(name.startswith("on") for _, own in read.elements for name in own)
    assert read.shown.count(NASTY) >= 10
    data = strange.data_of(text)
    assert data["boards"][0]["classes"] == STRANGE
    assert text.count("</script>") == 2


def test_data_cannot_end_its_element(store):
    ends = ["</script><img src=x onerror=alert(1)>", "<!--", "\u2028", "]]>"]
    store.clips("x", np.arange(8) % 4, ends)
    store.run("x", "e", np.eye(4)[(np.arange(8) + 1) % 4])
    text = store.text()
    assert Reader(text).each("img") == []
    assert store.data_of(text)["boards"][0]["classes"] == ends


def test_numbers_that_json_does_not_have(store):
    targets = np.array([[0.0], [1.0], [2.0]])
    store.clips("x", targets, ["valence"], target="regression")
    store.run("x", "e", targets + np.array([[0.1], [0.0], [np.inf]]), metric="mae",
              interval={"low": float("nan"), "high": float("nan"), "unit": "clips", "units": 3,
                        "method": "bootstrap"})  # fmt: skip
    text = store.text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1],
                      parse_constant=pytest.fail)  # fmt: skip
    assert data["boards"][0]["runs"][0]["items"][0][2] == [None]
    assert "inf" in Reader(text).shown


def test_policy_lets_the_browser_run_the_pages_own_script_and_load_nothing(small):
    text = small.text()
    policy = next(o["content"] for o in Reader(text).each("meta") if "http-equiv" in o)
    for tag, what in (("script", "script-src"), ("style", "style-src")):
        (own,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert f"{what} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy
    assert "http" not in policy and "*" not in policy


def test_page_asks_for_nothing(small):
    text = small.text()
    addresses = [
        own[name]
        for _, own in Reader(text).elements
        for name in ("src", "href", "srcset", "data", "action", "poster")
        if name in own
    ]
    assert all(one.startswith(("data:", "#")) for one in addresses)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttp|import\(|innerHTML|eval\(", text)
    assert not {"link", "iframe", "object", "base", "form"} & {t for t, _ in Reader(text).elements}


def test_provenance_stands_first_and_beside_its_result(small):
    read = Reader(small.text())
    (banner,) = (k for k, (_, own) in enumerate(read.elements) if own.get("role") == "note")
    assert banner < [tag for tag, _ in read.elements].index("table")
    assert read.elements[banner + 1][0] == "ul"  # a list keeps its role
    assert "Random weights (1 of 2 rows)" in read.shown
    facts = [own for own in read.each("span") if own.get("class") == "fact"]
    assert len(facts) == 1


def test_without_provenance_there_is_no_banner(store):
    store.clips("x", [0, 1], ["a", "b"])
    store.run("x", "e", np.eye(2))
    assert 'role="note"' not in store.text()


def test_fits_that_did_not_converge_are_said(store):
    store.clips("x", [0, 1, 0, 1], ["a", "b"])
    run = store.run("x", "e", np.eye(2)[[0, 1, 0, 1]])
    solver = {**run["solver"], "unconverged": 3}
    folds = [{**run["folds"][0], "at_edge": True}]
    store.run("x", "e", np.eye(2)[[0, 1, 0, 1]], solver=solver, folds=folds, seed=1)
    read = Reader(store.text())
    assert "3 of 12 fits did not converge" in read.shown
    assert "chosen setting at an end of its range" in read.shown


def test_classes_of_all_runs_with_bars(store):
    store.clips("x", [0, 0, 1, 1], ["bell", "rain"])
    store.run("x", "e", np.eye(2)[[0, 1, 1, 1]])
    store.run("x", "f", np.eye(2)[[0, 0, 1, 1]])
    text = store.text()
    table = text[text.index('class="sortable classes"') :]
    read = Reader("<table " + table[: table.index("</table>") + 8])
    widths = [own["width"] for own in read.each("rect")]
    assert widths == ["100%", "50%", "100%", "100%"]  # f leads, then e; bell, then rain
    assert "Recall of each class<small>" in text


@pytest.mark.parametrize(
    ("metric", "title", "score"),
    [
        ("accuracy", "Recall of each class, all test clips", "0.667"),  # 1 of 1 and 1 of 2
        ("roc-auc", "ROC-AUC of each class, mean over folds", None),
    ],
)
def test_the_definition_of_class_scores_is_in_their_title(store, metric, title, score):
    targets = np.array([0, 0, 1, 1, 1, 0])
    multi = metric == "roc-auc"
    tags = np.eye(2, dtype=int)[targets]
    store.clips(
        "x",
        tags if multi else targets,
        ["bell", "rain"],
        target="multi" if multi else "single",
        folds=2,
    )
    store.run("x", "e", np.eye(2)[[0, 1, 1, 1, 1, 0]], metric=metric)
    text = store.text()
    assert f"{title}<small>" in text
    table = text[text.index('class="sortable classes"') :]
    assert score is None or score in table[: table.index("</table>")]


def test_label_efficiency_has_a_panel_for_each_embedding(small):
    for share, right in ((0.1, 12), (0.3, 20)):
        for seed in (0, 1):
            given = np.arange(40) % 4
            wrong = slice(0, 40 - right + seed)
            given[wrong] = (given[wrong] + 1) % 4
            small.run("birds", "good", np.eye(4)[given], fraction=share, seed=seed)
    read = Reader(small.text())
    (panel,) = (own for own in read.each("svg") if "viewbox" in own)
    # 12 and 11 of 40 are right, then 20 and 19, then 30
    said = "good, share of labels and score: 10 %: 0.287, 30 %: 0.487, 100 %: 0.750"
    assert panel["aria-label"] == said
    lines = [own["points"] for own in read.each("polyline")]
    assert len(lines) == 1 and len(lines[0].split()) == 3
    dots = [own for own in read.each("circle") if own.get("r") == "2.6"]
    assert len(dots) == 5  # two shares with two seeds, and all labels once
    heights = [float(pair.split(",")[1]) for pair in lines[0].split()]
    assert heights == sorted(heights, reverse=True)  # more labels, better, further up


def test_learning_curves_have_a_panel_for_each_trained_network(small):
    """Two folds of two epochs; probes have no epochs."""
    assert "Learning curves" not in small.text()
    scores = {"1": [(0.2, 0.3), (0.6, 0.4)], "2": [(0.4, 0.5), (0.8, 0.6)]}
    history = [
        {"fold": fold, "epoch": epoch, "phase": 1, "lr": 1.0, "loss": 2.0 / epoch,
         "train_score": train, "valid_score": None, "test_score": test, "best": True}
        for fold, epochs in scores.items()
        for epoch, (train, test) in enumerate(epochs, start=1)
    ]  # fmt: skip
    small.run("birds", NASTY, np.eye(4)[np.arange(40) % 4], history=history)
    read = Reader(small.text())
    (panel,) = (own for own in read.each("svg") if "viewbox" in own)
    said = "score of the first and last epoch: training 0.300, 0.700, test 0.400, 0.500"
    assert panel["aria-label"] == f"{NASTY}, {said}"
    train, test = read.each("polyline")
    assert train["stroke-dasharray"] == "2 3" and test["stroke-dasharray"] == "7 3"
    points = [[float(v) for v in pair.split(",")] for pair in train["points"].split()]
    assert points[0][0] < points[1][0] and points[0][1] > points[1][1]  # later, better, further up
    # training gains 0.4 and test 0.1
    ends = [[float(pair.split(",")[1]) for pair in own["points"].split()] for own in (train, test)]
    rises = [first - last for first, last in ends]
    assert rises[0] == pytest.approx(4 * rises[1], abs=0.6)


# ---- figures


@pytest.fixture
def figure(small):
    folder = small.reports / "figures"
    folder.mkdir(parents=True)

    def make(
        name, svg="<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", png=None, **facts
    ):
        (folder / f"{name}.json").write_text(json.dumps({"caption": "of bells", **facts}))
        if svg is not None:
            (folder / f"{name}.svg").write_text(svg)
        if png is not None:
            (folder / f"{name}.png").write_bytes(png)
        return folder

    return make


def test_figures_of_the_task_and_of_none_are_pictures_with_captions(small, figure):
    figure("mine", task="birds", caption='of "bells" & birds')
    figure("all", caption="of all")
    figure("foreign", task="other")
    read = Reader(small.text())
    assert [own["alt"] for own in read.each("img")] == ["mine", "all"]
    assert all(own["src"].startswith("data:image/svg+xml;base64,") for own in read.each("img"))
    assert read.text["figcaption"] == ['of "bells" & birds', "of all"]
    assert [t for t in read.text["h2"] if t == "Figures"]  # that of no task has its own place


def test_large_drawing_is_replaced_by_its_picture_and_too_large_ones_are_named(small, figure):
    figure("cloud", svg="x" * 800_000, png=b"y" * 1000)
    figure("huge", svg="x" * 6_000_000)
    made = small.write()
    sources = {o["alt"]: o["src"] for o in Reader(made.path.read_text()).each("img")}
    assert set(sources) == {"cloud"} and sources["cloud"].startswith("data:image/png")
    assert made.problems == ["huge: too large for the page"]


def test_other_files_among_the_figures_are_passed_over(small, figure):
    folder = figure("alone", svg=None)
    (folder / "list.json").write_text("[]")
    (folder / "broken.json").write_text("{")
    assert figure_images.collect_figures(folder) == []
    assert figure_images.collect_figures(folder / "nowhere") == []


# ---- the file


def test_nothing_to_show_is_an_error(tmp_path):
    with pytest.raises(DataError, match="probekit evaluate"):
        html.write_page(tmp_path / "index.html", [])
    assert not (tmp_path / "index.html").exists()


def test_page_is_replaced_as_a_whole(small):
    first = small.write(title="first")
    second = small.write(title="second")
    assert first.path == second.path and second.size == second.path.stat().st_size
    text = second.path.read_text(encoding="utf-8")
    assert "second" in text and "first</h1>" not in text
    assert not list(second.path.parent.glob(".*"))
    assert (second.tasks, second.runs) == (1, 2)


def test_tasks_are_linked_from_the_top(small):
    small.clips("frogs", [0, 1], ["a", "b"])
    small.run("frogs", "e", np.eye(2))
    read = Reader(small.text())
    links = [own["href"] for own in read.each("a") if own["href"] != "#results"]
    assert links == ["#board-0", "#board-1"]
    ids = [own["id"] for _, own in read.elements if "id" in own]
    assert len(ids) == len(set(ids)) and {"board-0", "board-1"} <= set(ids)


# ---- templates


def test_templates_escape_all_text():
    environment = document.template_environment()
    page = environment.from_string('<td title="{{ text }}">{{ text }}</td>').render(text=NASTY)
    escaped = NASTY.replace("<", "&lt;").replace(">", "&gt;").replace('"', "&#34;")
    assert page == f'<td title="{escaped}">{escaped}</td>'
    assert environment.from_string("{{ '<' ~ text }}").render(text="&") == "&lt;&amp;"
    for name in environment.list_templates():
        source = environment.loader.get_source(environment, name)[0]
        assert "safe" not in source and "autoescape" not in source, name


def test_what_a_template_lacks_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="missing"):
        document.template_environment().from_string("{{ missing }}").render()


# ---- the command


def test_command_writes_the_page_of_all_or_of_one_task(small, main):
    small.clips("frogs", [0, 1], ["a", "b"])
    small.run("frogs", "e", np.eye(2))
    done = main("report", "--reports", small.reports, "--cache", small.cache)
    assert done.returncode == 0, done.stderr
    assert "3 runs of birds, frogs" in done.stdout
    text = (small.reports / "index.html").read_text(encoding="utf-8")
    assert "Sounds of birds" in text and "Sounds of frogs" in text
    out = small.reports / "elsewhere/frogs.html"
    done = main("report", "--reports", small.reports, "--cache", small.cache, "--task", "frogs",
                "-o", out, "--title", "Frogs only")  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = out.read_text(encoding="utf-8")
    assert "Sounds of birds" not in text and "Frogs only" in text


def test_command_says_what_is_missing(small, main, tmp_path):
    done = main("report", "--reports", tmp_path / "none")
    assert done.returncode == 2
    assert "no results yet; make them with: probekit evaluate --task TASK -e NAME" in done.stderr
    done = main("report", "--reports", small.reports, "--task", "bird")
    assert done.returncode == 2 and "no results of 'bird', only of birds" in done.stderr
    done = main("report", "--reports", small.reports, "--audio", tmp_path / "none")
    assert done.returncode == 2
    assert done.stderr == f"error: --audio {tmp_path / 'none'}: no such folder\n"
