"""Grids of cells as LaTeX, Markdown and CSV: nothing in a text is markup."""

import csv
import io
import re

import pytest

from probekit.errors import ProbekitError, UnknownNameError
from probekit.report import table_format
from probekit.report.table_format import Cell, Footnotes, TextTable

NASTY = r"50 % & #1 _a_ {b} $c$ ~ ^ \input{x} <script> | *d* [e] `f` “g” ± 2²"


def grid(**others):
    rows = (
        (Cell("a_b"), Cell("0.912", bold=True), Cell("–")),
        (Cell(NASTY), Cell("0.5", marks=("†", "a")), Cell("text")),
    )
    made = {"caption": NASTY, "columns": ("who", "score", "what"), "rows": rows}
    return TextTable(**{**made, "notes": (("a", NASTY), ("", "plain")), **others})


def unescaped(text, mark):
    return len(re.findall(r"(?<!\\)" + re.escape(mark), text))


def test_latex_is_a_booktabs_table_that_closes_what_it_opens():
    text = table_format.to_latex(grid(rules=frozenset({1}), label="tab:x"))
    for word in (r"\toprule", r"\bottomrule", r"\label{tab:x}"):
        assert text.count(word) == 1
    assert text.count(r"\midrule") == 2
    assert re.findall(r"\\(begin|end)\{(\w+)\}", text) == [
        ("begin", "table"),
        ("begin", "tabular"),
        ("end", "tabular"),
        ("end", "table"),
    ]
    assert unescaped(text, "{") == unescaped(text, "}")
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert [unescaped(line, "&") for line in lines] == [2, 2, 2]
    assert r"\begin{tabular}{lrl}" in text
    assert r"\textbf{0.912}" in text and r"0.5\textsuperscript{\textdagger{},a}" in text


def test_no_text_is_a_command_of_latex():
    text = table_format.escape_latex(NASTY)
    assert r"\input" not in text and r"\textbackslash{}input\{x\}" in text
    for mark in "%&#$_":
        assert unescaped(text, mark) == (2 if mark == "$" else 0)  # those around \pm
    assert table_format.escape_latex("a\nb\t c") == "a b c"
    # a cell that begins with a bracket is not an option of the line break before it
    assert table_format.escape_latex("[x]") == "{[}x{]}"


def test_no_text_is_markup_of_markdown():
    text = table_format.to_markdown(grid())
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert [unescaped(line, "|") for line in table] == [4] * 4
    assert table[1] == "| --- | ---: | --- |"
    assert "**0.912**" in text and "0.5<sup>†,a</sup>" in text
    assert r"\<script\>" in text and "<script>" not in text
    assert r"\*d\*" in text and r"\`f\`" in text
    assert "- plain" in text


def test_csv_is_read_back():
    rows = list(csv.reader(io.StringIO(table_format.render(grid(), "csv"))))
    assert rows == [["who", "score", "what"], ["a_b", "0.912", "–"], [NASTY, "0.5 † a", "text"]]


def test_remarks_have_letters_each_once():
    notes = Footnotes()
    assert notes.marks(["x", "y", "x"]) == ("a", "b", "a")
    many = notes.marks([str(k) for k in range(30)])
    assert many[23] == "z" and many[24] == "aa" and many[25] == "ab"
    assert len(set(many)) == 30
    assert notes.items()[1] == ("b", "y")


def test_formats_are_told_by_name_or_suffix():
    assert table_format.infer_format("", None) == "markdown"
    assert table_format.infer_format("", "x.TEX") == "latex"
    assert table_format.infer_format("csv", "x.tex") == "csv"
    with pytest.raises(ProbekitError, match=r"must end in \.tex, \.md or \.csv"):
        table_format.infer_format("", "x.pdf")
    with pytest.raises(UnknownNameError, match="latex"):
        table_format.infer_format("latx", None)
    with pytest.raises(UnknownNameError, match="table format"):
        table_format.render(grid(), "html")
