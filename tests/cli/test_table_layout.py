"""Tables as wide as the terminal: nothing is lost, no line is too long, no word is torn."""

import numpy as np
import pytest
from rich.cells import cell_len

from probekit.cli import output
from probekit.cli.table_layout import Column, arrange, wrap_cell

ROWS = [
    ("melstats", "0.830", "0.785 – 0.871", "0.044", "C 0.1, 1", "400 of 400", "–", "–"),
    ("openl3:content=env,input=mel256,size=512", "0.811", "0.785 – 0.871", "0.040", "C 1",
     "400 of 400", "1a2b3c4d", "–"),
    ("vggish", "0.728", "0.670 – 0.775", "0.029", "C 0.1", "400 of 400", "random:0",
     "random weights (seed 0); imported embeddings"),
]  # fmt: skip
HEADS = ("embedding", "accuracy", "95 % interval", "sd over folds", "selected", "clips",
         "weights", "note")  # fmt: skip
NUMBERS = ("accuracy", "sd over folds", "clips")


def table(rows=ROWS, heads=HEADS):
    return [
        Column(name, tuple(row[k] for row in rows), name in NUMBERS) for k, name in enumerate(heads)
    ]


@pytest.mark.parametrize("width", [60, 72, 80, 100, 132, 200])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_lost(width):
    layout = arrange(table(), width)
    lines = [line for block in layout.blocks for line in block]
    assert max(map(cell_len, lines)) <= width
    assert all(line == line.rstrip() for line in lines)
    words = " ".join([*lines, layout.common]).replace(" ", "")
    for row in ROWS:
        # names may be divided, numbers and short texts stay whole
        for text in (row[0], *row[1:7]):
            assert text.replace(" ", "")[:12] in words, (text, width)
    assert "sd over folds" in "\n".join(lines)


def test_without_a_limit_every_row_is_one_line():
    layout = arrange(table(), None)
    [block] = layout.blocks
    assert len(block) == 4 and layout.heads == (1,) and layout.common == ""
    assert block[3].split("  ")[0] == "vggish" and block[3].endswith("imported embeddings")


def test_columns_that_do_not_fit_follow_below_the_least_important_first():
    heads = [name for name in HEADS if name != "clips"]
    layout = arrange(table(ROWS[::2]), 80, below=("weights", "selected"))
    first, second = layout.blocks
    assert first[0].split("  ")[0] == second[0].split("  ")[0] == "embedding"
    assert [name in first[0] for name in heads] == [True, True, True, True, True, False, True]
    assert [name in second[0] for name in heads] == [True, *[False] * 4, True, False]
    assert layout.common == "in all rows: clips 400 of 400"  # text that distinguishes no row


def test_columns_leave_from_the_right_if_none_is_named():
    first, *others = arrange(table(ROWS[::2]), 60).blocks
    assert first[0].split() == [
        "embedding",
        "accuracy",
        "95",
        "%",
        "interval",
        "sd",
        "over",
        "folds",
        "selected",
    ]
    assert len(others) == 1


def test_several_columns_can_name_the_rows():
    columns = [Column(name, ("x" * 12,) * 3) for name in "AB"]
    columns += [Column(name, ("123456789", "2", "3"), True) for name in "cdefg"]
    layout = arrange(columns, 50, keys=2)
    assert [block[0].split() for block in layout.blocks] == [
        ["A", "B", "c", "d"], ["A", "B", "e", "f"], ["A", "B", "g"],
    ]  # fmt: skip


def test_numbers_are_aligned_right_and_never_divided():
    columns = [Column("n", ("a", "b")), Column("clips", ("1,000,000,000,000,000", "5"), True)]
    [block] = arrange(columns, 10).blocks
    assert block == ("n                  clips", "a  1,000,000,000,000,000", "b" + " " * 22 + "5")


@pytest.mark.parametrize("seed", range(20))
def test_any_table_fits_any_width(seed):
    rng = np.random.default_rng(seed)
    letters = list("abc :,+/雀é–12")
    columns = [
        Column(
            f"head {k}",
            tuple("".join(rng.choice(letters, rng.integers(0, 40))) for _ in range(4)),
        )
        for k in range(rng.integers(1, 9))
    ]
    width = int(rng.integers(36, 120))
    layout = arrange(columns, width)
    assert all(cell_len(line) <= width for block in layout.blocks for line in block)
    whole = "".join("".join(block) for block in layout.blocks) + layout.common
    for column in columns:  # letters are counted, since lines may end anywhere
        for sign in "abc12雀é":
            count = sum(text.count(sign) for text in column.cells[:1])
            assert whole.count(sign) >= count


def test_lines_end_at_blanks_and_after_signs():
    assert wrap_cell("random weights (seed 0)", 14) == ["random weights", "(seed 0)"]
    assert wrap_cell("openl3:content=env,size=512", 20) == ["openl3:content=env,", "size=512"]
    assert wrap_cell("a" * 7, 3) == ["aaa", "aaa", "a"]
    assert wrap_cell("two\nlines", 40) == ["two", "lines"]
    assert wrap_cell("", 5) == [""] and wrap_cell("雀" * 3, 4) == ["雀雀", "雀"]


def test_the_width_is_that_of_columns_and_else_unlimited(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    output.print_table(HEADS, ROWS, title="a [red]title[/red]", numbers="|".join(NUMBERS))
    title, _head, *rows = capsys.readouterr().out.splitlines()
    assert title == "a [red]title[/red]" and len(rows) == 3 and len(rows[2]) > 120
    monkeypatch.setenv("COLUMNS", "80")
    output.print_table(HEADS, ROWS, title="title " * 30, numbers="|".join(NUMBERS))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80 and lines[-1] == "in all rows: clips 400 of 400"


def test_columns_that_belong_together_leave_together():
    columns = [Column(name, ("123456.5", "1")) for name in ("A", "B", "A's", "B's", "p", "")]
    layout = arrange(columns, 50, keys=2, below=("A's&B's",))
    assert [block[0].split() for block in layout.blocks] == [
        ["A", "B", "p"],
        ["A", "B", "A's", "B's"],
    ]
    assert layout.blocks[0][1].count("123456.5") == 4


def test_columns_without_a_word_are_left_out():
    columns = [Column("name", ("a" * 30,)), Column("note", ("–",)), Column("size", ("1" * 16,))]
    layout = arrange(columns, 48)
    assert layout.common == "" and "note" not in str(layout.blocks)
