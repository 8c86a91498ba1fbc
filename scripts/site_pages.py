"""Hooks of mkdocs: the pages of the site that are written from the code, and links out of docs/.

``mkdocs.yml`` names this file. Commands come from the command line itself, cards from their YAML
files, metrics from their registry, file formats from the schemas and the text beside the cache.
"""

import ast
import inspect
import os
import re
import sys
import tokenize
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic import BaseModel

ROOT = Path(__file__).resolve().parent.parent
# files beside docs/ that have a page of the site
PAGES_OF_FILES = {
    "cache/README.md": "reference/formats.md",
    "benchmarks/RESULTS.md": "manual/benchmarks.md",
    "CHANGELOG.md": "about/changelog.md",
    "CONTRIBUTING.md": "about/contributing.md",
}
_LINK = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+[^)#\s]+)(#[^)\s]*)?\)")
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#])")

_COMMANDS = """# Commands

Every command has `--help` with examples. Exit codes: 0 success; 1 finished, with failures that are
listed; 2 error; 130 interrupted, and resumed by the same command. `--cards DIR` before the command
or `PROBEKIT_CARDS` adds a folder of your own cards.

All but `demo`, `data rehearse` and `results table` (it has `--format csv`) have `--json`. Tables
are as wide as the terminal; columns that do not fit follow below; a pipe or file gets whole rows
(`COLUMNS=80` sets the width there, too). Without a terminal, progress is a line on standard error
every half minute.

"""
_TASKS = """# Tasks

A task is a dataset with labels, a protocol and a metric. `probekit tasks` lists them.

"""
_EXTRACTORS = """# Extractors

`probekit extractors` lists them. Models of transformers, ONNX files, HEAR modules and networks of
your own need no card here: [Models of transformers, and ONNX files](../../extractors.md),
[your own](../../extending.md).

"""
_PAPERS = """# Papers

`probekit reproduce PAPER` computes a paper's tables and figures ([how](../../reproduce.md)).

"""
_CARD_FIELDS = """# Cards, field by field

A card is a YAML file of facts. An unknown field is an error that names the nearest known one.
Fields without a default are required."""
_METRICS = """# Metrics

A task's card names its metric (`metric`) and further ones (`also`). `top-5` and `f1-samples@0.1`
take any number in place of 5 and 0.1 ([evaluation](../evaluation.md)).

"""
_FORMATS = """# File formats

Everything that probekit writes can be read without it: HDF5, Parquet, JSON, YAML."""
_GLOSSARY = """# Glossary

The words of the documentation, the code and the messages, each with one meaning.
"""
_CITE = """# How to cite

The version is part of what you report. `CITATION.cff` has the same facts.

```bibtex
%s
```

Cite the extractors and datasets that you used as well. Their cards have the entries:

```sh
probekit extractors show vggish --bibtex
probekit tasks show esc50 --bibtex
```

What to report of a score: task and protocol, metric, 95 %% interval and its method, extractor with
fingerprint, stream and pooling, probe and grid, and the notes. `probekit results show RUN` prints
all of it, `probekit results table --format latex` writes the table.

## The papers whose tables are reproduced

```bibtex
%s
```
"""
_PYTHON = """# Python

The names of the package `probekit` do what the commands of the same name do. They are imported when
they are first used."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages into the navigation, where it says ``generated``."""
    assert config.nav is not None
    for section in config.nav:
        [(title, pages)] = section.items()
        if pages == "generated":
            section[title] = _navigation()
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for path, text in build_pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links out of ``docs/`` to the page of that file, or show the file's name."""
    here = Path(page.file.src_uri).parent

    def replace(match: re.Match[str]) -> str:
        target = os.path.normpath("docs" / here / match[2]).replace(os.sep, "/")
        if target.startswith("docs/"):
            return match[0]
        if target not in PAGES_OF_FILES:
            return f"{match[1]} (`{target}`)"
        path = os.path.relpath(PAGES_OF_FILES[target], here).replace(os.sep, "/")
        return f"[{match[1]}]({path}{match[3] or ''})"

    return _LINK.sub(replace, markdown)


