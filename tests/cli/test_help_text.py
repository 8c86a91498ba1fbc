"""``--help`` in a terminal of 80 columns: lines that fit, choices as choices, no names of types."""

import re
import shlex

import pytest

from probekit import cli
from probekit.analysis import (
    class_differences,
    class_weights,
    clustering,
    confusion,
    dendrogram,
    projection,
    similarity,
)
from probekit.cli import help_text
from probekit.distillation import teachers
from probekit.metrics import significance
from probekit.probes import linear
from probekit.report import table_format
from probekit.training import runner, train


def leaves(command, path=()):
    yield path, command
    for name, child in sorted(getattr(command, "commands", {}).items()):
        yield from leaves(child, (*path, name))


COMMANDS = dict(leaves(cli.build_command()))


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "probekit")
def test_lines_fit_and_nothing_is_cut(main, monkeypatch, path):
    monkeypatch.setenv("COLUMNS", "80")
    done = main(*path, "--help")
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and max(map(len, lines)) <= 80
    assert not re.search(r"<\w+|\[bold|\.\.\.|INTEGER|FLOAT", "\n".join(lines[1:]))
    for option in COMMANDS[path].params:
        if option.param_type_name == "option" and getattr(option, "help", None):
            assert option.help.split()[0] in done.stdout


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "probekit")
def test_examples_can_be_copied(main, monkeypatch, path):
    monkeypatch.setenv("COLUMNS", "80")
    text = main(*path, "--help").stdout
    _, heading, examples = text.partition("Example")
    commands = re.findall(r"^    probekit ((?:.*\\\n)*.*)$", examples, re.MULTILINE)
    assert bool(commands) == bool(heading)
    for command in commands:
        # a shell joins lines that end in a backslash; all words are options or values
        words = shlex.split(command.replace("\\\n", " "))
        known, node = COMMANDS[()], ()
        while getattr(known, "commands", {}) and words and words[0] in known.commands:
            node = (*node, words.pop(0))
            known = COMMANDS[node]
        options = {o for param in known.params for o in (*param.opts, *param.secondary_opts)}
        assert all(word in options for word in words if word.startswith("-")), command


CHOICES = {
    ("analyze dendrogram", "space"): class_weights.SPACES,
    ("analyze dendrogram", "center"): dendrogram.CENTERS,
    ("analyze dendrogram", "metric"): clustering.METRICS,
    ("analyze dendrogram", "linkage"): clustering.LINKAGES,
    ("analyze correlation", "normalize"): class_weights.NORMALIZATIONS,
    ("analyze projection", "method"): projection.METHODS,
    ("analyze projection", "color"): projection.COLORS,
    ("analyze similarity", "measure"): similarity.MEASURES,
    ("analyze similarity", "normalize"): similarity.NORMALIZATIONS,
    ("analyze confusion", "order"): confusion.ORDERS,
    ("analyze differences", "correction"): class_differences.CORRECTIONS,
    ("compare", "test"): significance.TESTS,
    ("distill", "alignment"): teachers.ALIGNMENTS,
    ("distill", "precision"): runner.PRECISIONS,
    ("train", "precision"): runner.PRECISIONS,
    ("train", "objective"): train.OBJECTIVES,
    ("evaluate", "solver"): linear.SOLVERS,
    ("results table", "format"): table_format.FORMATS,
}


@pytest.mark.parametrize(("path", "name"), CHOICES, ids=" ".join)
def test_choices_are_those_that_there_are(path, name):
    [param] = [p for p in COMMANDS[tuple(path.split())].params if p.name == name]
    assert sorted(param.metavar.split("|")) == sorted(CHOICES[path, name])


def test_commands_are_wrapped_between_options():
    command = (
        "probekit distill --task gtzan --student short-chunk --teacher vggish " + "-e name " * 9
    )
    lines = help_text._wrap_command(command.strip())
    assert len(lines) > 1 and all(len(line) <= 74 for line in lines)
    assert all(line.endswith(" \\") for line in lines[:-1])
    assert shlex.split(" ".join(line.removesuffix("\\") for line in lines)) == command.split()
    assert all(line.lstrip().startswith("-") for line in lines[1:])


@pytest.mark.parametrize("name", cli._COMMANDS)
def test_a_command_is_the_same_without_the_others(name):
    alone = dict(leaves(cli.build_command(name)))
    root = alone.pop(())
    assert list(root.commands) == [name]
    assert alone.keys() == {path for path in COMMANDS if path[:1] == (name,)}
    for path, command in alone.items():
        assert command.help == COMMANDS[path].help
        assert [option.opts for option in command.params] == [
            option.opts for option in COMMANDS[path].params
        ]


def test_options_before_a_command_and_wrong_names(main):
    assert main("--cards", "data", "data", "--help").stderr.startswith("error: --cards data: no")
    done = main("evalute", "--task", "synth")
    assert done.returncode == 2 and "evaluate" in done.stderr
