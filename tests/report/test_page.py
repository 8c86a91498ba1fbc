"""The page: it shows what was found, whatever it is called, and asks nobody for anything."""

import base64
import re
from html.parser import HTMLParser

import pytest

from probekit.report import page

NASTY = '<script>alert("1")</script>'


def result(embedding="vggish", score=0.5, **others):
    classes = others.pop("classes", ["bell", NASTY])
    return {
        "task": "mine",
        "title": "Sounds & <b>more</b>",
        "embedding": embedding,
        "metric": "accuracy",
        "protocol": "5 folds <of mine>",
        "score": score,
        "classes": classes,
        "interval": {
            "low": score - 0.1,
            "high": score + 0.1,
            "unit": "groups within folds",
            "method": "bootstrap",
        },
        "clips": {"used": 1234, "of": 5678},
        "per_class": {name: {"score": 0.25 * k, "clips": 10 + k} for k, name in enumerate(classes)},
        "provenance": [],
        **others,
    }


class Reader(HTMLParser):
    """The elements of a page, their attributes, and the text that is shown."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.shown = ""
        self.text: dict[str, list[str]] = {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag  # nothing is left open

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.shown += data
            self.text.setdefault(self.open[-1], []).append(data)


@pytest.fixture
def written(tmp_path):
    def write(*found, title="A page", figures=()):
        path = page.write(tmp_path / "new/index.html", title, found, figures)
        text = path.read_text(encoding="utf-8")
        return text, Reader(text)

    return write


@pytest.fixture
def svg(tmp_path):
    path = tmp_path / "figure.svg"
    path.write_text('<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>')
    return path


def test_shows_scores_intervals_and_clips(written):
    _, read = written(result("b", 0.25), result("a", 0.75))
    cells = [cell.strip() for cell in read.text["td"]]
    assert [cell for cell in cells if cell in ("a", "b")] == ["a", "b"]  # best first
    assert "0.750" in cells and "0.650 – 0.850" in cells and "1,234 of 5,678" in cells
    assert "95 % intervals: bootstrap over groups within folds." in read.shown


def test_bars_are_as_long_as_the_scores(written):
    text, _ = written(result("a", 0.75))
    assert '<i style="width:75.0%">' in text
    assert '<b style="left:65.0%;width:20.0%">' in text


@pytest.mark.parametrize("score", [-3.0, 1.5])
def test_score_outside_0_to_1_stays_inside_its_bar(written, score):
    text, _ = written(result("a", score))
    widths = [float(number) for number in re.findall(r"(?:width|left):([\d.-]+)%", text)]
    assert len(widths) == 3
    assert all(0 <= width <= 100 for width in widths)


def test_exact_interval_is_not_called_a_bootstrap(written):
    exact = {"low": 0.9, "high": 1.0, "unit": "clips within folds", "method": "exact binomial"}
    _, read = written(result("a", 1.0, interval=exact))
    assert "95 % intervals: exact binomial over clips within folds." in read.shown
    _, read = written(result("a", 1.0, interval=exact), result("b"))
    assert "exact binomial over clips within folds, or bootstrap over groups" in read.shown


def test_class_without_a_score_and_class_of_another_run_show_a_dash(written):
    one, other = result("a", classes=["bell", "rain"]), result("b", 0.4, classes=["bell", "wind"])
    one["per_class"]["bell"]["score"] = None
    _, read = written(one, other)
    assert read.text["td"][-12:] == [
        "bell",
        "10",
        "–",
        "0.000",
        "rain",
        "11",
        "0.250",
        "–",
        "wind",
        "11",
        "–",
        "0.250",
    ]


def test_tasks_stand_apart(written):
    _, read = written(result(), result(task="other", title="Other"), result("c"))
    assert read.text["h2"] == ["Sounds & <b>more</b>", "Other"]
    assert len(read.text["summary"]) == 2


# ---- nothing of a name is taken for a command


def test_everything_is_escaped(written, svg):
    found = result(
        NASTY,
        provenance=[NASTY],
        protocol=NASTY,
        title=NASTY,
        metric=NASTY,
        interval={"low": 0, "high": 1, "unit": NASTY, "method": NASTY},
    )
    text, read = written(found, title=NASTY, figures=[(svg, f'{NASTY}" onload="alert(2)')])
    assert "<script" not in text
    assert {tag for tag, _ in read.elements} <= {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "h2",
        "p",
        "div",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "i",
        "b",
        "details",
        "summary",
        "figure",
        "img",
        "figcaption",
    }
    assert not any(name.startswith("on") for _, own in read.elements for name in own)
    assert read.shown.count(NASTY) >= 8  # and it is still there to be read


# ---- it needs nothing but itself


def test_page_asks_for_nothing(written, svg):
    text, read = written(result(), figures=[(svg, "a caption")])
    addresses = [
        own[name]
        for _, own in read.elements
        for name in ("src", "href", "srcset", "data", "action", "poster")
        if name in own
    ]
    assert len(addresses) == 1 and addresses[0].startswith("data:image/svg+xml;base64,")
    assert not re.search(r"(https?:)?//[a-z]|@import|url\(", text, re.IGNORECASE)
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in read.elements}


def test_figure_is_in_the_page_as_an_image_with_its_caption(written, svg):
    _, read = written(result(), figures=[(svg, 'of "bells" & birds')])
    (image,) = [own for tag, own in read.elements if tag == "img"]
    assert base64.b64decode(image["src"].partition(",")[2]) == svg.read_bytes()
    assert image["alt"] == 'of "bells" & birds'
    assert read.text["figcaption"] == ['of "bells" & birds']


# ---- provenance


def test_provenance_stands_first_and_beside_each_result(written):
    _, read = written(
        result("a", provenance=["VGGish of another", "stand-in data"]),
        result("b", 0.4, provenance=["stand-in data"]),
        result("c", 0.3),
    )
    (banner,) = [k for k, (_, own) in enumerate(read.elements) if own.get("role") == "note"]
    assert banner < [tag for tag, _ in read.elements].index("table")
    assert "VGGish of another; stand-in data." in read.shown
    notes = [cell for cell in read.text["td"] if "stand-in" in cell or cell == "–"]
    assert notes == ["VGGish of another; stand-in data", "stand-in data", "–"]


def test_without_provenance_there_is_no_banner(written):
    text, _ = written(result())
    assert 'role="note"' not in text


def test_page_is_replaced_as_a_whole(written, tmp_path):
    written(result("first"))
    text, _ = written(result("second"))
    assert "first" not in text
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["index.html"]
