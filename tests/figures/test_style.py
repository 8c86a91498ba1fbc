"""Style: colours that differ for everybody, a file that people can change, fonts that are there."""

import warnings
from itertools import combinations, pairwise

import matplotlib as mpl
import numpy as np
import overlap
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from probekit.errors import DataError
from probekit.figures import axes_layout, labels, style
from probekit.figures import text as text_module

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = np.array(  # sRGB, IEC 61966-2-1
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def lab(colours, sight="normal"):
    """CIE L*a*b* of colours as they are seen; column 0 is what is left in grey."""
    srgb = np.array([to_rgb(one) for one in colours])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(SIGHT[sight]), 0, 1)
    t = (seen @ TO_XYZ.T) / TO_XYZ.sum(axis=1)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


@pytest.fixture
def palette():
    with style.style_context():
        return style.categorical()


# ---- colours


def test_groups_differ_in_grey(palette):
    light = lab(palette)[:, 0]
    assert len(palette) == 8
    # 8 in L*; 2.3 is what people just notice
    assert min(abs(a - b) for a, b in combinations(light, 2)) >= 8
    assert min(abs(a - b) for a, b in pairwise([*light, light[0]])) >= 17  # side by side
    assert light.max() < 80  # on white paper


@pytest.mark.parametrize("sight", SIGHT)
def test_groups_differ_for_all_kinds_of_sight(palette, sight):
    seen = lab(palette, sight)
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) >= 15


@pytest.mark.parametrize("sight", SIGHT)
def test_amounts_darken_evenly(sight):
    with style.style_context():
        seen = lab(style.sequential()(np.linspace(0, 1, 33)), sight)[:, 0]
    steps = -np.diff(seen)
    assert steps.min() > 2 and steps.max() < 1.4 * steps.min()
    assert seen[0] - seen[-1] > 80


@pytest.mark.parametrize("sight", SIGHT)
def test_both_sides_of_zero_darken_and_can_be_told_apart(sight):
    seen = lab(style.diverging()(np.linspace(0, 1, 33)), sight)
    negative, positive = seen[16::-1], seen[16:]
    assert seen[16, 0] > 98  # zero is white
    for side in (negative, positive):
        assert (np.diff(side[:, 0]) < 0).all()
    assert negative[-1, 0] - positive[-1, 0] > 35  # the ends differ in grey
    # a quarter of the way from zero the two sides already differ in hue, for everybody
    assert all(np.linalg.norm(a - b) > 10 for a, b in zip(negative[4:], positive[4:], strict=True))


# ---- the style file


def test_sizes_are_readable_in_print_and_settings_come_back():
    before = dict(mpl.rcParams)
    with style.style_context():
        keys = ("font.size", "axes.labelsize", "axes.titlesize", "figure.titlesize")
        keys += ("xtick.labelsize", "ytick.labelsize", "legend.fontsize")
        assert min(mpl.rcParams[key] for key in keys) >= style.SMALLEST
        assert mpl.rcParams["pdf.fonttype"] == 42 and mpl.rcParams["svg.fonttype"] == "none"
    assert dict(mpl.rcParams) == before


def test_user_s_file_changes_what_it_names_and_nothing_else(tmp_path):
    mine = tmp_path / "mine.mplstyle"
    mine.write_text(
        "# mine\naxes.prop_cycle: cycler('color', ['102030', 'a0b0c0'])\nimage.cmap: cividis\n"
        "pdf.fonttype: 3\ntext.usetex: True\n"
    )
    with style.style_context(mine):
        assert style.categorical() == ["#102030", "#a0b0c0"]
        assert style.sequential().name == "cividis"
        assert mpl.rcParams["font.size"] == 7
        assert mpl.rcParams["pdf.fonttype"] == 42  # journals want it
        assert not mpl.rcParams["text.usetex"]


def test_a_user_s_own_settings_of_matplotlib_have_no_part(tmp_path):
    with (
        mpl.rc_context({"axes.facecolor": "yellow", "savefig.bbox": "tight"}),
        style.style_context(),
    ):
        assert mpl.rcParams["axes.facecolor"] == "white"
        assert mpl.rcParams["savefig.bbox"] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("font.siz: 7\n", "line 1: 'font.siz: 7' is no setting of matplotlib"),
        ("\nhello\n", "line 2: 'hello' is no setting"),
        ("font.size: seven\n", "seven"),
        (b"\xff\xfe\x00", "not a text in utf-8"),
    ],
)
def test_a_broken_style_file_is_named_with_what_is_wrong(tmp_path, text, message):
    file = tmp_path / "broken.mplstyle"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message) as error, style.style_context(file):
        pass
    assert "broken.mplstyle" in str(error.value)


