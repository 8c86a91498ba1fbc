"""``probekit tasks`` and ``probekit extractors``: lists and facts of cards."""

from typing import Annotated, Any

import typer

from probekit.cli import options, output

_LABELS = {
    "parameter_count": "parameters of the network",
    "gflop_per_second": "GFLOP per second of audio",
    "weights_here": "weights on this machine",
    "here": "present",
}

_EMPTY: tuple[Any, ...] = (None, "", [], {})

tasks = typer.Typer(invoke_without_command=True)
extractors = typer.Typer(invoke_without_command=True)


@tasks.callback()
def list_tasks(context: typer.Context, json: bool = output.AsJson) -> None:
    """List the tasks (datasets with labels, protocol and metric); show NAME prints all facts.

    [bold]Examples[/bold]

      probekit tasks

      probekit tasks show urbansound8k
    """
    if not options.is_bare_call(context, json):
        return
    from probekit import cards

    rows = [
        {
            "task": card.name,
            "classes": len(card.labels or ()) or None,
            "clips": card.counts.get("clips"),
            "metric": card.metric,
            "title": card.title,
        }
        for card in cards.load_valid_task_cards()
    ]
    _print_rows(rows, json)


@extractors.callback()
def list_extractors(context: typer.Context, json: bool = output.AsJson) -> None:
    """List the extractors (networks and features); show NAME prints all facts.

    Trained students come last, as runs/ID.

    [bold]Examples[/bold]

      probekit extractors

      probekit extractors show vggish
    """
    if not options.is_bare_call(context, json):
        return
    from probekit import cards
    from probekit.cards.selector import display_name
    from probekit.errors import ProbekitError
    from probekit.extractors.students.card import describe_student, list_students

    extractor_cards = {
        name: cards.load_extractor_card(name) for name in cards.card_paths("extractors")
    }
    for name in list_students():
        try:
            extractor_cards[display_name(name)] = describe_student(name)[0]
        except ProbekitError as error:  # the others can be listed
            output.warn(str(error))
    rows = [
        {
            "extractor": name,
            "streams": {name: stream.dim for name, stream in card.streams.items()},
            "rate": card.sample_rate,
            "parameters": card.parameter_count,
            "title": card.title,
        }
        for name, card in extractor_cards.items()
    ]
    _print_rows(rows, json)


@tasks.command("show")
def show_task(
    name: Annotated[str, typer.Argument(help="A task's name, card or CSV.")],
    bibtex: Annotated[bool, typer.Option("--bibtex", help="Only the citation.")] = False,
    json: bool = output.AsJson,
) -> None:
    """Print all facts about a task.

    [bold]Example[/bold]

      probekit tasks show gtzan
    """
    from probekit.cache import layout
    from probekit.tasks import task_clips

    task = task_clips.resolve_task(name, layout.cache_root())
    _print_card(task.card, bibtex, json, hide={"module", "options"})


@extractors.command("show")
def show_extractor(
    name: Annotated[str, typer.Argument(help="An extractor's name, or runs/ID of a student.")],
    bibtex: Annotated[bool, typer.Option("--bibtex", help="Only the citation.")] = False,
    json: bool = output.AsJson,
) -> None:
    """Print all facts about an extractor, and whether its weights are on this machine.

    [bold]Example[/bold]

      probekit extractors show vggish
    """
    from probekit import cards
    from probekit.cards.schema import HOP
    from probekit.cards.selector import STUDENT_PREFIX, parse_selector
    from probekit.extractors.students.card import describe_student
    from probekit.extractors.weights.inventory import list_weights

    if (student := parse_selector(name).name).startswith(STUDENT_PREFIX):
        _print_card(describe_student(student)[0], bibtex, json, hide={"module"})
        return
    card = cards.load_extractor_card(name)
    weights = {
        file.role: {"here": file.present, "state": file.state, "path": str(file.path)}
        for file in list_weights([name])
    }
    extra: dict[str, Any] = {"weights_here": weights}
    if code := cards.code_identity(card):
        file = cards.code_file(card)
        extra["code"] = {**code, **({"file": str(file)} if file else {})}
    if card.window_hop is not None:
        hop = {
            "default": str(card.window_hop),
            "description": "seconds from one window to the next, at most a window",
        }
        extra["parameters"] = {**card.model_dump(mode="json")["parameters"], HOP: hop}
    _print_card(card, bibtex, json, hide={"module"}, extra=extra)


def _print_rows(rows: list[dict[str, Any]], json: bool) -> None:
    if json:
        output.print_json(rows)
    else:
        output.print_table(
            list(rows[0]),
            [[_format_cell(name, value) for name, value in row.items()] for row in rows],
            numbers="classes|clips|rate|parameters",
            below="streams",
        )


def _format_cell(name: str, value: Any) -> str:
    """Format a value for the table."""
    if isinstance(value, dict):
        return ", ".join(f"{stream} ({dim})" for stream, dim in value.items())
    if isinstance(value, int):
        return f"{value:,} Hz" if name == "rate" else f"{value:,}"
    return "–" if value is None else str(value)


def _print_card(
    card: Any, bibtex: bool, json: bool, hide: set[str], extra: dict[str, Any] | None = None
) -> None:
    if bibtex:
        output.say(card.bibtex.rstrip() or "no citation known")
        return
    facts = card.model_dump(mode="json") | (extra or {})
    if json:
        output.print_json(facts)
        return
    for key, value in facts.items():
        if isinstance(value, dict):
            value = {k: v for k, v in value.items() if v not in _EMPTY}
        if key in hide or value in _EMPTY:
            continue
        name = _LABELS.get(key, key.replace("_", " "))
        if isinstance(value, dict):
            output.say(f"{name}:")
            for k, v in value.items():
                output.say(f"    {k}: {_format_inline(v)}")
        elif isinstance(value, list) and value and isinstance(value[0], (dict, str)):
            output.say(f"{name}:" if key != "labels" else f"{name}: {', '.join(value)}")
            for v in value if key != "labels" else ():
                output.say(f"    {_format_inline(v)}")
        else:
            text = f"{value:,}" if key in _LABELS else str(value).rstrip()
            output.say(f"{name}: {text}" if "\n" not in text else f"{name}:\n{text}")


def _format_inline(value: Any) -> str:
    if isinstance(value, dict):
        items = ((_LABELS.get(key, key), item) for key, item in value.items())
        return ", ".join(
            f"{key} {_format_inline(item)}" for key, item in items if item not in _EMPTY
        )
    if isinstance(value, list):
        return " | ".join(map(_format_inline, value))
    return str(value) if not isinstance(value, bool) else "yes" if value else "no"
