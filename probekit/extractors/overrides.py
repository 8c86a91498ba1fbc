"""Whether weights that a user names belong to one of the extractors that are asked for."""

from collections.abc import Sequence

from probekit import cards
from probekit.errors import ProbekitError
from probekit.extractors.weights import parse_overrides
from probekit.registry import did_you_mean
from probekit.selection import HEAR, STUDENT, Selection, parse, short

_MAIN = "main"  # the file that is meant where none is named


def named_for(
    texts: Sequence[str], extractors: Sequence[str], option: str = "-e"
) -> dict[str, str]:
    """Read ``--weights`` options, and refuse one that none of these extractors can use.

    Parameters
    ----------
    texts : sequence of str
        As :func:`probekit.extractors.weights.parse_overrides` takes them.
    extractors : sequence of str
        What was asked for, each as after ``-e``.
    option : str
        Where the extractors were named, for messages.

    Returns
    -------
    dict of str to str
        ``extractor.file`` to path or ``random:SEED``.

    Raises
    ------
    ProbekitError
        If one has no ``=``, names another extractor, or a file that its extractor does not have.
    """
    found = parse_overrides(texts)
    if not texts:
        return found
    files = {name: own for text in extractors for name, own in _files(parse(text)).items()}
    for text in texts:
        key = text.partition("=")[0]
        name, file = _split(key)
        if name == HEAR and any(own.startswith(HEAR) for own in files):
            continue  # the module is missing: said where it is loaded, with its name
        if not extractors:
            raise ProbekitError(f"--weights {name}: for the extractor of {option}; none is named")
        if name not in files:
            raise ProbekitError(
                f"--weights {name}: no extractor of that name among {option} "
                f"{', '.join(extractors)}.{did_you_mean(name, files)}"
            )
        if not files[name]:
            raise ProbekitError(f"--weights {name}: {name} takes no weights file. Leave it out")
        if file not in files[name]:
            raise ProbekitError(
                f"--weights {key}: {name} has no weights file {file!r}."
                f"{did_you_mean(file, files[name])} It has {', '.join(sorted(files[name]))}"
            )
    return found


def _files(one: Selection) -> dict[str, set[str]]:
    """Return how an extractor may be called here, with the weights files that can be named."""
    if one.name == HEAR:
        return {f"{HEAR}:{one.params.get('module', '')}": {_MAIN}}
    if one.name.startswith(STUDENT):  # it has its own, which are part of what it is
        return {one.name: set(), short(one.name): set()}
    return {one.name: {key.partition("/")[0] for key in cards.extractor(one.name).weights}}


def _split(key: str) -> tuple[str, str]:
    """Return the extractor and the file of an option; the dots of a module's name are its own."""
    if key.startswith(f"{HEAR}:"):
        return key.removesuffix(f".{_MAIN}"), _MAIN
    name, _, file = key.partition(".")
    return name, file or _MAIN
