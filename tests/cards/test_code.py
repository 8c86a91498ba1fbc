"""Code of a user's cards: found, hashed without running it, imported, again once it changed."""

import os
import sys
import time

import pytest
import yaml

from probekit import cards
from probekit.cards import code
from probekit.errors import CardError

CARD = {
    "name": "mine", "title": "", "version": 1, "module": "mine.py:Net", "sample_rate": 8000,
    "long_audio": "exact", "default_stream": "a", "streams": {"a": {"dim": 1, "kind": "clip"}},
}  # fmt: skip


@pytest.fixture(autouse=True)
def fresh_modules():
    """Nothing that a test imports stays."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("probekit_card_", "thing", "pack", "json2")):
            del sys.modules[name]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of cards: ``write`` writes Python files, ``card`` the card."""
    monkeypatch.setenv("PROBEKIT_CARDS", str(tmp_path))

    class Folder:
        path = tmp_path

        @staticmethod
        def write(**files):
            """Write files, in a package for ``package_0module``, its own for ``package_0``."""
            for name, text in files.items():
                path = path_of(tmp_path, name)
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)

        @staticmethod
        def card(**changes):
            (tmp_path / "mine.yaml").write_text(yaml.safe_dump(CARD | changes))
            return cards.load_extractor_card("mine")

    return Folder


def path_of(folder, name):
    """Return the file of a name: ``pack_0net`` is ``pack/net.py``, ``pack_0`` its ``__init__``."""
    package, _, module = name.rpartition("_0")
    return folder / package / f"{module or '__init__'}.py"


def names_of(card):
    return set(code.source_files(card, code.code_file(card)))


def imported(card):
    return code.import_card_module(card, "probekit.extractors.networks")


def test_probekits_own_cards_name_modules_of_probekit():
    """So that none of them can run another package's code or a file."""
    for name in cards.card_paths("extractors"):
        card = cards.load_extractor_card(name)
        assert card.module.isidentifier() and cards.code_identity(card) == {}
        assert code.code_file(card) is None and cards.user_folder(card) is None
    for name in cards.card_paths("tasks"):
        assert cards.load_task_card(name).module.isidentifier()


def test_a_file_beside_the_card(folder):
    folder.write(mine="X = 3\n")
    card = folder.card()
    assert code.code_file(card) == folder.path / "mine.py"
    assert imported(card).X == 3
    assert imported(card) is imported(card)
    folder.write(deeper_0net="X = 4\n")
    assert imported(folder.card(module="deeper/net.py:Net")).X == 4


def test_cards_are_not_searched_in_the_current_folder(folder, monkeypatch):
    folder.write(mine="raise SystemExit\n")
    folder.card()
    monkeypatch.setenv("PROBEKIT_CARDS", "")
    monkeypatch.chdir(folder.path)
    assert "mine" not in cards.card_paths("extractors")


def test_the_hash_is_of_everything_beside_it_that_it_imports(folder):
    folder.write(
        mine=(
            "import thing, os, yaml\nfrom typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    import thing_types\n"
            "def later():\n    from pack.inner import value\n"
        ),
        thing="import thing_deep\n",
        thing_deep="import thing\n",
        thing_types="",
        thing_unused="",
        pack_0="from . import shared\n",
        pack_0inner="from .shared import Y\nvalue = 1\n",
        pack_0shared="Y = 1\n",
        pack_0unused="",
    )
    card = folder.card()
    everything = {"mine", "thing", "thing_deep", "pack", "pack.inner", "pack.shared"}
    assert names_of(card) == everything
    before = cards.code_identity(card)
    assert before.keys() == {"module", "source"}
    for name in ("thing_unused", "thing_types", "pack_0unused"):
        folder.write(**{name: "changed = 1\n"})
    assert cards.code_identity(card) == before
    for name in ("mine", "thing_deep", "pack_0shared", "pack_0"):
        path = path_of(folder.path, name)
        text = path.read_text()
        path.write_text(text + "# changed\n")
        assert cards.code_identity(card) != before, name
        path.write_bytes(text.replace("\n", "\r\n").encode())
        assert cards.code_identity(card) == before, name


