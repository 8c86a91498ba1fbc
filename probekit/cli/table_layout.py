"""Layout of tables on a terminal: columns that do not fit stand below, under the rows' names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells

GAP = 2  # blanks between columns
_NARROWEST = 16  # cells that a column of text is given before it moves below
_KEY_SHARE = 0.45  # of the width that the rows' names may take
_PIECES = re.compile(r"\s+|[^\s:,+/]*[:,+/]|[^\s:,+/]+")  # lines may end after these
_EMPTY = ("", "–")
_SCORE = re.compile(r"[+−-]?\d*\.\d")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    head : str
        Its header.
    cells : tuple of str
        One a row.
    numeric : bool
        Numbers are aligned right and never divided.
    """

    head: str
    cells: tuple[str, ...]
    numeric: bool = False

    @property
    def width(self) -> int:
        """Cells that it takes undivided."""
        return max(cell_len(text) for text in (self.head, *self.cells))

    @property
    def narrowest(self) -> int:
        """Cells that it needs."""
        return self.width if self.numeric else min(self.width, _NARROWEST)

    @property
    def constant(self) -> bool:
        """Whether it is empty, or all of several rows have the same and it is no score."""
        if not set(self.cells) - set(_EMPTY):
            return True
        same = len(self.cells) > 1 and len(set(self.cells)) == 1
        return same and not _SCORE.match(self.cells[0])


@dataclass(frozen=True)
class Layout:
    """Blocks of lines, and a line on what all rows have in common.

    Attributes
    ----------
    blocks : tuple of tuple of str
        Lines of each block, its head first (of several lines, if divided).
    heads : tuple of int
        Lines that the head of each block takes.
    common : str
        Columns that are the same in all rows, in words; empty if none was taken out.
    """

    blocks: tuple[tuple[str, ...], ...]
    heads: tuple[int, ...]
    common: str = ""


def arrange(
    columns: Sequence[Column], width: int | None, *, keys: int = 1, below: Sequence[str] = ()
) -> Layout:
    """Arrange a table so that no line is wider than the terminal.

    Parameters
    ----------
    columns : sequence of Column
        The table.
    width : int or None
        Of the terminal; None for no limit, where every row is one line.
    keys : int
        So many columns at the left name the rows, and are repeated in every block.
    below : sequence of str
        Heads of columns that leave the first block first, in this order, those joined with ``&``
        together; after them the last ones.

    Returns
    -------
    Layout
        One block if everything fits. If not, text that is the same in all rows is taken out, and
        if that is not enough, columns follow in further blocks.
    """
    if width is None or _total([column.width for column in columns]) <= width:
        return _layout([_render(columns, [column.width for column in columns])])
    names, rest = list(columns[:keys]), list(columns[keys:])
    same = [column for column in rest if column.constant]
    rest = [column for column in rest if not column.constant]
    facts = [f"{c.head} {c.cells[0]}".strip() for c in same if not set(c.cells) <= set(_EMPTY)]
    common = f"in all rows: {'; '.join(facts)}" if facts else ""
    blocks: list[tuple[list[str], list[str]]] = []
    while True:
        block, rest = _take_block(names, rest, width, below if not blocks else ())
        blocks.append(_render(block, _share_width(block, width, len(names))))
        if not rest:
            return _layout(blocks, common)


def wrap_cell(text: str, width: int) -> list[str]:
    """Return the lines of a cell: divided at blanks, after signs such as ``:`` and ``+``, or hard.

    Parameters
    ----------
    text : str
        Its own line feeds remain.
    width : int >= 1
        In widths of a Latin letter.
    """
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for piece in _PIECES.findall(paragraph):
            if cell_len(line + piece.rstrip()) <= width:
                line += piece
                continue
            if line.strip():
                lines.append(line.rstrip())
            *full, line = chop_cells(piece.lstrip(), width) or [""]
            lines += full
        lines.append(line.rstrip())
    return lines


def _take_block(
    names: list[Column], rest: list[Column], width: int, below: Sequence[str]
) -> tuple[list[Column], list[Column]]:
    """Return the columns of the next block, and those that remain."""
    block, left = list(rest), []
    leaving = [[c for c in rest if c.head in heads.split("&")] for heads in below]
    while len(block) > 1 and not _fits([*names, *block], width):
        columns = leaving.pop(0) if leaving else block[-1:]
        block = [column for column in block if column not in columns]
        left += columns
    return [*names, *block], [column for column in rest if column in left]


def _fits(columns: Sequence[Column], width: int) -> bool:
    return _total([column.narrowest for column in columns]) <= width


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _share_width(columns: Sequence[Column], width: int, keys: int) -> list[int]:
    """Return the width of each column: what it needs, and a share of what is left."""
    widths = [column.narrowest for column in columns]
    natural = [column.width for column in columns]
    for k in range(keys):  # names may be cut short for the sake of other columns, not the reverse
        natural[k] = max(widths[k], min(natural[k], int(_KEY_SHARE * width)))
    while _total(widths) < width and widths != natural:
        lacking = [want - have for want, have in zip(natural, widths, strict=True)]
        # names first: they are read most
        k = next((k for k in range(keys) if lacking[k]), lacking.index(max(lacking)))
        widths[k] += 1
    return widths


def _render(columns: Sequence[Column], widths: Sequence[int]) -> tuple[list[str], list[str]]:
    """Return the lines of the head and of the rows."""
    head = _row_lines(columns, widths, [column.head for column in columns])
    count = len(columns[0].cells) if columns else 0
    body = [
        line
        for k in range(count)
        for line in _row_lines(columns, widths, [column.cells[k] for column in columns])
    ]
    return head, body


def _row_lines(columns: Sequence[Column], widths: Sequence[int], cells: Sequence[str]) -> list[str]:
    """Return one row, of several lines if a cell is divided."""
    wrapped = [wrap_cell(text, width) for text, width in zip(cells, widths, strict=True)]
    lines = []
    for k in range(max(map(len, wrapped), default=0)):
        texts = []
        for column, width, parts in zip(columns, widths, wrapped, strict=True):
            text = parts[k] if k < len(parts) else ""
            blanks = " " * (width - cell_len(text))
            texts.append(blanks + text if column.numeric else text + blanks)
        lines.append((" " * GAP).join(texts).rstrip())
    return lines


def _layout(blocks: Sequence[tuple[list[str], list[str]]], common: str = "") -> Layout:
    return Layout(
        tuple((*head, *body) for head, body in blocks),
        tuple(len(head) for head, _ in blocks),
        common,
    )
