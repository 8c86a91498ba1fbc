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
    name: Annotated[
        str,
        typer.Argument(
            help="An extractor's name, runs/ID of a student, hf:ORG/NAME, hf:FOLDER or onnx:FILE."
        ),
    ],
    bibtex: Annotated[bool, typer.Option("--bibtex", help="Only the citation.")] = False,
    json: bool = output.AsJson,
) -> None:
    """Print all facts about an extractor, and whether its weights are on this machine.

    What extractors check measured on this machine comes last.

    [bold]Examples[/bold]

      probekit extractors show vggish

      probekit extractors show hf:models/wav2vec2-base
    """
    from probekit import cards
    from probekit.cards.schema import HOP
    from probekit.cards.selector import HF, ONNX, STUDENT_PREFIX, parse_selector
    from probekit.cards.training_data import UNKNOWN
    from probekit.extractors.drift import load_drift
    from probekit.extractors.students.card import describe_student
    from probekit.extractors.weights.inventory import list_weights

    extra: dict[str, Any] = {}
    selector = parse_selector(name)
    if selector.name.startswith(STUDENT_PREFIX):
        card = describe_student(selector.name)[0]
        drift = load_drift(selector.name)
    elif selector.name in (HF, ONNX):
        card, label = _describe_model(name)
        drift = load_drift(label)
    else:
        card = cards.load_extractor_card(name)
        drift = load_drift(name)
        extra["weights_here"] = {
            file.role: {"here": file.present, "state": file.state, "path": str(file.path)}
            for file in list_weights([name])
        }
        if code := cards.code_identity(card):
            file = cards.code_file(card)
            extra["code"] = {**code, **({"file": str(file)} if file else {})}
        extra["trained_on"] = UNKNOWN if card.trained_on is None else card.trained_on or "nothing"
        if card.window_hop is not None:
            hop = {
                "default": str(card.window_hop),
                "description": "seconds from one window to the next, at most a window",
            }
            extra["parameters"] = {**card.model_dump(mode="json")["parameters"], HOP: hop}
    lines = [
        f"{stream}: {_format_drift(changes)} ({result['fingerprint'][:8]}, {result['device']}"
        f"{''.join(f', {note}' for note in result.get('provenance', []))})"
        for result in drift
        for stream, changes in result["drift"].items()
    ]
    if lines:
        extra["drift"] = lines
    _print_card(card, bibtex, json, hide={"module"}, extra=extra)


def _describe_model(name: str) -> tuple[Any, str]:
    """Return card and label of a model, whose weights need not be there."""
    from probekit.errors import WeightsError
    from probekit.extractors import load

    try:
        spec = load.resolve_spec(name)
    except WeightsError:
        spec = load.resolve_spec(name, weights={"hf.main": "random:0"})
    return spec.card, spec.label


@extractors.command("check")
def check_extractor(
    name: Annotated[str, typer.Argument(help="An extractor, as after -e.")],
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="Weights file, or NAME=random:SEED."),
    ] = None,
    streams: Annotated[
        str | None, typer.Option(metavar="A,B", help="Streams to check; else all of them.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    json: bool = output.AsJson,
) -> None:
    """Measure how much embeddings change though the sound does not, and keep the numbers.

    The same clips are embedded again, alone, in company, and in two pieces. The first three must
    agree within 1e-5, or the command ends with exit code 1. How much pieces differ from the whole
    is a fact about the network.

    [bold]Examples[/bold]

      probekit extractors check vggish

      probekit extractors check hf:models/wav2vec2-base
    """
    from probekit.extractors import drift
    from probekit.extractors.weights.source import validate_overrides

    result = drift.check_extractor(
        name,
        weights=validate_overrides(weights or (), [name], "NAME"),
        streams=streams.split(",") if streams else None,
        device=device,
    )
    exceeding = drift.exceeds_limit(result["drift"])
    if json:
        output.print_json(result)
    else:
        rows = [
            [stream, *(_format_change(changes.get(key)) for key in drift.CONDITIONS)]
            for stream, changes in result["drift"].items()
        ]
        output.print_table(
            ["stream", *drift.CONDITIONS], rows, numbers="again|alone|company|pieces"
        )
        output.say(f"{result['extractor']}: relative changes; {'; '.join(result['provenance'])}"
                   .rstrip("; "))  # fmt: skip
    if exceeding:
        output.warn(f"{result['extractor']}: more than rounding: {', '.join(exceeding)}")
        raise typer.Exit(1)


def _format_drift(changes: dict[str, float]) -> str:
    """Return the changes of one stream."""
    return ", ".join(f"{key} {_format_change(value)}" for key, value in changes.items())


def _format_change(value: float | None) -> str:
    """Return a relative change with two digits."""
    return "–" if value is None else "0" if value == 0 else f"{value:.1e}"


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
