"""Tables for papers and pages: one grid of cells as LaTeX (booktabs), Markdown or CSV."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from probekit.errors import ProbekitError
from probekit.utils.suggest import unknown_name_error

FORMATS = {"latex": "tex", "markdown": "md", "csv": "csv"}
DAGGER = "†"  # not distinguishable from the best
_PLAIN = {
    "\\": r"\textbackslash{}",
    **{mark: "\\" + mark for mark in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",  # a line of a table that begins with one would be read as an option of the last
    "]": "{]}",
    "*": "{*}",
    "–": "--",
    "—": "---",
    "−": r"$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "²": r"\textsuperscript{2}",
    "†": r"\textdagger{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "…": r"\ldots{}",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "\N{NO-BREAK SPACE}": "~",
}
_MARKED = re.compile(r"([\\`*_{}\[\]<>|~#&])")


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table.

    Attributes
    ----------
    text : str
        As people read it; nothing in it is markup.
    bold : bool
        Whether it is emphasized.
    marks : tuple of str
        Set above the line after the text: † or letters of notes.
    """

    text: str = ""
    bold: bool = False
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grid:
    """A table with its caption and notes.

    Attributes
    ----------
    caption : str
        Stands above.
    columns : tuple of str
        Heads; the first column names the rows.
    rows : tuple of tuple of Cell
        As many cells as columns.
    rules : frozenset of int
        Rows above which a line is drawn.
    notes : tuple of (str, str)
        A mark, or nothing, and what is said below the table.
    label : str
        Of the LaTeX table, for references to it.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    rules: frozenset[int] = frozenset()
    notes: tuple[tuple[str, str], ...] = ()
    label: str = ""


@dataclass
class Notes:
    """Letters for remarks; the same remark has the same letter wherever it is made."""

    said: dict[str, str] = field(default_factory=dict)

    def marks(self, texts: Sequence[str]) -> tuple[str, ...]:
        """Return the letters of some remarks.

        Parameters
        ----------
        texts : sequence of str
            New ones get the next letters.

        Returns
        -------
        tuple of str
            a, b … z, aa, ab …
        """
        return tuple(self.said.setdefault(t, _letters(len(self.said))) for t in texts)

    def listed(self) -> tuple[tuple[str, str], ...]:
        """Return letters with their remarks, in the order in which they were made."""
        return tuple((mark, text) for text, mark in self.said.items())


def render(grid: Grid, form: str) -> str:
    """Return a table as text.

    Parameters
    ----------
    grid : Grid
        What to write.
    form : {"latex", "markdown", "csv"}
        How.

    Returns
    -------
    str
        Ends with a line feed.

    Raises
    ------
    UnknownNameError
        If there is no such form.
    """
    writers = {"latex": latex, "markdown": markdown, "csv": plain}
    if form not in writers:
        raise unknown_name_error("table format", form, writers)
    return writers[form](grid)


def latex(grid: Grid) -> str:
    r"""Return a LaTeX table with the rules of booktabs; all text is escaped.

    Parameters
    ----------
    grid : Grid
        What to write.

    Returns
    -------
    str
        A ``table`` with caption, label and notes; it needs ``\usepackage{booktabs}`` and, for
        other letters than Latin ones, an engine that has them (XeLaTeX, LuaLaTeX).
    """
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(grid.caption)}}}",
        *([rf"\label{{{grid.label}}}"] if grid.label else []),
        rf"\begin{{tabular}}{{{''.join('r' if n else 'l' for n in _numbers(grid))}}}",
        r"\toprule",
        " & ".join(escape_latex(head) for head in grid.columns) + r" \\",
        r"\midrule",
    ]
    for number, row in enumerate(grid.rows):
        if number in grid.rules:
            lines.append(r"\midrule")
        lines.append(" & ".join(_latex(cell) for cell in row) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    if grid.notes:
        said = [
            (rf"\textsuperscript{{{escape_latex(mark)}}}" if mark else "") + escape_latex(text)
            for mark, text in grid.notes
        ]
        lines += [r"\par\smallskip", r"\parbox{\linewidth}{\footnotesize\raggedright"]
        lines += [*(f"{text} \\\\" for text in said[:-1]), said[-1] + "}"]
    return "\n".join([*lines, r"\end{table}", ""])


def markdown(grid: Grid) -> str:
    """Return a Markdown table (GitHub's); all text is escaped.

    Parameters
    ----------
    grid : Grid
        What to write.

    Returns
    -------
    str
        Caption, table, notes.
    """
    rows = [
        [escape_markdown(head) for head in grid.columns],
        ["---:" if number else "---" for number in _numbers(grid)],
        *([_markdown(cell) for cell in row] for row in grid.rows),
    ]
    lines = [escape_markdown(grid.caption), "", *(f"| {' | '.join(row)} |" for row in rows)]
    if grid.notes:
        lines.append("")
    for mark, text in grid.notes:
        lines.append(
            f"- {f'<sup>{escape_markdown(mark)}</sup> ' if mark else ''}{escape_markdown(text)}"
        )
    return "\n".join([*lines, ""])


def plain(grid: Grid) -> str:
    """Return a table as CSV, its marks after the text; caption and notes are left out.

    Parameters
    ----------
    grid : Grid
        What to write.

    Returns
    -------
    str
        Heads, then rows.
    """
    return csv_text(
        grid.columns,
        [[" ".join([cell.text, *cell.marks]).strip() for cell in row] for row in grid.rows],
    )


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows as CSV.

    Parameters
    ----------
    columns : sequence of str
        Heads.
    rows : sequence of sequence
        None is an empty field.

    Returns
    -------
    str
        Lines end with a line feed.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return out.getvalue()


def infer_format(form: str, path: str | None) -> str:
    """Return the format that a user means: the one named, else that of the file's suffix.

    Parameters
    ----------
    form : str
        A format, or nothing.
    path : str or None
        The file to write.

    Returns
    -------
    str
        Markdown where neither says anything.

    Raises
    ------
    ProbekitError
        If there is no such format, or the suffix is of none.
    """
    if form:
        if form not in FORMATS:
            raise unknown_name_error("table format", form, FORMATS)
        return form
    if path is None:
        return "markdown"
    for name, suffix in FORMATS.items():
        if path.lower().endswith("." + suffix):
            return name
    raise ProbekitError(f"-o {path}: name it .tex, .md or .csv, or say --format")


def escape_latex(text: str) -> str:
    """Return a text as LaTeX that prints it; line feeds are spaces.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str
        Nothing in it is a command of the text's own.
    """
    return "".join(_PLAIN.get(letter, letter) for letter in " ".join(text.split()))


def escape_markdown(text: str) -> str:
    """Return a text as Markdown that shows it; line feeds are spaces.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str
        Nothing in it is markup, but for addresses, which many readers link.
    """
    return _MARKED.sub(r"\\\1", " ".join(text.split()))


def _latex(cell: Cell) -> str:
    text = rf"\textbf{{{escape_latex(cell.text)}}}" if cell.bold else escape_latex(cell.text)
    above = ",".join(escape_latex(mark) for mark in cell.marks)
    return text + (rf"\textsuperscript{{{above}}}" if above else "")


def _markdown(cell: Cell) -> str:
    text = escape_markdown(cell.text)
    text = f"**{text}**" if cell.bold and text else text
    above = ",".join(escape_markdown(mark) for mark in cell.marks)
    return text + (f"<sup>{above}</sup>" if above else "")


def _numbers(grid: Grid) -> list[bool]:
    """Tell which columns hold numbers: their cells begin with a digit or a sign, or are empty."""
    found = []
    for k in range(len(grid.columns)):
        texts = [row[k].text for row in grid.rows if row[k].text not in ("", "–")]
        found.append(k > 0 and bool(texts) and all(re.match(r"[+−-]?\d", t) for t in texts))
    return found


def _letters(number: int) -> str:
    """Return the letters of a number from 0 on: a, b … z, aa, ab and so on."""
    text = ""
    number += 1
    while number:
        number, place = divmod(number - 1, 26)
        text = chr(97 + place) + text
    return text
