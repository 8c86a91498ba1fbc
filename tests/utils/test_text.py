import pytest

from probekit.utils.text import first_line, summarize_ids


def test_ids_are_quoted_and_the_rest_counted():
    assert summarize_ids(["a", "b"]) == "'a', 'b'"
    assert summarize_ids(list("abcdefg")) == "'a', 'b', 'c', 'd', 'e' and 2 more"
    assert summarize_ids(list("abc"), 1) == "'a' and 2 more"


@pytest.mark.parametrize(
    ("error", "line"),
    [(ValueError("one\ntwo"), "one"), (ValueError("\n one"), "one"), (KeyError(), "KeyError")],
)
def test_an_error_without_a_message_is_named_by_its_type(error, line):
    assert first_line(error) == line