def build_pages() -> dict[str, str]:
    """Return the text of every generated page, by its path in the site."""
    pages = {
        "reference/metrics.md": _metrics(),
        "reference/formats.md": _formats(),
        "reference/api.md": _api(),
        "reference/files-of-cards.md": _card_fields(),
        "about/glossary.md": _glossary(),
        "about/cite.md": _citation(),
        "reference/commands/index.md": _command_index(),
        **{f"reference/commands/{name}.md": _command_page(name) for name in _commands()},
    }
    for kind in ("tasks", "extractors", "reports"):
        pages[f"reference/{kind}/index.md"] = _card_index(kind)
        pages |= {f"reference/{kind}/{n}.md": _card_page(kind, n) for n in _cards(kind)}
    for source, page in PAGES_OF_FILES.items():
        if page not in pages:
            pages[page] = _moved(source, page)
    return pages


def _navigation() -> list[Any]:
    """Return the navigation of the generated pages."""
    titles = {"tasks": "Tasks", "extractors": "Extractors", "reports": "Papers"}
    cards = [
        {
            title: [
                f"reference/{kind}/index.md",
                *({n: f"reference/{kind}/{n}.md"} for n in _cards(kind)),
            ]
        }
        for kind, title in titles.items()
    ]
    commands = [{n: f"reference/commands/{n}.md"} for n in _commands()]
    return [
        {"Commands": ["reference/commands/index.md", *commands]},
        *cards,
        {"Metrics": "reference/metrics.md"},
        {"Cards, field by field": "reference/files-of-cards.md"},
        {"File formats": "reference/formats.md"},
        {"Python": "reference/api.md"},
    ]


def _escape(value: object) -> str:
    """Return text in which no character means anything to Markdown."""
    return _SPECIAL.sub(r"\\\1", str(value)).replace("\n", " ")


def _moved(source: str, page: str) -> str:
    """Return a file of the repository, with its links as seen from its page."""
    text = (ROOT / source).read_text(encoding="utf-8")

    def replace(match: re.Match[str]) -> str:
        label, link, section = match[1], match[2], match[3] or ""
        if re.match(r"[a-z]+:", link):
            return match[0]
        target = os.path.normpath(Path(source).parent / link).replace(os.sep, "/")
        inside = PAGES_OF_FILES.get(target) or target.removeprefix("docs/")
        if inside == target:
            return f"{label} (`{target}`)"
        path = os.path.relpath(inside, Path(page).parent).replace(os.sep, "/")
        return f"[{label}]({path}{section})"

    return re.sub(r"\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)", replace, text)


# ---- commands


@cache
def _commands() -> dict[str, Any]:
    """Return the commands by name."""
    from probekit import cli

    return dict(cli.build_command().commands)


def _leaves(command: Any, path: str) -> list[tuple[str, Any]]:
    """Return a command, and those within it, with their full names."""
    children = getattr(command, "commands", {})
    return [(path, command)] + [
        leaf for name, child in children.items() for leaf in _leaves(child, f"{path} {name}")
    ]


def _command_index() -> str:
    rows = [
        f"| [`probekit {name}`]({name}.md) | {_escape(command.get_short_help_str(300))} |"
        for name, command in _commands().items()
    ]
    lines = ["| command | what it does |", "| --- | --- |", *rows]
    return _COMMANDS + "\n".join(lines) + "\n"


def _command_page(name: str) -> str:
    parts = []
    for path, command in _leaves(_commands()[name], name):
        level = "#" if path == name else "##"
        parts += [f"{level} probekit {path}", _command_help(command)]
        context = command.context_class(command, info_name=f"probekit {path}")
        for kind, title in (("argument", "Argument"), ("option", "Option")):
            records = [
                p.get_help_record(context) for p in command.params if p.param_type_name == kind
            ]
            rows = [f"| `{r[0].replace('|', '&#124;')}` | {_escape(r[1])} |" for r in records if r]
            if rows:
                rows = [row.replace("&#124;", "\\|") for row in rows]
                parts.append("\n".join([f"| {title} | meaning |", "| --- | --- |", *rows]))
    return "\n\n".join(parts) + "\n"


