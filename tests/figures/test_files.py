"""Files of a figure: what is in each, complete or not at all."""

import csv
import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import overlap
import pytest
import samples
from matplotlib.figure import Figure
from PIL import Image

from probekit.analysis import base
from probekit.figures import curves, dot_plot, files, heatmap, scatter, style
from probekit.report.html.figure_images import collect_figures

RARE = "\U00012000"  # cuneiform


def made(label="a label", look=None, **others):
    with style.style_context(look):
        figure = Figure(figsize=(style.ONE_COLUMN, 1.5))
        figure.text(0.2, 0.5, label)
    facts = {"runs": ["r1"], "fingerprint": "f" * 64, "provenance": ["random weights"]}
    rows = [{"name": 'a,"b"', "value": 1.23456789012}, {"name": "x", "count": 3}]
    analysis = {"name": "kind-task", "caption": "A <caption>.", "facts": lambda: facts, **others}
    return figure, SimpleNamespace(**{"rows": lambda: rows, **analysis})


def test_five_files_and_nothing_else(tmp_path):
    written = files.save_figure(*made(), tmp_path / "new")
    assert [path.name for path in written] == [
        f"kind-task.{kind}" for kind in ("pdf", "svg", "png", "csv", "json")
    ]
    assert sorted((tmp_path / "new").iterdir()) == sorted(written)


def test_the_width_is_in_the_name_if_it_was_asked_for(tmp_path):
    written = files.save_figure(*made(), tmp_path, width=3.3)
    assert [path.name for path in written] == [
        f"kind-task-3.3in.{kind}" for kind in ("pdf", "svg", "png", "csv", "json")
    ]
    assert json.loads(written[4].read_text())["width_inches"] == 3.3
    files.save_figure(*made(), tmp_path)
    assert [figure.name for figure in collect_figures(tmp_path)] == ["kind-task"]
    (tmp_path / "kind-task.json").unlink()
    assert [figure.name for figure in collect_figures(tmp_path)] == ["kind-task-3.3in"]


@pytest.mark.parametrize("name", ["a.pdf", "b/c.SVG", "a.png", "numbers.csv", "what.json"])
def test_one_file_and_nothing_else(tmp_path, name):
    out = tmp_path / name
    assert files.save_figure(*made(), tmp_path / "figures", out=out) == [out]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [out]
    [reference] = [
        path
        for path in files.save_figure(*made(), tmp_path / "all")
        if path.suffix == out.suffix.lower()
    ]
    if out.suffix == ".json":
        assert json.loads(out.read_text())["runs"] == ["r1"]
    else:
        assert out.read_bytes() == reference.read_bytes()


def test_another_folder(tmp_path):
    written = files.save_figure(*made(), tmp_path / "figures", out=tmp_path / "paper.v2")
    assert {path.parent for path in written} == {tmp_path / "paper.v2"}
    assert len(written) == 5 and not (tmp_path / "figures").exists()


def test_the_number_of_clips_is_drawn_only_if_asked_for(tmp_path):
    notes = ("1,999 of 2,000 clips (a, b)", "7 of 9 clips", "12 of 80 test clips are copies")
    found = replace(samples.similar(4), provenance=notes)
    plain, counted = (heatmap.draw_similarity(found, counts=counts) for counts in (False, True))
    texts = [" ".join(overlap.texts(figure)) for figure in (plain, counted)]
    assert "12 of 80 test clips are copies" in texts[0]  # that is no count, but a leak
    assert "2,000 clips" not in texts[0] and "7 of 9" not in texts[0]
    assert all(note in texts[1] for note in notes)
    assert all(note in found.caption for note in notes)
    (*_, record) = files.save_drawing(heatmap.draw_similarity, found, tmp_path)
    assert "1,999 of 2,000 clips" in json.loads(record.read_text())["caption"]
    assert "2,000 clips" not in overlap.texts(heatmap.draw_similarity(found))  # not remembered


def test_what_made_it_is_in_every_file(tmp_path):
    pdf, svg, png, _, made_of = files.save_figure(*made(), tmp_path)
    facts = json.loads(made_of.read_text(encoding="utf-8"))
    assert facts["runs"] == ["r1"] and facts["caption"] == "A <caption>."
    with Image.open(png) as image:
        own = json.loads(image.text["Source"])
        assert image.text["Description"] == "A <caption>."
    assert own == {key: facts[key] for key in ("caption", "runs", "fingerprint", "provenance")}
    inside = "".join(ET.parse(svg).getroot().itertext())
    assert json.dumps(own) in inside and "A <caption>." in inside
    assert json.dumps(own).encode() in pdf.read_bytes().replace(b"\\(", b"(").replace(b"\\)", b")")


