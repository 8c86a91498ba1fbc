"""Exceptions raised by probekit.

The message of a :class:`ProbekitError` is for users: what is wrong, with which file or value, and
what to do. The command line prints it without a traceback and exits with code 2. Messages name
options; from Python, :func:`with_argument_names` makes arguments of them.
"""

import re
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

_COMMAND = re.compile(r"probekit [a-z]+ .*?(?=[;,)\n]|\.(?:\s|$)|$)")
_OPTION = re.compile(r"--([a-z][a-z-]*)( [^\s;,]+)?")
_PROSE = frozenset(  # words that follow an option and are no value of it
    (
        *("and", "applies", "are", "does", "for", "from", "given", "goes", "has", "is", "must"),
        *("needs", "of", "or", "sets", "starts", "takes", "than", "that", "the", "to", "with"),
    )
)
_PLURALS = {"embedding": "extractors", "fraction": "fractions", "teacher": "teachers"}


class ProbekitError(Exception):
    """Base class of errors caused by user input or files."""


class AudioError(ProbekitError):
    """A recording cannot be used; extraction records it as a failed clip and continues."""


class CardError(ProbekitError):
    """A card (YAML) does not match its schema."""


class CacheError(ProbekitError):
    """An embedding cache is damaged or mixed, or lacks what was requested."""


class DataError(ProbekitError):
    """A manifest, a dataset folder or its metadata cannot be used."""


class ProtocolError(DataError):
    """A task cannot be scored by an evaluation protocol; with another one it can."""


class WeightsError(ProbekitError):
    """A weights file is missing, damaged, or belongs to another network."""


class UnknownNameError(ProbekitError):
    """A name of a task, extractor, probe … does not exist."""


def name_arguments(text: str) -> str:
    """Return a message in which arguments of functions stand for options of commands.

    Whole commands stay as they are.

    Examples
    --------
    >>> name_arguments("--seeds must be >= 1, got 0")
    'seeds must be >= 1, got 0'
    >>> name_arguments("Choose another folder with --cache, or give --root DIR")
    'Choose another folder with cache=, or give root=DIR'
    >>> name_arguments("make some with: probekit evaluate --task birds -e NAME")
    'make some with: probekit evaluate --task birds -e NAME'
    """
    parts, end = [], 0
    for command in _COMMAND.finditer(text):
        parts += [_OPTION.sub(_name_argument, text[end : command.start()]), command.group()]
        end = command.end()
    return "".join([*parts, _OPTION.sub(_name_argument, text[end:])])


def _name_argument(option: "re.Match[str]") -> str:
    name, value = option.groups()
    name = _PLURALS.get(name, name.replace("-", "_"))
    if value is None:
        return f"{name}="
    return f"{name}{value}" if value.strip() in _PROSE else f"{name}={value.strip()}"


@cache
def with_argument_names(function: Callable[..., Any]) -> Any:
    """Return a function whose errors name arguments, not options of the command line."""

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except ProbekitError as error:
            error.args = (name_arguments(str(error)),)
            raise

    return wrapper
