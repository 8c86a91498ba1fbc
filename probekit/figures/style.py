"""Style of figures: widths, palettes, and style files."""

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from probekit.errors import DataError
from probekit.figures import labels

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

ONE_COLUMN, TWO_COLUMNS = 3.5, 7.16  # inches, as IEEE prints
DEFAULT_FILE = Path(__file__).with_name("probekit.mplstyle")
MARKERS = "osD^vPX<>*"  # of groups, beside their colors
NOTE_COLOR = "#555555"  # of what is written below a figure
GRAY = "#8A8A8A"  # of what belongs to no group
SMALLEST_SIZE = 6.0  # points

_counts: ContextVar[bool] = ContextVar("counts", default=False)
_COUNT = re.compile(r"[\d,]+ of [\d,]+ clips\b")  # a note that some clips are missing

Subject = TypeVar("Subject")
Contra = TypeVar("Contra", contravariant=True)


class Drawing(Protocol[Contra]):
    """A function that draws an analysis.

    Width is in inches; a style file of the user's; whether the number of clips is written below.
    """

    def __call__(
        self,
        analysis: Contra,
        /,
        width: float | None = None,
        style_file: str | Path | None = None,
        counts: bool = False,
    ) -> "Figure":
        """Return the figure."""
        ...


# Luminance falls evenly along the first. In the second it falls from white to both ends, and much
# further to the positive end, so that the sign is visible in gray, too.
_COLORMAPS = {
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
# Set whatever the style file says: embedded TrueType fonts, text as text, the same bytes for the
# same figure, and dollar signs in labels that are no formulas.
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
def style_context(style_file: str | Path | None = None) -> Iterator[None]:
    """Draw in probekit's style; the user's own matplotlib settings have no effect.

    Parameters
    ----------
    style_file : str or pathlib.Path, optional
        A matplotlib style file; what it does not set is as in ``probekit.mplstyle``.

    Raises
    ------
    DataError
        If the file is missing or not a style file.
    """
    import matplotlib as mpl
    import matplotlib.style

    _register_colormaps()
    files = [DEFAULT_FILE]
    if style_file is not None:
        _check_file(Path(style_file))
        files.append(Path(style_file))
    with mpl.style.context(["default", *files]), warnings.catch_warnings():
        # missing glyphs are named, once, when the figure is saved
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from", UserWarning)
        mpl.rcParams.update(_FIXED)
        mpl.rcParams["font.family"] = labels.installed(mpl.rcParams["font.family"])
        yield


def styled(draw: Callable[[Subject, float | None], "Figure"]) -> Drawing[Subject]:
    """Decorate a function that draws, so that it does so in :func:`style_context`.

    The decorated function takes a style file and ``counts`` as its last arguments.
    """

    @wraps(draw)
    def draw_styled(
        analysis: Subject,
        /,
        width: float | None = None,
        style_file: str | Path | None = None,
        counts: bool = False,
    ) -> "Figure":
        token = _counts.set(counts)
        try:
            with style_context(style_file):
                return draw(analysis, width)
        finally:
            _counts.reset(token)

    return draw_styled


def drawn_notes(notes: Iterable[str]) -> list[str]:
    """Return the notes to write below a figure, each once.

    How many of the clips there are is not among them, unless the figure is drawn with ``counts``:
    that stands in the caption.
    """
    return [note for note in dict.fromkeys(notes) if _counts.get() or not _COUNT.match(note)]


def color_and_marker(k: int) -> tuple[str, str]:
    """Return color and marker of the k-th of several groups; 80 differ in one or the other.

    Neighbors differ in both, so that they can be told apart in gray and by the color-blind.
    """
    palette = categorical()
    return palette[k % len(palette)], MARKERS[(k + k // len(palette)) % len(MARKERS)]


def categorical() -> list[str]:
    """Return the colors for groups, of the style in force.

    Eight by default, such as ``"#3C4D87"``; neighbors differ most in luminance.
    """
    import matplotlib as mpl
    from matplotlib.colors import to_hex

    return [to_hex(entry["color"]) for entry in mpl.rcParams["axes.prop_cycle"]]


def sequential() -> "Colormap":
    """Return the colormap for amounts, of the style in force (its ``image.cmap``)."""
    import matplotlib as mpl

    _register_colormaps()
    return mpl.colormaps[str(mpl.rcParams["image.cmap"])]


def diverging() -> "Colormap":
    """Return the colormap for numbers on both sides of zero."""
    import matplotlib as mpl

    _register_colormaps()
    return mpl.colormaps["probekit.diverging"]


def _register_colormaps() -> None:
    import matplotlib as mpl
    from matplotlib.colors import LinearSegmentedColormap

    for name, colors in _COLORMAPS.items():
        if name not in mpl.colormaps:
            mpl.colormaps.register(LinearSegmentedColormap.from_list(name, colors))


def _check_file(path: Path) -> None:
    """Refuse a style file with a line that matplotlib would skip with no more than a log."""
    import matplotlib as mpl

    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"style file {path}: not a UTF-8 text file") from error
    except OSError as error:
        raise DataError(f"style file {path}: {(error.strerror or str(error)).lower()}") from error
    for number, line in enumerate(lines, start=1):
        key, colon, _ = line.partition(":")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not colon or key.strip() not in mpl.rcParams:
            raise DataError(
                f"style file {path}, line {number}: {line.strip()!r} is not a matplotlib setting; "
                f"see {DEFAULT_FILE} for examples"
            )
    try:
        mpl.rc_params_from_file(path, fail_on_error=True, use_default_template=False)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"style file {path}: {error}") from error