def _command_help(command: Any) -> str:
    """Return a command's paragraphs, with its examples as one block."""
    text, examples = [], []
    for paragraph in (command.help or "").split("\n\n"):
        if paragraph.startswith("\b"):
            lines = paragraph.splitlines()[1:]
            examples.append("\n".join(line.removeprefix("  ") for line in lines))
        elif paragraph not in ("Examples:", "Example:"):
            text.append(_escape(paragraph))
    if examples:
        text.append("```sh\n" + "\n".join(examples) + "\n```")
    return "\n\n".join(text)


# ---- cards


@cache
def _cards(kind: str) -> dict[str, Any]:
    """Return the cards of a kind by name."""
    from probekit import cards

    load = {
        "tasks": cards.load_task_card,
        "extractors": cards.load_extractor_card,
        "reports": cards.load_paper_card,
    }[kind]
    return {name: load(name) for name in sorted(cards.card_paths(kind))}


def _card_index(kind: str) -> str:
    loaded = _cards(kind)
    if kind == "tasks":
        head = _TASKS
        columns = ("task", "title", "labels", "metric", "protocol", "clips")
        rows = [
            (n, c.title, c.target, c.metric, c.protocol.kind, c.counts.get("clips", "–"))
            for n, c in loaded.items()
        ]
    elif kind == "extractors":
        head = _EXTRACTORS
        columns = ("extractor", "title", "Hz", "default stream", "numbers", "weights")
        rows = [
            (n, c.title, f"{c.sample_rate:,}", c.default_stream, c.streams[c.default_stream].dim,
             _weights_of(c))
            for n, c in loaded.items()
        ]  # fmt: skip
    else:
        head = _PAPERS
        columns = ("paper", "title", "tables", "figures", "presets")
        rows = [
            (n, c.title, len(c.tables), len(c.figures), ", ".join(c.presets) or "–")
            for n, c in loaded.items()
        ]
    lines = [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    for name, *cells in rows:
        lines.append(f"| [{name}]({name}.md) | {' | '.join(map(_escape, cells))} |")
    return head + "\n".join(lines) + "\n"


def _weights_of(card: Any) -> str:
    """Return where an extractor's weights come from."""
    if not card.weights:
        return "none needed"
    return "downloaded" if any(w.url for w in card.weights.values()) else "your own file"


def _card_page(kind: str, name: str) -> str:
    card = _cards(kind)[name]
    show = {"tasks": "tasks show", "extractors": "extractors show", "reports": "reproduce"}[kind]
    facts = card.model_dump(mode="json", exclude_defaults=True)
    parts = [f"# {name}", f"{_escape(card.title)}.", f"```sh\nprobekit {show} {name}\n```"]
    rows = []
    for key, value in facts.items():
        if isinstance(value, str | int | float) and key not in ("name", "title", "bibtex"):
            link = str(value).startswith("http") and " " not in str(value)
            rows.append(f"| {key.replace('_', ' ')} | {f'<{value}>' if link else _escape(value)} |")
    if kind == "tasks":
        protocol = card.protocol.model_dump(mode="json", exclude_defaults=True)
        rows += [f"| protocol: {key} | {_escape(value)} |" for key, value in protocol.items()]
        rows += [f"| clips: {key} | {value:,} |" for key, value in card.counts.items()]
        if card.labels:
            rows.append(f"| {len(card.labels)} labels | {_escape(', '.join(card.labels))} |")
    if rows:
        parts.append("\n".join(["| fact | value |", "| --- | --- |", *rows]))
    parts += _card_tables(kind, card)
    for key, title in (("notes", "Notes"), ("not_established", "Not established")):
        if facts.get(key):
            parts.append(f"## {title}\n\n" + "\n".join(f"- {_escape(v)}" for v in facts[key]))
    if card.bibtex:
        parts.append(f"## Citation\n\n```bibtex\n{card.bibtex.strip()}\n```")
    return "\n\n".join(parts) + "\n"


def _card_tables(kind: str, card: Any) -> list[str]:
    """Return the tables of a card: streams, parameters, published scores, or a paper's parts."""
    if kind == "tasks":
        rows = [(p.method, p.score, p.metric, p.where, p.differs) for p in card.published]
        return _table(
            "Published scores", ("method", "score", "metric", "printed in", "differs"), rows
        )
    if kind == "extractors":
        streams = [
            (n, s.dim, s.kind, s.hop or "", s.window or "", s.description)
            for n, s in card.streams.items()
        ]
        params = [
            (n, p.default, ", ".join(map(str, p.choices or [])), p.description)
            for n, p in card.parameters.items()
        ]
        files = [(n, w.file, w.url or w.missing) for n, w in card.weights.items()]
        return [
            *_table(
                "Streams",
                ("stream", "numbers", "kind", "hop (s)", "window (s)", "meaning"),
                streams,
            ),
            *_table("Parameters", ("parameter", "default", "choices", "meaning"), params),
            *_table("Weights", ("name", "file", "from"), files),
        ]
    parts = [(t.name, t.title, t.where) for t in (*card.tables, *card.figures)]
    return _table("Tables and figures", ("part", "title", "printed as"), parts)


def _table(title: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    if not rows:
        return []
    lines = [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    lines += [f"| {' | '.join(map(_escape, row))} |" for row in rows]
    return [f"## {title}\n\n" + "\n".join(lines)]


def _card_fields() -> str:
    """Describe the fields of all cards, from their schemas."""
    from probekit.cards import paper, schema

    parts = [_CARD_FIELDS]
    tops = (schema.TaskCard, schema.ExtractorCard, schema.PaperCard)
    nested = (
        schema.Protocol,
        schema.Published,
        schema.Stream,
        schema.Parameter,
        schema.WeightsFile,
    )
    others = [
        model
        for _, model in inspect.getmembers(paper, inspect.isclass)
        if issubclass(model, BaseModel) and model.__module__ == paper.__name__
        and not model.__name__.startswith("_")
    ]  # fmt: skip
    for model in (*tops, *nested, *others):
        comments = _comments_of(schema.Card) if issubclass(model, schema.Card) else {}
        comments = comments | _comments_of(model)
        rows = [
            (
                f"`{name}`",
                _escape(_type_name(field.annotation)),
                "required"
                if field.is_required()
                else _escape(repr(field.get_default(call_default_factory=True))),
                _escape(field.description or comments.get(name, "")),
            )
            for name, field in model.model_fields.items()
        ]
        lines = ["| field | type | default | meaning |", "| --- | --- | --- | --- |"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        summary = _escape((model.__doc__ or "").splitlines()[0])
        parts.append(f"## {model.__name__}\n\n{summary}\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _type_name(annotation: Any) -> str:
    if annotation is None or annotation is type(None):
        return "none"
    arguments = get_args(annotation)
    if get_origin(annotation) is not None and "Literal" in str(get_origin(annotation)):
        return " or ".join(map(str, arguments))
    if arguments and get_origin(annotation) in (list, dict, tuple):
        name = get_origin(annotation).__name__
        return f"{name} of {', '.join(map(_type_name, arguments))}"
    if arguments:
        return " or ".join(map(_type_name, arguments))
    return getattr(annotation, "__name__", str(annotation))


def _comments_of(owner: type) -> dict[str, str]:
    """Return the comments behind, or in lines before, the annotated names of a class."""
    source = inspect.getsource(owner)
    lines = source.splitlines()
    tree = ast.parse(source).body[0]
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(iter(source.splitlines(True)).__next__)
        if token.type == tokenize.COMMENT
    }
    names = {}
    for node in getattr(tree, "body", []):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            before, number = [], node.lineno - 1
            while number in comments and lines[number - 1].lstrip().startswith("#"):
                before.insert(0, comments[number])
                number -= 1
            behind = comments.get(node.end_lineno or node.lineno, "")
            names[node.target.id] = " ".join([*before, behind]).strip()
    return names


# ---- metrics, formats, words


def _metrics() -> str:
    from probekit.metrics import metrics

    listed = [
        *metrics.METRICS.values(),
        metrics.get_metric("top-5"),
        metrics.get_metric("f1-samples@0.1"),
    ]
    kinds = {"single": "one label", "multi": "several labels", "regression": "numbers"}
    lines = ["| name | metric | for | best | over folds, a class's score is |", "|" + " --- |" * 5]
    for m in listed:
        pooled = "of all test clips" if m.pooled else "the mean over folds"
        best = "highest" if m.higher_is_better else "lowest"
        of = ", ".join(kinds[t] for t in m.targets)
        lines.append(f"| `{m.name}` | {_escape(m.title)} | {of} | {best} | {pooled} |")
    return _METRICS + "\n".join(lines) + "\n"


def _formats() -> str:
    from probekit.scores import store
    from probekit.targets import target_file

    cache = _moved("cache/README.md", "reference/formats.md").replace(
        "# The embedding cache", "", 1
    )
    parts = [
        _FORMATS,
        "## The embedding cache",
        re.sub(r"^(#+ )", r"#\1", cache.strip(), flags=re.MULTILINE),
        "## Results",
        _escape_doc(store.__doc__ or ""),
    ]
    for model in (store.Result, store.Source, store.Clips, store.Fold):
        comments = _comments_of(model)
        lines = ["| key | meaning |", "| --- | --- |"]
        lines += [f"| `{n}` | {_escape(comments.get(n, ''))} |" for n in model.__annotations__]
        parts.append(
            f"### {model.__name__}\n\n{_escape((model.__doc__ or '').splitlines()[0])}\n\n"
            + "\n".join(lines)
        )
    parts += [
        "## Target files",
        _escape_doc(target_file.__doc__ or ""),
        "## Cards",
        "See [Cards, field by field](files-of-cards.md).",
    ]
    return "\n\n".join(parts) + "\n"


def _escape_doc(text: str) -> str:
    """Return a docstring in reStructuredText as Markdown: double backquotes, code blocks, roles."""
    text = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", inspect.cleandoc(text)).replace("``", "`")
    return re.sub(r"::$", ":", text, flags=re.MULTILINE)


def _glossary() -> str:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    table = text.split("## Words\n", 1)[1].split("\n## ", 1)[0]
    return _GLOSSARY + table + "\n"


def _citation() -> str:
    import yaml

    facts = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    authors = " and ".join("{" + a["name"] + "}" for a in facts["authors"])
    entry = (
        f"@software{{probekit,\n  author = {{{authors}}},\n  title = {{probekit}},\n"
        f"  version = {{{facts['version']}}},\n  license = {{{facts['license']}}}\n}}"
    )
    papers = "\n\n".join(c.bibtex.strip() for c in _cards("reports").values() if c.bibtex)
    return _CITE % (entry, papers)


def _api() -> str:
    """List the public names, with their documentation."""
    import probekit

    sys.path.insert(0, str(ROOT / "scripts"))
    from check_docstrings import PUBLIC

    lazy = {path.replace(":", "."): name for name, path in probekit._LAZY.items()}
    parts = [_PYTHON]
    for path, name in sorted(lazy.items(), key=lambda item: item[1].lower()):
        parts.append(f"## probekit.{name}\n\n{_documentation(path)}")
    parts.append("## Within the package")
    for path in PUBLIC:
        if path not in lazy:
            parts.append(f"### {path}\n\n{_documentation(path)}")
    return "\n\n".join(parts) + "\n"


def _documentation(path: str) -> str:
    """Return what mkdocstrings replaces by the documentation of an object."""
    options = ("show_root_heading: false", "show_root_toc_entry: false")
    return "\n      ".join([f"::: {path}\n    options:", *options])