def test_a_missing_style_file_is_named(tmp_path):
    with (
        pytest.raises(DataError, match=r"none\.mplstyle: no such file"),
        style.style_context(tmp_path / "none.mplstyle"),
    ):
        pass


# ---- fonts


def test_only_fonts_that_are_there_are_asked_for():
    assert text_module.installed(["No Such Font", "DejaVu Sans"]) == ["DejaVu Sans"]
    assert text_module.installed(["No Such Font"]) == ["sans-serif"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with style.style_context():
            assert "DejaVu Sans" in mpl.rcParams["font.family"]


def test_labels_that_no_font_has_are_found():
    rare = "\U00012000"  # cuneiform
    with style.style_context():
        assert text_module.missing_glyphs(["plain", f"a {rare}", "naïve", f"a {rare}"]) == [
            f"a {rare}"
        ]
        shaped = mpl.__version_info__[:2] >= (3, 11)
        assert text_module.missing_glyphs(["صوت الكلب"]) == ([] if shaped else ["صوت الكلب"])


def test_widths_are_those_of_the_drawn_text():
    with style.style_context():
        figure = Figure(figsize=(6, 1), dpi=72)
        for k, text in enumerate(("WWW", "illicit", "Ärger über 5 %")):
            figure.text(0, 0.1 + 0.3 * k, text, fontsize=6)
        for text, box in overlap.boxes(figure):
            # the screen rounds letters to pixels of a point here
            name = text.get_text()
            assert text_module.width(name, 6) == pytest.approx(box.width, abs=0.4 * len(name))


# ---- labels


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
    assert labels.width(labels.ellipsize(label, longest)) <= longest


def test_fitted_labels_are_no_wider_than_there_is_room():
    with style.style_context():
        for label in ("W" * 50, "i" * 300, "many words and some more " * 5):
            shown = labels.fit_to_width(label, 80, 6)
            assert text_module.width(shown, 6) <= 80
            assert text_module.width(shown, 6) > 55  # and not much shorter than it could be
        assert labels.fit_to_width("fits", 80, 6) == "fits"


# ---- places


def test_overlap_sees_what_is_wrong_and_nothing_else():
    with style.style_context():
        figure = Figure(figsize=(3, 2))
        figure.text(0.1, 0.5, "one")
        assert overlap.find_overlaps(figure) == []
        figure.text(0.12, 0.5, "two")
        figure.text(0.99, 0.9, "beyond", fontsize=5)
        figure.text(0.11, 0.5, "hidden", visible=False)
        assert sorted(overlap.find_overlaps(figure)) == [
            "'beyond' has 5 points",
            "'beyond' is cut off",
            "'one' overlaps 'two'",
        ]


def test_names_beside_points_cover_neither_names_nor_points():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(25, 2)), 0.05 * rng.normal(size=(15, 2)) + 1])
    with style.style_context():
        figure = Figure(figsize=(7, 5))
        axes = figure.add_axes((0.05, 0.05, 0.9, 0.9))
        axes.scatter(*points.T, s=13)
        axes.set_axis_off()
        shown = axes_layout.place_labels(axes, points, [f"point number {k}" for k in range(40)])
        assert overlap.find_overlaps(figure) == []
        found = overlap.boxes(figure)
        names = {text.get_text() for text, _ in found}
        assert names == {f"point number {k}" for k in shown}
        assert len(shown) >= 30
        where = axes.transData.transform(points)
        assert not any(box.contains(*point) for _, box in found for point in where)


def test_names_of_points_in_one_place_are_shown_once_around_it():
    with style.style_context():
        figure = Figure(figsize=(4, 4))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        shown = axes_layout.place_labels(axes, np.full((200, 2), 0.5), ["name"] * 200)
        assert 4 <= len(shown) < 100
        assert overlap.find_overlaps(figure) == []
