"""Style: colors that differ for everybody, and a file that people can change."""

from itertools import combinations, pairwise

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from probekit.errors import DataError
from probekit.figures import style

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


def lab(colors, sight="normal"):
    """CIE L*a*b* of colors as they are seen; column 0 is what is left in gray."""
    srgb = np.array([to_rgb(one) for one in colors])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(SIGHT[sight]), 0, 1)
    t = (seen @ TO_XYZ.T) / TO_XYZ.sum(axis=1)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


@pytest.fixture
def palette():
    with style.style_context():
        return style.categorical()


# ---- colors


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
    assert negative[-1, 0] - positive[-1, 0] > 35  # the ends differ in gray
    # a quarter of the way from zero the two sides already differ in hue, for everybody
    assert all(np.linalg.norm(a - b) > 10 for a, b in zip(negative[4:], positive[4:], strict=True))


# ---- the style file


def test_sizes_are_readable_in_print_and_settings_come_back():
    before = dict(mpl.rcParams)
    with style.style_context():
        keys = ("font.size", "axes.labelsize", "axes.titlesize", "figure.titlesize")
        keys += ("xtick.labelsize", "ytick.labelsize", "legend.fontsize")
        assert min(mpl.rcParams[key] for key in keys) >= style.SMALLEST_SIZE
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
        ("font.siz: 7\n", "line 1: 'font.siz: 7' is not a matplotlib setting"),
        ("\nhello\n", "line 2: 'hello' is not a matplotlib setting"),
        ("font.size: seven\n", "seven"),
        (b"\xff\xfe\x00", "not a UTF-8 text file"),
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
