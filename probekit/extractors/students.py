"""Small networks that are trained on a task, by name.

A class of the user's, ``module:Class``, will do as well: a torch module made by
``Class(classes=…, …)`` with ``rate`` (Hz), ``crop`` (s), ``encode(waves)`` and
``decode(embedding)``.
"""

from collections.abc import Callable
from typing import Any

from probekit.errors import ProbekitError
from probekit.extractors import foreign_student, known_students
from probekit.extractors.student import PooledLinear, Student
from probekit.registry import unknown

__all__ = ["NAMES", "PooledLinear", "Student", "build"]

_OWN: dict[str, Callable[..., Student]] = {
    "harmonic-cnn": known_students.HarmonicStudent,
    "cf-net": known_students.CFStudent,
    "short-chunk": known_students.ShortChunk,
}
_PARAMS: dict[str, tuple[str, ...]] = {
    "harmonic-cnn": (), "cf-net": ("width",), "short-chunk": ("width",),
}  # fmt: skip
NAMES = tuple(sorted(_OWN))


def build(text: str, classes: int, **params: Any) -> Student:
    """Build a student with fresh weights, drawn by torch's generator.

    Parameters
    ----------
    text : str
        ``harmonic-cnn``, ``cf-net`` or ``short-chunk``, or ``module:Class``, where that can be
        imported; with parameters ``cf-net:width=32`` or ``module:Class:depth=3``.
    classes : int >= 1
        Outputs.
    **params
        Further parameters; these win over those in the text.

    Returns
    -------
    Student
        In training mode, on the CPU.

    Raises
    ------
    ProbekitError
        If there is no such student, or it does not take the parameters.
    """
    if classes < 1:
        raise ProbekitError(f"student {text}: {classes} classes; it needs one or more")
    name, _, rest = text.partition(":")
    if name not in _OWN and rest and "=" not in rest.partition(":")[0]:
        made, _, rest = rest.partition(":")
        return foreign_student.build(f"{name}:{made}", classes, {**_read(text, rest), **params})
    if name not in _OWN:
        raise unknown("student", name, _OWN, "A torch module of your own: module:Class.")
    given = {**_read(text, rest), **params}
    for key, value in given.items():
        if key not in _PARAMS[name]:
            raise unknown(f"parameter of student {name}", key, _PARAMS[name])
        if not isinstance(value, int) or isinstance(value, bool):
            raise ProbekitError(f"student {text}: {key}={value!r} is not a whole number")
    return _OWN[name](classes, **given)


def _read(text: str, rest: str) -> dict[str, Any]:
    """Read ``key=value,key=value``; numbers and truth values become such."""
    found: dict[str, Any] = {}
    for pair in filter(None, rest.split(",")):
        key, equals, value = pair.partition("=")
        if not (key.strip() and equals and value.strip()):
            raise ProbekitError(f"student {text}: write NAME:key=value,key=value")
        found[key.strip()] = _value(value.strip())
    return found


def _value(text: str) -> int | float | bool | str:
    """Return the number or truth value that a text is, else the text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
