"""Tables as LaTeX (booktabs), Markdown or CSV."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from probekit.errors import ProbekitError
from probekit.utils.suggest import unknown_name_error

FORMATS = {"latex": "tex", "markdown": "md", "csv": "csv"}
DAGGER = "†"  # not distinguishable from the best
_LATEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    **{character: "\\" + character for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",  # at the beginning of a row it would be read as an option of the line break before
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
_MARKDOWN_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~#&])")


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes
    ----------
    text : str
        Plain text; nothing in it is markup.
    bold : bool
        Whether it is emphasized.
    marks : tuple of str
        Superscripts after the text: † or letters of footnotes.
    """

    text: str = ""
    bold: bool = False
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextTable:
    """A table with its caption and footnotes.

    Attributes
    ----------
    caption : str
        Written above.
    columns : tuple of str
        Heads; the first column names the rows.
    rows : tuple of tuple of Cell
        As many cells as columns.
    rules : frozenset of int
        Rows above which a line is drawn.
    notes : tuple of (str, str)
        Footnotes below the table, each a mark (or nothing) and a text.
    label : str
        LaTeX label.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    rules: frozenset[int] = frozenset()
    notes: tuple[tuple[str, str], ...] = ()
    label: str = ""


@dataclass
class Footnotes:
    """Letters of footnotes; the same text has the same letter everywhere."""

    letters: dict[str, str] = field(default_factory=dict)

    def marks(self, texts: Sequence[str]) -> tuple[str, ...]:
        """Return the letters of some texts: a, b … z, aa, ab …; new texts get the next ones."""
        return tuple(self.letters.setdefault(t, _letter(len(self.letters))) for t in texts)

    def items(self) -> tuple[tuple[str, str], ...]:
        """Return letters and texts, in the order in which they were added."""
        return tuple((letter, text) for text, letter in self.letters.items())


def render(table: TextTable, table_format: str) -> str:
    """Return a table as text that ends with a line feed.

    Parameters
    ----------
    table : Table
        What to write.
    table_format : {"latex", "markdown", "csv"}
        Format.

    Raises
    ------
    UnknownNameError
        If there is no such format.
    """
    writers = {"latex": to_latex, "markdown": to_markdown, "csv": to_csv}
    if table_format not in writers:
        raise unknown_name_error("table format", table_format, writers)
    return writers[table_format](table)


def to_latex(table: TextTable) -> str:
    r"""Return a LaTeX ``table`` with the rules of booktabs, caption, label and notes.

    It needs ``\usepackage{booktabs}`` and, for other letters than Latin ones, an engine that has
    them (XeLaTeX, LuaLaTeX).
    """
    alignment = "".join("r" if numeric else "l" for numeric in _numeric_columns(table))
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(table.caption)}}}",
        *([rf"\label{{{table.label}}}"] if table.label else []),
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        " & ".join(escape_latex(head) for head in table.columns) + r" \\",
        r"\midrule",
    ]
    for number, row in enumerate(table.rows):
        if number in table.rules:
            lines.append(r"\midrule")
        lines.append(" & ".join(_latex_cell(cell) for cell in row) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    if table.notes:
        notes = [
            (rf"\textsuperscript{{{escape_latex(mark)}}}" if mark else "") + escape_latex(text)
            for mark, text in table.notes
        ]
        lines += [r"\par\smallskip", r"\parbox{\linewidth}{\footnotesize\raggedright"]
        lines += [*(f"{note} \\\\" for note in notes[:-1]), notes[-1] + "}"]
    return "\n".join([*lines, r"\end{table}", ""])


def to_markdown(table: TextTable) -> str:
    """Return a Markdown table (GitHub's) with caption and notes."""
    rows = [
        [escape_markdown(head) for head in table.columns],
        ["---:" if numeric else "---" for numeric in _numeric_columns(table)],
        *([_markdown_cell(cell) for cell in row] for row in table.rows),
    ]
    lines = [escape_markdown(table.caption), "", *(f"| {' | '.join(row)} |" for row in rows)]
    if table.notes:
        lines.append("")
    for mark, text in table.notes:
        superscript = f"<sup>{escape_markdown(mark)}</sup> " if mark else ""
        lines.append(f"- {superscript}{escape_markdown(text)}")
    return "\n".join([*lines, ""])


def to_csv(table: TextTable) -> str:
    """Return heads and rows as CSV, marks after the text; caption and notes are left out."""
    return csv_text(
        table.columns,
        [[" ".join([cell.text, *cell.marks]).strip() for cell in row] for row in table.rows],
    )


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows as CSV with line feeds; None is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def infer_format(table_format: str, path: str | None) -> str:
    """Return the format named by the user, else that of the file's suffix, else Markdown.

    Parameters
    ----------
    table_format : str
        A format, or nothing.
    path : str or None
        The file to write.

    Raises
    ------
    ProbekitError
        If there is no such format, or none with that suffix.
    """
    if table_format:
        if table_format not in FORMATS:
            raise unknown_name_error("table format", table_format, FORMATS)
        return table_format
    if path is None:
        return "markdown"
    for name, suffix in FORMATS.items():
        if path.lower().endswith("." + suffix):
            return name
    raise ProbekitError(f"-o must end in .tex, .md or .csv unless --format is given, got {path}")


def escape_latex(text: str) -> str:
    """Return a text as LaTeX that prints it; line feeds become spaces."""
    return "".join(_LATEX_ESCAPES.get(character, character) for character in " ".join(text.split()))


def escape_markdown(text: str) -> str:
    """Return a text as Markdown that shows it; line feeds become spaces.

    Nothing in it is markup, except for addresses, which many viewers link.
    """
    return _MARKDOWN_SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _latex_cell(cell: Cell) -> str:
    text = rf"\textbf{{{escape_latex(cell.text)}}}" if cell.bold else escape_latex(cell.text)
    marks = ",".join(escape_latex(mark) for mark in cell.marks)
    return text + (rf"\textsuperscript{{{marks}}}" if marks else "")


def _markdown_cell(cell: Cell) -> str:
    text = escape_markdown(cell.text)
    text = f"**{text}**" if cell.bold and text else text
    marks = ",".join(escape_markdown(mark) for mark in cell.marks)
    return text + (f"<sup>{marks}</sup>" if marks else "")


def _numeric_columns(table: TextTable) -> list[bool]:
    """Return which columns hold numbers: their cells begin with a digit or a sign, or are empty."""
    numeric = []
    for k in range(len(table.columns)):
        texts = [row[k].text for row in table.rows if row[k].text not in ("", "–")]
        numeric.append(k > 0 and bool(texts) and all(re.match(r"[+−-]?\d", t) for t in texts))
    return numeric


def _letter(number: int) -> str:
    """Return the letters of a number from 0 on: a, b … z, aa, ab and so on."""
    letters = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        letters = chr(97 + digit) + letters
    return letters
