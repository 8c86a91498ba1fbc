"""Figures: what the files are, whether they can be read, and what they must show."""

import csv
import json
import re
import warnings
import xml.etree.ElementTree as ET
import zlib
from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from probekit.analysis.dendrogram import cluster
from probekit.analysis.weights import ClassWeights
from probekit.report import figures

LABELS = (
    "<script>alert(1)</script>",
    "Domestic animals, pets",
    "a & b",
    "$5 to $10",
    '"quoted"',
    "ünïcode",
    "under_score^2",
    "plain",
)
SAID = ("random weights (seed 0)", "stand-in data")


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def tree_of(names, provenance=SAID, seed=0):
    matrix = np.random.default_rng(seed).normal(size=(len(names), 12))
    weights = ClassWeights(
        matrix=matrix,
        names=tuple(names),
        task="mine",
        embedding="made:pool=mean+std",
        space="embedding",
        c=0.1,
        clips=100,
        converged=True,
        fingerprint="f" * 64,
        manifest="m" * 64,
        provenance=tuple(provenance),
    )
    return cluster(weights)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    tree = tree_of(LABELS)
    written = figures.save_dendrogram(tree, tmp_path_factory.mktemp("figures") / "new")
    return tree, {path.suffix[1:]: path for path in written}


def texts_of(svg):
    root = ET.parse(svg).getroot()
    return ["".join(item.itertext()) for item in root.iter("{http://www.w3.org/2000/svg}text")]


def plain_brackets(content):
    return content.replace(rb"\(", b"(").replace(rb"\)", b")")


def text_of_pdf(path):
    """The text that a PDF of matplotlib draws, whether a character takes one byte or two."""
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", path.read_bytes(), re.DOTALL)
    pages = [zlib.decompress(one) for one in streams if one[:1] == b"x"]
    drawn = [re.findall(rb"\(((?:\\.|[^\\)])*)\)", page) for page in pages if b" Tf" in page]
    joined = b"".join(b"".join(pieces) for pieces in drawn).replace(b"\0", b"")
    return plain_brackets(joined).decode("latin-1")


# ---- the files


def test_all_files_are_written_and_nothing_else(saved):
    _, files = saved
    assert set(files) == {"pdf", "svg", "png", "csv", "json"}
    assert {path.stem for path in files.values()} == {"dendrogram-mine-made-pool-mean-std"}
    assert sorted(files["pdf"].parent.iterdir()) == sorted(files.values())


def test_pdf_holds_its_fonts_as_truetype(saved):
    _, files = saved
    content = files["pdf"].read_bytes()
    assert content.startswith(b"%PDF-") and content.rstrip().endswith(b"%%EOF")
    assert b"/FontFile2" in content  # a TrueType font, embedded
    assert b"/Type3" not in content  # which journals refuse


def test_svg_has_every_label_as_text(saved):
    _, files = saved
    texts = texts_of(files["svg"])
    assert set(LABELS) <= set(texts)
    assert "cosine distance (average linkage)" in texts
    assert b"<script" not in files["svg"].read_bytes()


def test_png_has_300_dots_an_inch(saved):
    _, files = saved
    with Image.open(files["png"]) as image:
        image.load()
        assert image.format == "PNG"
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        assert image.width == pytest.approx(300 * figures.ONE_COLUMN, abs=1)
        assert np.ptp(np.asarray(image.convert("L"))) == 255  # black on white


def test_width_is_as_asked_for(tmp_path):
    written = figures.save_dendrogram(tree_of(LABELS), tmp_path, width=figures.TWO_COLUMNS)
    (svg,) = [path for path in written if path.suffix == ".svg"]
    points = float(ET.parse(svg).getroot().get("width").removesuffix("pt"))
    assert points == pytest.approx(72 * figures.TWO_COLUMNS, abs=0.1)


def test_csv_has_the_merges(saved):
    tree, files = saved
    with files["csv"].open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["step"]) for row in rows] == list(range(7))
    merged = [row[side] for row in rows for side in ("left", "right")]
    assert sorted(merged) == sorted([*LABELS, *(f"step {k}" for k in range(6))])
    heights = [float(row["distance"]) for row in rows]
    np.testing.assert_allclose(heights, tree.linkage[:, 2], rtol=1e-5)
    assert int(rows[-1]["classes"]) == 8


