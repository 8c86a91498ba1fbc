"""Figures: what the files are, whether they can be read, and what they must show."""

import csv
import json
import re
import xml.etree.ElementTree as ET
import zlib
from dataclasses import replace

import numpy as np
import overlap
import pytest
import samples
from PIL import Image
from scipy.cluster import hierarchy

from probekit.analysis.dendrogram import cluster
from probekit.figures import style
from probekit.figures.files import save_drawing
from probekit.figures.tree import branch_colors, dendrogram_lines, draw_dendrogram

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


def tree_of(names, provenance=SAID, seed=0):
    matrix = np.random.default_rng(seed).normal(size=(len(names), 12))
    return cluster(samples.class_weights(matrix, names, provenance, "made:pool=mean+std"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    tree = tree_of(LABELS)
    written = save_drawing(draw_dendrogram, tree, tmp_path_factory.mktemp("figures") / "new")
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
        assert image.width == pytest.approx(300 * style.ONE_COLUMN, abs=1)
        assert np.ptp(np.asarray(image.convert("L"))) == 255  # black on white


def test_width_is_as_asked_for(tmp_path):
    written = save_drawing(draw_dendrogram, tree_of(LABELS), tmp_path, width=style.TWO_COLUMNS)
    (svg,) = [path for path in written if path.suffix == ".svg"]
    points = float(ET.parse(svg).getroot().get("width").removesuffix("pt"))
    assert points == pytest.approx(72 * style.TWO_COLUMNS, abs=0.1)


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
    bare = save_drawing(draw_dendrogram, tree_of(LABELS, ()), tmp_path)
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
    for names in (["one", "two"], MANY):
        figure = draw_dendrogram(tree_of(names, said))
        assert overlap.find_overlaps(figure) == []
        shown = [text.get_text().replace("\n", " ") for text, _ in overlap.boxes(figure)]
        assert "; ".join(said) in shown


# ---- legibility


MANY = [f"class with a name {k:02d}" for k in range(120)]


@pytest.mark.parametrize("width", [style.ONE_COLUMN, style.TWO_COLUMNS])
@pytest.mark.parametrize("classes", [2, 12, 50])
def test_all_names_of_few_classes_are_there_and_do_not_overlap(classes, width):
    names = [f"class with a name {k:02d}" for k in range(classes)]
    figure = draw_dendrogram(tree_of(names), width)
    assert overlap.find_overlaps(figure) == []
    assert set(names) <= {text.get_text() for text, _ in overlap.boxes(figure)}
    assert figure.axes[0].get_window_extent().width > 0.4 * figure.bbox.width  # room for the tree


@pytest.mark.parametrize("label", ["W" * 200, "many words " * 20])
def test_labels_of_200_characters_leave_room_for_the_tree(label):
    for count in (3, 90):
        names = [f"{k} {label} {k}" for k in range(count)]
        figure = draw_dendrogram(tree_of(names))
        assert overlap.find_overlaps(figure) == []
        texts = [text.get_text() for text, _ in overlap.boxes(figure) if "…" in text.get_text()]
        assert len(texts) >= 3


def planted(classes, dim=256, seed=0):
    """Weights of groups of one to eight classes that are near to one another."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(classes), rng.integers(1, 9, classes))[:classes]
    centers = rng.normal(size=(classes, dim))
    return centers[group] + 0.3 * rng.normal(size=(classes, dim)), group


@pytest.mark.slow
def test_700_classes_are_numbered_families_with_names(tmp_path):
    matrix, group = planted(700)
    names = tuple(f"group {g} class {k}" for k, g in enumerate(group))
    weights = replace(tree_of(["a", "b"]).weights, matrix=matrix, names=names)
    tree = cluster(weights)
    save_drawing(draw_dendrogram, tree, tmp_path)
    figure = draw_dendrogram(tree)
    assert overlap.find_overlaps(figure) == []
    assert figure.get_size_inches()[0] == style.TWO_COLUMNS
    assert figure.get_size_inches()[1] < 9.5  # a page
    texts = [text.get_text() for text, _ in overlap.boxes(figure)]
    numbers = [int(text) for text in texts if text.isdigit()]
    count = max(numbers)
    assert sorted(numbers) == sorted([*range(1, count + 1)] * 2)  # below the tree, and in the list
    assert count >= 30
    shown = [name for text in texts for name in text.split(" · ") if name in set(names)]
    assert len(shown) == len(set(shown)) >= 2 * count
    # what stands side by side is what was planted side by side
    for text in texts:
        found = {name.rsplit(" ", 2)[0] for name in text.split(" · ") if name in set(names)}
        assert len(found) <= 1


def test_labels_stand_at_their_leaves():
    tree = tree_of(LABELS)
    axes = draw_dendrogram(tree).axes[0]
    # from bottom to top, as scipy draws them
    assert [text.get_text() for text in axes.get_yticklabels()] == [LABELS[k] for k in tree.order]


def test_drawing_leaves_the_settings_of_matplotlib_alone():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    draw_dendrogram(tree_of(LABELS))
    assert dict(mpl.rcParams) == before


def test_lines_are_those_of_scipy():
    tree = tree_of([f"class {k}" for k in range(20)])
    drawn = hierarchy.dendrogram(tree.linkage, no_plot=True)
    lines, _ = dendrogram_lines(tree.linkage, tree.order, ["#000000"] * 20)
    theirs = {
        (tuple(np.round((np.array(x) - 5) / 10, 6)), tuple(np.round(y, 6)))
        for x, y in zip(drawn["icoord"], drawn["dcoord"], strict=True)
    }
    assert {tuple(map(tuple, np.round(line.T, 6))) for line in lines} == theirs


def test_forks_within_a_cluster_have_its_colour():
    tree = tree_of([f"class {k}" for k in range(20)])
    with style.style_context():
        colors = branch_colors(tree.clusters)
        _, own = dendrogram_lines(tree.linkage, tree.order, colors)
    below = [{k} for k in range(20)]
    for (left, right, *_), colour in zip(tree.linkage, own, strict=True):
        below.append(below[int(left)] | below[int(right)])
        clusters = {int(tree.clusters[k]) for k in below[-1]}
        expected = colors[min(below[-1])] if len(clusters) == 1 else style.GRAY
        assert colour == expected