def test_csv_has_all_columns_and_six_digits(tmp_path):
    table = files.save_figure(*made(), tmp_path)[3]
    with table.open(newline="", encoding="utf-8") as stream:
        assert list(csv.DictReader(stream)) == [
            {"name": 'a,"b"', "value": "1.23457", "count": ""},
            {"name": "x", "value": "", "count": "3"},
        ]


def test_numbers_of_numpy_are_numbers(tmp_path):
    figure, analysis = made(facts=lambda: {"n": np.int64(3), "x": np.float32(0.5)})
    facts = json.loads(files.save_figure(figure, analysis, tmp_path)[4].read_text())
    assert (facts["n"], facts["x"]) == (3, 0.5)


def test_the_same_figure_is_the_same_bytes(tmp_path):
    one, other = (files.save_figure(*made(), tmp_path / name) for name in ("one", "other"))
    for a, b in zip(one[:4], other[:4], strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name


def test_fonts_are_embedded_and_text_is_text(tmp_path):
    pdf, svg, png, *_ = files.save_figure(*made("Ünïcode $5 <b>"), tmp_path)
    content = pdf.read_bytes()
    assert b"/FontFile2" in content and b"/Type3" not in content
    assert "Ünïcode $5 <b>" in [
        "".join(item.itertext()) for item in ET.parse(svg).iter("{http://www.w3.org/2000/svg}text")
    ]
    with Image.open(png) as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        assert image.width == 300 * style.ONE_COLUMN


def test_labels_that_no_font_can_draw_are_named_and_all_is_written(tmp_path):
    figure, analysis = made(f"a {RARE}")
    with pytest.warns(UserWarning, match="kind-task: no installed font can draw") as caught:
        written = files.save_figure(figure, analysis, tmp_path)
    assert len(caught) == 1 and RARE in str(caught[0].message)
    assert all(path.stat().st_size for path in written)
    assert f"a {RARE}" in written[1].read_text(encoding="utf-8")  # in the SVG it is text


def test_arabic_and_hebrew_are_drawn_without_a_word(tmp_path, recwarn):
    import matplotlib as mpl

    if mpl.__version_info__[:2] < (3, 11):
        pytest.skip("matplotlib joins Arabic letters since 3.11")
    figure, analysis = made("صوت الكلب · דוב")
    files.save_figure(figure, analysis, tmp_path)
    assert not recwarn


def test_a_figure_that_cannot_be_drawn_leaves_the_old_files(tmp_path):
    files.save_figure(*made(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    figure, analysis = made()
    figure.savefig = lambda *_, **__: (_ for _ in ()).throw(OSError(28, "no space left"))
    with pytest.raises(OSError, match="no space left"):
        files.save_figure(figure, analysis, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# ---- all kinds of figures


@pytest.mark.parametrize("name", [samples.LONG, "<script>{}</script>", "$x_{}^2$"])
def test_names_of_any_kind(name):
    for figure in (
        heatmap.draw_similarity(samples.similar(6, name)),
        heatmap.draw_confusion(samples.confused(8, name)),
        dot_plot.draw_class_differences(samples.differing(9, names=name)),
        curves.draw_label_efficiency(samples.efficient(4, name=name)),
    ):
        assert overlap.problems(figure) == []


def test_files_have_all_numbers(tmp_path):
    for draw, found, rows in (
        (heatmap.draw_similarity, samples.similar(5), 10),
        (heatmap.draw_confusion, samples.confused(60), None),
        (dot_plot.draw_class_differences, samples.differing(62), 62),
        (curves.draw_label_efficiency, samples.efficient(17), 51),
        (scatter.draw_cost, samples.priced(4), 4),
    ):
        paths = files.save_drawing(draw, found, tmp_path)
        assert [path.suffix for path in paths] == [".pdf", ".svg", ".png", ".csv", ".json"]
        lines = paths[3].read_text().splitlines()
        assert len(lines) - 1 == (rows or np.count_nonzero(found.counts))
        assert json.loads(paths[4].read_text())["caption"] == found.caption
        assert "andom weights" in found.caption


# ---- names


def test_stems_carry_choices_that_are_not_the_default():
    name = base.filename_stem("kind", "my-task", "vggish:pool=mean+std")
    assert name == "kind-my-task-vggish-pool-mean-std"
    name = base.filename_stem(
        "kind", metric=("euclidean", "cosine"), c=(None, None), both=(True, False)
    )
    assert name == "kind-metric-euclidean-both"


def test_long_stems_are_cut_and_differ():
    one, other = (base.filename_stem("kind", "t" * 200 + end) for end in "ab")
    assert len(one) == len(other) == 120 and one != other


def test_provenance_is_a_sentence():
    assert base.as_sentence([]) == ""
    assert base.as_sentence(["random weights", "x", "x"]) == " Random weights; x."
