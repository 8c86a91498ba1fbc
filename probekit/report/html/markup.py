"""HTML from Python: text is escaped unless it is markup already."""

from html import escape


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Attribute = str | int | float | bool | None
_VOID = frozenset({"meta", "img"})


def tag(name: str, /, *children: str, **attributes: Attribute) -> Markup:
    """Return an element.

    Parameters
    ----------
    name : str
        Of the element.
    *children : str
        What is inside; escaped where it is not :class:`Markup`.
    **attributes : str, int, float, bool or None
        ``class_`` for ``class``, dashes as underscores; True for one without a value, False and
        None for none. Always escaped.

    Returns
    -------
    Markup
        Start tag, content and end tag.
    """
    words = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            words.append(key)
        elif value is not None and value is not False:
            text = f"{value:g}" if isinstance(value, float) else str(value)
            words.append(f'{key}="{escape(text, quote=True)}"')
    start = f"<{' '.join(words)}>"
    return Markup(start if name in _VOID else f"{start}{join(*children)}</{name}>")


def join(*children: str) -> Markup:
    """Return several pieces as one, each escaped where it is not :class:`Markup`."""
    return Markup("".join(c if isinstance(c, Markup) else escape(c, quote=False) for c in children))


def label(text: str) -> Markup:
    """Return a name that a user gave, which may run from the right to the left."""
    return tag("bdi", text)


def number(value: float | None, digits: int = 3) -> str:
    """Return a number as text; a dash for none."""
    return "–" if value is None or value != value else f"{value:.{digits}f}"


def percent(share: float) -> str:
    """Return a share from 0 to 1 as SVG wants it."""
    return f"{100 * share:.2f}".rstrip("0").rstrip(".") + "%"


def capital(text: str) -> str:
    """Return a text that begins with a capital letter."""
    return text[:1].upper() + text[1:]