def test_json_has_what_made_the_figure(saved):
    tree, files = saved
    facts = json.loads(files["json"].read_text(encoding="utf-8"))
    assert facts["caption"] == tree.caption
    assert facts["leaves"] == [LABELS[k] for k in tree.order]
    assert facts["provenance"] == list(SAID)
    assert (facts["fingerprint"], facts["manifest"]) == ("f" * 64, "m" * 64)
    assert (facts["c"], facts["space"]) == (0.1, "embedding")
    assert (facts["center"], facts["metric"], facts["linkage"]) == ("rows", "cosine", "average")
    assert facts["cophenetic"] == tree.cophenetic


# ---- provenance


def test_provenance_is_written_in_every_picture(saved, tmp_path):
    _, files = saved
    assert "; ".join(SAID) in texts_of(files["svg"])
    assert "; ".join(SAID) in text_of_pdf(files["pdf"])
    bare = figures.save_dendrogram(tree_of(LABELS, ()), tmp_path)
    with Image.open(files["png"]) as marked, Image.open(bare[2]) as plain:
        assert marked.height > plain.height
        foot = np.asarray(marked.convert("L"))[plain.height - marked.height :]
        assert (foot < 128).sum() > 200  # something is written there
    assert not any(word in text_of_pdf(bare[0]) for word in SAID)


def test_caption_is_in_the_files_themselves(saved):
    tree, files = saved
    with Image.open(files["png"]) as image:
        assert image.text["Description"] == tree.caption
    assert tree.caption in "".join(ET.parse(files["svg"]).getroot().itertext())
    assert tree.caption.encode() in plain_brackets(files["pdf"].read_bytes())


def test_every_word_of_a_long_provenance_stays_inside_the_figure():
    said = [f"random weights of network number {k}" for k in range(9)]
    for names in (["one", "two"], LABELS):
        figure = figures.draw_dendrogram(tree_of(names, said))
        boxes, others = boxes_of(figure)
        assert not any(a.overlaps(b) for a, b in combinations(boxes + others, 2))
        for box in others:
            assert box.x0 >= 0 and box.y0 >= 0
            assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        shown = figure.get_supxlabel().replace("\n", " ")
        assert shown == "; ".join(said)


# ---- legibility


def boxes_of(figure):
    """Places of the labels, and of the other texts, in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    axes = figure.axes[0]
    labels = [text.get_window_extent(renderer) for text in axes.get_yticklabels()]
    others = [axes.xaxis.label.get_window_extent(renderer)]
    below = [
        text
        for text in figure.findobj(match=lambda item: hasattr(item, "get_text"))
        if text.get_text() == figure.get_supxlabel() != ""
    ]
    return labels, others + [text.get_window_extent(renderer) for text in below]


@pytest.mark.parametrize("width", [figures.ONE_COLUMN, figures.TWO_COLUMNS])
@pytest.mark.parametrize("classes", [2, 12, 60])
def test_labels_do_not_overlap(classes, width):
    names = [f"class with a name {k:02d}" for k in range(classes)]
    figure = figures.draw_dendrogram(tree_of(names), width)
    boxes, others = boxes_of(figure)
    assert (len(boxes), len(others)) == (classes, 2)
    assert not any(a.overlaps(b) for a, b in combinations(boxes + others, 2))
    for box in boxes + others:
        assert box.x0 >= 0 and box.y0 >= 0
        assert box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1
    assert figure.axes[0].get_window_extent().width > 0.4 * figure.bbox.width  # room for the tree


def test_labels_stand_at_their_leaves():
    tree = tree_of(LABELS)
    axes = figures.draw_dendrogram(tree).axes[0]
    # from bottom to top, as scipy draws them
    assert [text.get_text() for text in axes.get_yticklabels()] == [LABELS[k] for k in tree.order]


def test_drawing_leaves_the_settings_of_matplotlib_alone():
    import matplotlib as mpl
    from scipy.cluster import hierarchy

    before, palette = dict(mpl.rcParams), list(hierarchy._link_line_colors)
    figures.draw_dendrogram(tree_of(LABELS))
    assert dict(mpl.rcParams) == before
    assert list(hierarchy._link_line_colors) == palette
