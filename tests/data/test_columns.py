"""One label or several in a cell."""

import pytest

from probekit.data import columns
from probekit.errors import DataError


def parse(*cells, column="labels", **options):
    return columns.parse_labels("t.csv", cells, column=column, **options)


def test_semicolons_and_json_lists_separate_in_labels():
    assert parse("x; y", "", '["z;1", "x"]', "a, b") == [("x", "y"), (), ("z;1", "x"), ("a, b",)]


@pytest.mark.parametrize("mark", [",", "|"])
def test_other_marks_separate_where_every_part_is_a_label(mark):
    alone = (f"dog{mark}cat", "dog", "cat")
    assert parse(*alone) == [("dog", "cat"), ("dog",), ("cat",)]
    # a cat is never alone, but beside two known labels
    mixed = (f"dog{mark}cat", "dog", f"cat{mark}bird", "bird")
    assert parse(*mixed) == [("dog", "cat"), ("dog",), ("cat", "bird"), ("bird",)]
    assert parse(f"owl{mark}wren", known=("owl", "wren")) == [("owl", "wren")]


@pytest.mark.parametrize("mark, word", [(",", "comma"), ("|", "bar")])
@pytest.mark.parametrize("cells", [("dog{}big", "cat{}big"), ("pets{}dog",), ("dog{}cat", "dog")])
def test_marks_that_may_be_part_of_a_name_are_refused_with_what_to_do(mark, word, cells):
    texts = [cell.format(mark) for cell in cells]
    with pytest.raises(DataError) as caught:
        parse(*texts)
    assert f"is {texts[0]!r} one label" in str(caught.value)
    assert f"'labels:{word}'" in str(caught.value)
    header = columns.read_header("t.csv", ["clip_id", "path", f"labels:{word}"])
    assert header.separator == mark
    assert parse(*texts, separator=header.separator)[0] == tuple(cells[0].split("{}"))


def test_single_labels_with_semicolons_are_several_or_refused():
    """60 tags in a column ``label`` were 125 classes."""
    assert parse("a;b", "a", "b", column="label") == [("a", "b"), ("a",), ("b",)]
    with pytest.raises(DataError, match=r"'labels:semicolon' .*\[\"a;b\"\]"):
        parse("a;b", "c", column="label")
    assert parse('["a;b"]', "c", column="label") == [("a;b",), ("c",)]


def test_comma_in_a_single_label_is_part_of_its_name():
    assert parse("Domestic animals, pets", "wild", column="label") == [
        ("Domestic animals, pets",),
        ("wild",),
    ]


def test_separator_in_the_header_by_mark_or_by_word():
    for name in ("labels:|", "labels:bar", "label:bar", "Labels:BAR"):
        assert columns.read_header("t.csv", ["clip_id", name]).separator == "|"
    with pytest.raises(DataError, match="unknown column 'labels:dot'"):
        columns.read_header("t.csv", ["clip_id", "labels:dot"])
