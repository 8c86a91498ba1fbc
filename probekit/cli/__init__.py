"""Command line: one file per command, imports inside functions, errors in one line."""

import codecs
import errno
import sys
import traceback
import warnings
from collections.abc import Iterable
from importlib import import_module
from itertools import pairwise
from typing import Annotated, Any, NoReturn

import typer

from probekit.cli.help_text import format_help, name_types
from probekit.errors import ProbekitError

_UNWRITABLE = {
    errno.EACCES, errno.EEXIST, errno.ENOENT, errno.ENOSPC, errno.ENOTDIR, errno.EPERM, errno.EROFS
}  # fmt: skip
_INTERRUPTED = 130  # typer's exit code for Control-C
_REPLACEMENTS = {
    "–": "-", "—": "-", "−": "-", "…": "...", "×": "x", "·": ".", "→": "->", "≤": "<=", "≥": ">=",
    "²": "2", "½": "1/2", "’": "'", "“": '"', "”": '"', "±": "+-", "α": "alpha",
}  # fmt: skip
_OPTIONS_OF_PATHS = {
    "extract": ("--audio", "--manifest"),
    "evaluate": ("--task", "--task"),
    "distill": ("--task", "--task"),
    "train": ("--task", "--task"),
}  # which option takes a folder, and which one a table
# of click, or of typer's own copy of click
_UsageError: type[Exception] = typer.BadParameter.__mro__[2]

_COMMANDS = {
    "extract": "extract.extract",
    "evaluate": "evaluate.evaluate",
    "compare": "compare.compare",
    "audit": "audit.audit",
    "targets": "targets.app",
    "train": "train.train",
    "distill": "distill.distill",
    "analyze": "analyze.app",
    "report": "report.report",
    "reproduce": "reproduce.reproduce",
    "results": "results.app",
    "cache": "cache.app",
    "weights": "weights.app",
    "tasks": "cards.tasks",
    "extractors": "cards.extractors",
    "data": "data.app",
    "demo": "demo.demo",
    "doctor": "doctor.doctor",
}  # module and function, or group of commands


def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
    cards: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR", help="Folder of your own cards (repeatable; also PROBEKIT_CARDS)."
        ),
    ] = None,
) -> None:
    if version:
        import probekit

        typer.echo(f"probekit {probekit.__version__}")
        raise typer.Exit
    if cards:
        import os

        from probekit.errors import CardError

        for folder in cards:
            if not os.path.isdir(folder):  # noqa: PTH112 - pathlib is not needed for a check
                raise CardError(f"--cards {folder}: no such folder")
        others = os.environ.get("PROBEKIT_CARDS", "")
        os.environ["PROBEKIT_CARDS"] = os.pathsep.join(filter(None, [*cards, others]))


def _make_app() -> typer.Typer:
    """Return the command line without commands."""
    made = typer.Typer(
        name="probekit",
        help="How much does an audio embedding know, and what did the probe learn?",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    made.callback(invoke_without_command=True)(_root)
    return made


app = _make_app()


def _register(group: typer.Typer = app, names: Iterable[str] = _COMMANDS) -> None:
    """Add commands to the app: all, or those of some names."""
    for name in names:
        module, _, attribute = _COMMANDS[name].partition(".")
        command = getattr(import_module(f"probekit.cli.{module}"), attribute)
        if isinstance(command, typer.Typer):
            group.add_typer(command, name=name)
        else:
            group.command(name)(command)
    format_help(group)


def build_command(name: str = "") -> Any:
    """Return the command line as a command of click; with a command's name, with it alone.

    The modules of the others are not imported then, which saves a tenth of a second.
    """
    if name in _COMMANDS:
        group = _make_app()
        _register(group, [name])
    else:
        group = app
        if not app.registered_commands:
            _register()
    command = typer.main.get_command(group)
    name_types(command)
    return command


def main() -> None:
    """Run the command line: exit code 0 done, 1 done with failures listed, 2 failed."""
    _accept_all_characters()
    warnings.formatwarning = _one_line
    try:
        code = build_command(*sys.argv[1:2])(prog_name="probekit", standalone_mode=False)
    except ProbekitError as error:
        _fail(str(error))
    except _UsageError as error:
        _fail_usage(error)
    except OSError as error:
        path = f"{error.filename}: " if error.filename else ""
        _fail(path + (error.strerror or str(error)).lower() + _unwritable_hint(error))
    except Exception:
        traceback.print_exc()
        _fail("this is a bug in probekit; please report it with the lines above")
    if code == _INTERRUPTED:
        print(  # noqa: T201
            "interrupted; finished work is saved, the same command resumes it",
            file=sys.stderr,
        )
    if code:
        sys.exit(code)


def _accept_all_characters() -> None:
    """Let output replace what its encoding lacks: a table is worth more than its dashes."""
    codecs.register_error("probekit", _replace_characters)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="probekit")


def _replace_characters(error: UnicodeError) -> tuple[str, int]:
    """Return a replacement in ASCII, for a character that cannot be encoded."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_REPLACEMENTS.get(character, "?") for character in text), error.end


def _unwritable_hint(error: OSError) -> str:
    """Return what to do if results cannot be written; empty for other errors."""
    from pathlib import Path

    from probekit.scores import store

    if error.errno not in _UNWRITABLE or not error.filename:
        return ""
    values = [text.removeprefix("--reports=") for text in sys.argv if text.startswith("--reports=")]
    values += [value for option, value in pairwise(sys.argv) if option == "--reports"]
    path = Path(str(error.filename)).absolute()
    folder = store.reports_root(values[-1] if values else None).absolute()
    return ". Choose another folder with --reports" if folder in (path, *path.parents) else ""


def _one_line(message: Warning | str, *_: Any, **__: Any) -> str:
    """Format a warning for users, to whom its line of code is irrelevant."""
    return f"warning: {message}\n"


def _fail(message: str) -> NoReturn:
    """Print an error in one line, and exit."""
    print(f"error: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(2)


def _fail_usage(error: Any) -> NoReturn:
    """Print what is wrong with the arguments; without arguments, print the help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show(sys.stdout)
        sys.exit(2)
    message = error.format_message()
    message += "" if message.endswith((".", "?")) else "."
    command = error.ctx.command_path if error.ctx else _command_path()
    _fail(f"{message}{_hint_at_option(command)} See {command} --help")


def _command_path() -> str:
    """Return the words before the first argument: ``probekit cache export``."""
    command, path = build_command(), ["probekit"]
    for word in sys.argv[1:]:
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            break
        path.append(word)
    return " ".join(path)


def _hint_at_option(command: str) -> str:
    """Return which option takes the recordings or clips that were named without one."""
    from pathlib import Path

    name = command.rpartition(" ")[2]
    if name not in _OPTIONS_OF_PATHS:
        return ""
    words = sys.argv[sys.argv.index(name) + 1 :] if name in sys.argv else []
    values = {word for option, word in pairwise(words) if option.startswith("-")}
    paths = [Path(word) for word in words if word not in values and not word.startswith("-")]
    for path in paths:
        option = _OPTIONS_OF_PATHS[name][0 if path.is_dir() else 1]
        if path.exists():
            return f" Did you mean {option} {path}?"
    return ""
