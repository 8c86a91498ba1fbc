"""Tables that can be sorted by any column, with buttons in their heads."""

from collections.abc import Sequence
from dataclasses import dataclass

from probekit.report.html.markup import Markup, join, tag


@dataclass(frozen=True)
class Column:
    """The head of a column.

    Attributes
    ----------
    title : str
        What it says.
    kind : {"text", "number"}
        How its cells are compared.
    down : bool
        Whether the first press sorts from high to low.
    sorted : str
        ``ascending`` or ``descending`` where rows stand in its order already.
    class_ : str
        For the style.
    under : str
        Stands below the button.
    """

    title: str
    kind: str = "text"
    down: bool = False
    sorted: str = ""
    class_: str = ""
    under: str = ""


def sortable(
    columns: Sequence[Column], rows: Sequence[Markup], caption: str, class_: str = ""
) -> Markup:
    """Return a table.

    Parameters
    ----------
    columns : sequence of Column
        Its heads.
    rows : sequence of Markup
        ``tr`` elements; each cell has its value in ``data-v``.
    caption : str
        Read out by screen readers.
    class_ : str
        For the style.

    Returns
    -------
    Markup
        Roles are written out, since cards on a narrow screen would lose them.
    """
    heads = join(*map(_head, columns))
    return tag(
        "table",
        tag("caption", caption, class_="hidden"),
        tag("thead", tag("tr", heads, role="row"), role="rowgroup"),
        tag("tbody", *rows, role="rowgroup"),
        role="table",
        class_=f"sortable {class_}".strip(),
    )


def _head(column: Column) -> Markup:
    title = column.title
    button = tag("button", title, tag("i", aria_hidden="true"), type="button")
    return tag(
        "th",
        button,
        column.under,
        scope="col",
        role="columnheader",
        class_=f"{column.class_} {'n' if column.kind == 'number' else ''}".strip() or None,
        data_kind=column.kind,
        data_first="descending" if column.down else "ascending",
        aria_sort=column.sorted or "none",
    )


def cell(
    *children: str, value: str | float | None = None, class_: str = "", title: str = ""
) -> Markup:
    """Return a cell; ``value`` is what it is sorted by, and ``title`` its head on a phone."""
    return tag(
        "td",
        *children,
        role="cell",
        class_=class_ or None,
        data_v=None if value is None or value != value else value,
        data_title=title or None,
    )


def scrollable(table: Markup, name: str) -> Markup:
    """Return a table that scrolls by itself where it is wider than the page."""
    return tag("div", table, class_="scroll", role="region", aria_label=name, tabindex=0)
