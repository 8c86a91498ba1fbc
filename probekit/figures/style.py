"""How figures look: widths, palettes, and a style file that people can change."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probekit.errors import DataError
from probekit.figures import text

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

ONE_COLUMN, TWO_COLUMNS = 3.5, 7.16  # inches, as IEEE prints
OWN = Path(__file__).with_name("probekit.mplstyle")
NOTE = "#555555"  # colour of what stands below a figure
QUIET = "#8A8A8A"  # colour of lines that belong to no group
SMALLEST = 6.0  # points

# Luminance falls evenly along the first. In the second it falls from white to both ends, and much
# further to the positive end, so that the sign can be told in grey, too.
_MAPS = {
    "probekit.sequential": (
        "#FFFFFF",
        "#D2E3EF",
        "#A3C7E3",
        "#77AAD6",
        "#5A8DC0",
        "#486FA5",
        "#3C5288",
        "#323669",
        "#251C4B",
    ),
    "probekit.diverging": (
        "#C4702C",
        "#DB9860",
        "#EDC098",
        "#F8E3CF",
        "#FDFDFD",
        "#B9D6EE",
        "#6F9CCB",
        "#425F97",
        "#221A48",
    ),
}
# what a file for print needs, whatever the style says: embedded TrueType fonts, text as text, the
# same bytes for the same figure; and a label may hold dollar signs
_FIXED: dict[Any, Any] = {
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "probekit",
    "text.parse_math": False,
    "text.usetex": False,
    "savefig.bbox": None,
}


@contextmanager
def style_context(style: str | Path | None = None) -> Iterator[None]:
    """Draw in probekit's style, or in that style changed by a file of the user's.

    Nothing of a user's own matplotlib settings has a part in it, and they are as before afterwards.

    Parameters
    ----------
    style : str or pathlib.Path, optional
        A style file of matplotlib's; what it does not set is as in ``probekit.mplstyle``.

    Raises
    ------
    DataError
        If the file is not there, or a line of it is not one of a style file.
    """
    import matplotlib as mpl
    import matplotlib.style

    _register()
    files = [OWN]
    if style is not None:
        _check(Path(style))
        files.append(Path(style))
    with mpl.style.context(["default", *files]), warnings.catch_warnings():
        # the labels are named, once, when the figure is saved
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from", UserWarning)
        mpl.rcParams.update(_FIXED)
        mpl.rcParams["font.family"] = text.installed(mpl.rcParams["font.family"])
        yield


def categorical() -> list[str]:
    """Return the colours for groups, of the style in force.

    Returns
    -------
    list of str
        Eight by default, such as ``"#3C4D87"``; neighbours differ most in luminance.
    """
    import matplotlib as mpl
    from matplotlib.colors import to_hex

    return [to_hex(one["color"]) for one in mpl.rcParams["axes.prop_cycle"]]


def sequential() -> "Colormap":
    """Return the colours for amounts, of the style in force (its ``image.cmap``).

    Returns
    -------
    matplotlib.colors.Colormap
        By default from white to dark blue.
    """
    import matplotlib as mpl

    _register()
    return mpl.colormaps[str(mpl.rcParams["image.cmap"])]


def diverging() -> "Colormap":
    """Return the colours for numbers on both sides of zero.

    Returns
    -------
    matplotlib.colors.Colormap
        From orange over white to dark blue.
    """
    import matplotlib as mpl

    _register()
    return mpl.colormaps["probekit.diverging"]


def _register() -> None:
    """Make the colour maps known to matplotlib, once."""
    import matplotlib as mpl
    from matplotlib.colors import LinearSegmentedColormap

    for name, colours in _MAPS.items():
        if name not in mpl.colormaps:
            mpl.colormaps.register(LinearSegmentedColormap.from_list(name, colours))


def _check(path: Path) -> None:
    """Refuse a style file with a line that matplotlib would pass over with no more than a log."""
    import matplotlib as mpl

    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not a text in UTF-8"
        raise DataError(f"style file {path}: {str(why).lower()}") from error
    for number, line in enumerate(lines, start=1):
        key, colon, _ = line.partition(":")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not colon or key.strip() not in mpl.rcParams:
            raise DataError(
                f"style file {path}, line {number}: {line.strip()!r} is no setting of matplotlib; "
                f"lines look like those of {OWN}"
            )
    try:
        mpl.rc_params_from_file(path, fail_on_error=True, use_default_template=False)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"style file {path}: {error}") from error