def test_another_class_of_the_same_file_is_other_code(folder):
    folder.write(mine="")
    assert cards.code_identity(folder.card()) != cards.code_identity(
        folder.card(module="mine.py:Other")
    )


def test_a_package_is_hashed_without_being_imported(folder, monkeypatch):
    folder.write(
        pack_0="raise RuntimeError\n", pack_0net="from pack.deep import x\nimport numpy\n",
        pack_0deep="", pack_0unused="",
    )  # fmt: skip
    monkeypatch.syspath_prepend(folder.path)
    card = folder.card(module="pack.net:Net")
    assert names_of(card) == {"pack", "pack.net", "pack.deep"}
    assert "pack" not in sys.modules
    with pytest.raises(CardError, match=r"pack.net cannot be imported \(RuntimeError"):
        imported(card)


def test_a_file_that_changed_is_imported_again_with_what_it_imports(folder):
    folder.write(mine="import thing\nX = thing.Y\n", thing="Y = 1\n")
    card = folder.card()
    assert imported(card).X == 1
    folder.write(thing="Y = 2\n")  # within the same second and of the same size: no bytecode
    assert imported(card).X == 2


def test_a_package_that_changed_needs_a_new_process(folder, monkeypatch):
    folder.write(pack_0="", pack_0net="X = 1\n")
    monkeypatch.syspath_prepend(folder.path)
    card = folder.card(module="pack.net:Net")
    assert imported(card).X == 1
    folder.write(pack_0net="X = 2\n")
    with pytest.raises(CardError, match=r"changed after this process imported pack.net; start"):
        imported(card)
    # as well if somebody else imported it
    code._imported.clear()
    os.utime(folder.path / "pack" / "net.py", (time.time() + 60,) * 2)
    with pytest.raises(CardError, match=r"changed after this process imported pack.net"):
        imported(card)


def test_a_name_that_another_module_has_is_refused(folder, monkeypatch):
    folder.write(mine="import json2\n", json2="", other_0json2="")
    monkeypatch.syspath_prepend(folder.path / "other")
    import json2  # noqa: F401

    with pytest.raises(
        CardError, match=r"mine.py imports json2, .* but .*other/json2.py has this n"
    ):
        imported(folder.card())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def (\n", r"mine.py cannot be imported \(SyntaxError"),
        ("import nowhere\n", "mine.py needs 'nowhere', which is not installed"),
        ("1 / 0\n", r"mine.py cannot be imported \(ZeroDivisionError"),
    ],
)
def test_faults_of_a_file_are_one_line(folder, text, message):
    folder.write(mine=text)
    with pytest.raises(
        CardError, match=f"^extractor mine: module 'mine.py:Net' of its card: {message}"
    ):
        imported(folder.card())
    with pytest.raises(
        CardError, match=r"gone.py: no such file\. It is searched relative to the ca"
    ):
        imported(folder.card(module="gone.py:Net"))


def test_cards_of_several_kinds_in_one_folder(folder, recwarn):
    folder.card()
    task = {"name": "birds", "title": "", "dataset": "birds", "module": "table",
            "protocol": {"kind": "folds"}, "metric": "accuracy"}  # fmt: skip
    (folder.path / "birds.yaml").write_text(yaml.safe_dump(task))
    assert "birds" in {card.name for card in cards.load_valid_task_cards()}
    assert {"mine"} == set(cards.card_paths("extractors")) - set(_builtin())
    assert not recwarn.list
    (folder.path / "typo.yaml").write_text("nme: typo\n")  # of which kind is unknown: reported
    with pytest.warns(UserWarning, match="task skipped: .*typo.yaml"):
        cards.load_valid_task_cards()


def _builtin():
    return [path.stem for path in cards.card_folders("extractors")[-1].glob("*.yaml")]
