import sys

import pytest

from probekit.errors import UnknownNameError
from probekit.utils.suggest import Registry, unknown_name_error


def test_objects_are_imported_when_asked_for():
    sys.modules.pop("this", None)
    places = Registry("poem", {"zen": "this:s", "json": "json:dumps"})
    assert list(places) == ["json", "zen"]
    assert "zen" in places
    assert places.get("json")([1]) == "[1]"
    assert "this" not in sys.modules


def test_a_misspelt_name_brings_the_near_ones():
    with pytest.raises(UnknownNameError) as caught:
        Registry("metric", {"accuracy": "a:b", "pr-auc": "a:b"}).get("Acuracy")
    text = str(caught.value)
    assert text == "unknown metric 'Acuracy'. Did you mean 'accuracy'? Known: accuracy, pr-auc."


def test_messages_for_no_names_and_for_many():
    assert str(unknown_name_error("task", "x", [])) == "unknown task 'x'. Known: none."
    text = str(
        unknown_name_error("label", "name7", [f"name{k}" for k in range(99)], "See the card.")
    )
    assert "Known:" not in text
    assert "'name7" in text
    assert text.endswith("See the card.")
