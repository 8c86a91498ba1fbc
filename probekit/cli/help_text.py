"""Texts of ``--help``: paragraphs that wrap, commands that can be copied, types in words."""

import inspect
import re
from typing import Any

import typer

_WIDTH = 74  # of commands in examples: help has 80 columns, and indents them by four
_OPTION = re.compile(r" (?=-)")
_BOLD = re.compile(r"\[bold\](.*?)\[/bold\]")
_WORDS = {
    "task": "TASK",
    "metric": "METRIC",
    "device": "DEVICE",
    "seed": "SEED",
    "dataset": "DATASET",
    "embedding": "NAME",
    "extractor": "NAME",
    "name": "NAME",
    "run": "RUN",
    "paper": "PAPER",
    "student": "NETWORK",
    "network": "NETWORK",
    "recipe": "RECIPE",
    "method": "METHOD",
    "probe": "PROBE",
    "preset": "PRESET",
    "clip_id": "COLUMN",
}  # what parameters are called whose declaration does not say it


def format_help(group: typer.Typer) -> None:
    """Set the help of a group's commands from their docstrings.

    Paragraphs wrap at the terminal's width, not where lines of docstrings end; examples stay as
    they are, those that are too long with a backslash at the end of a line. In lists a command has
    its whole first sentence.
    """
    for info in (*group.registered_commands, group.registered_callback):
        doc = inspect.getdoc(info.callback) if info and info.callback else None
        if info and doc:
            paragraphs = doc.split("\n\n")
            info.help = "\n\n".join(map(_format_paragraph, paragraphs))
            info.short_help = paragraphs[0].replace("\n", " ")
    for subgroup in group.registered_groups:
        app = subgroup.typer_instance
        if app:
            format_help(app)
            callback = app.registered_callback
            summary = (callback and callback.short_help) or app.info.help
            subgroup.short_help = summary if isinstance(summary, str) else None


def name_types(command: Any) -> None:
    """Name the values of options and arguments in words, of a command and all within it."""
    for param in command.params:
        if not getattr(param, "is_flag", False) and param.metavar is None:
            param.metavar = _WORDS.get(param.name, "NUMBER" if _is_number(param) else "TEXT")
        if param.param_type_name == "argument":  # "NAME <str>" says no more than "NAME"
            param.display_type_rich = _no_type
    for child in getattr(command, "commands", {}).values():
        name_types(child)


def _is_number(param: Any) -> bool:
    """Return whether a parameter is a number: as Typer of today says it, or as click does."""
    descriptor = getattr(param, "type_descriptor", None)
    name = getattr(getattr(param, "type", None), "name", "")
    return getattr(descriptor, "annotation", None) in (int, float) or name[:5] in ("integ", "float")


def _no_type(ctx: Any) -> None:
    """Return no type to print beside the name of an argument."""


def _format_paragraph(text: str) -> str:
    """Return a paragraph without line feeds; of examples, one line a command."""
    if not text.startswith(" "):
        return _BOLD.sub(r"\1:", text.replace("\n", " "))
    commands: list[str] = []
    for line in text.splitlines():
        if line.split()[0] == "probekit":
            commands.append(line.strip())
        else:
            commands[-1] += f" {line.strip()}"
    lines = [line for command in commands for line in _wrap_command(command)]
    return "\n".join(["\b", *(f"  {line}" for line in lines)])


def _wrap_command(command: str) -> list[str]:
    """Return a command in lines that end in a backslash if it goes on; options with values."""
    lines: list[str] = []
    for words in _OPTION.split(command):
        if lines and len(lines[-1]) + 1 + len(words) <= _WIDTH - len(" \\"):
            lines[-1] += f" {words}"
        else:
            lines.append(f"    {words}" if lines else words)
    return [*(f"{line} \\" for line in lines[:-1]), lines[-1]]
