"""Text in figures: fonts that are there, widths, labels cut to fit."""

import warnings

import matplotlib as mpl
import overlap
import pytest
from matplotlib.figure import Figure
from rich.cells import cell_len

from probekit.figures import labels, style


def test_only_fonts_that_are_there_are_asked_for():
    assert labels.installed(["No Such Font", "DejaVu Sans"]) == ["DejaVu Sans"]
    assert labels.installed(["No Such Font"]) == ["sans-serif"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with style.style_context():
            assert "DejaVu Sans" in mpl.rcParams["font.family"]


def test_labels_that_no_font_has_are_found():
    rare = "\U00012000"  # cuneiform
    with style.style_context():
        assert labels.missing_glyphs(["plain", f"a {rare}", "naïve", f"a {rare}"]) == [f"a {rare}"]
        shaped = mpl.__version_info__[:2] >= (3, 11)
        assert labels.missing_glyphs(["صوت الكلب"]) == ([] if shaped else ["صوت الكلب"])


def test_widths_are_those_of_the_drawn_text():
    with style.style_context():
        figure = Figure(figsize=(6, 1), dpi=72)
        for k, word in enumerate(("WWW", "illicit", "Ärger über 5 %")):
            figure.text(0, 0.1 + 0.3 * k, word, fontsize=6)
        for artist, box in overlap.boxes(figure):
            # the screen rounds letters to pixels of a point here
            name = artist.get_text()
            assert labels.text_width(name, 6) == pytest.approx(box.width, abs=0.4 * len(name))


@pytest.mark.parametrize(
    ("label", "longest", "expected"),
    [
        ("short", 8, "short"),
        ("two\nlines\tand \x00 more", 40, "two lines and more"),
        ("x" * 200, 10, "xxxxxx…xxx"),
        ("狗" * 20, 9, "狗狗狗…狗"),
        ("", 8, ""),
    ],
)
def test_long_labels_keep_their_beginning_and_their_end(label, longest, expected):
    assert labels.ellipsize(label, longest) == expected
    assert cell_len(labels.ellipsize(label, longest)) <= longest


def test_fitted_labels_are_no_wider_than_there_is_room():
    with style.style_context():
        for label in ("W" * 50, "i" * 300, "many words and some more " * 5):
            shown = labels.fit_to_width(label, 80, 6)
            assert labels.text_width(shown, 6) <= 80
            assert labels.text_width(shown, 6) > 55  # and not much shorter than it could be
        assert labels.fit_to_width("fits", 80, 6) == "fits"
