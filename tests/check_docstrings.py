"""Validate the docstrings of all public functions and classes with numpydoc.

A one-line docstring is enough for a property, a method that overrides a documented one, and a
function whose name and types say the rest; where there are sections, they must be right.
"""

import dataclasses
import importlib
import inspect
import pkgutil
import sys

from numpydoc.validate import validate

import probekit

# what is asked of a docstring that has sections
ERRORS = {
    "GL01", "GL02", "GL03", "GL05", "GL06", "GL07", "GL08",
    "SS02", "SS03", "SS04",
    "PR01", "PR02", "PR03", "PR04", "PR05", "PR07", "PR08", "PR09", "PR10",
    "RT02", "RT03", "RT04", "RT05",
}  # fmt: skip
# one line is enough where there is nothing but it to say
SHORT = {"PR01", "RT01"}
# GL01 asks for a line break after the opening quotes, GL02 before the closing: style, left to ruff;
# PR02 mistakes "a, b : int" for unknown names where a class documents attributes;
# RT02 wants unnamed single values, PR10 a space before a colon inside of sentences; PR09 and RT05 a
# full stop after an ellipsis, RT04 a capital where a formula begins
IGNORED = {"GL01", "GL02", "GL03", "RT02", "PR10", "PR09", "RT05", "RT04"}


def public() -> list[str]:
    """Return the import names of everything public."""
    found = []
    for info in pkgutil.walk_packages(probekit.__path__, "probekit."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        for name, thing in vars(module).items():
            own = getattr(thing, "__module__", None) == module.__name__
            if name.startswith("_") or not own:
                continue
            if inspect.isfunction(thing) or inspect.isclass(thing):
                found.append(f"{module.__name__}.{name}")
    return found


def described(thing: object) -> bool:
    """Tell whether a dataclass or NamedTuple names all its fields under Attributes."""
    if not dataclasses.is_dataclass(thing):
        return False
    text = inspect.getdoc(thing) or ""
    section = text.partition("Attributes\n----------\n")[2]
    named = {
        word
        for line in section.splitlines()
        if " : " in line and line[0] != " "
        for word in line.partition(" : ")[0].split(", ")
    }
    return {field.name for field in dataclasses.fields(thing)} <= named


def faults(name: str) -> list[str]:
    """Return what numpydoc finds wrong with one docstring."""
    report = validate(name)
    module, _, own = name.rpartition(".")
    thing = getattr(importlib.import_module(module), own)
    whole, is_protocol = described(thing), getattr(thing, "_is_protocol", False)
    lines = [line for line in (report["docstring"] or "").splitlines() if line.strip()]
    short = not any(line.strip().startswith("-----") for line in lines)
    return [
        f"{name}: {code} {text}"
        for code, text in report["errors"]
        if code in ERRORS - IGNORED
        and not (short and code in SHORT)
        and not (code == "PR01" and (whole or is_protocol))
    ]


def main() -> int:
    """Print every fault; exit with 1 if there is one."""
    names = public()
    found = [
        fault
        for name in names
        if not name.startswith("probekit.cli.")  # their docstrings are the help texts
        for fault in faults(name)
    ]
    print("\n".join([*found, f"{len(names)} docstrings, {len(found)} faults"]))  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
