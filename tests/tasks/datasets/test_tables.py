"""Metadata files: what is read, and what a person is told about a file that is not as expected."""

import pytest

from probekit.cards import Protocol, TaskCard
from probekit.data import readers
from probekit.errors import DataError
from probekit.tasks.datasets import _files, _tables

CARD = TaskCard(
    name="zoo",
    title="Zoo",
    dataset="zoo",
    module="zoo",
    protocol=Protocol(kind="split"),
    metric="accuracy",
    layout="meta/zoo.csv and audio/",
    download="Get zoo.zip from the zoo.",
)


def write(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "zoo.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_columns_are_found_by_name_and_others_kept(tmp_path, encoding, end):
    lines = ["b,extra,a", '2,"x, ""y""",é', "", "4,z,ü"]
    path = write(tmp_path, end.join(lines), encoding)
    assert _tables.read_table(path, ("a", "b")) == [
        {"b": "2", "extra": 'x, "y"', "a": "é"},
        {"b": "4", "extra": "z", "a": "ü"},
    ]


def test_table_without_header(tmp_path):
    path = write(tmp_path, '# one\n# two\n-a b, 1.0, "x,y"\n')
    [row] = _tables.read_table(
        path, ("id", "start", "mids"), header=False, skip=2, skipinitialspace=True
    )
    assert row == {"id": "-a b", "start": "1.0", "mids": "x,y"}


def test_cells_with_line_breaks_and_rare_separators_stay_whole(tmp_path):
    path = write(tmp_path, 'a,b\n"1\n2",x\u2028y\n3\x1c,4\n')
    assert _tables.read_table(path, "ab") == [
        {"a": "1\n2", "b": "x\u2028y"},
        {"a": "3\x1c", "b": "4"},
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"zoo\.csv: empty; expected a header with a, b"),
        ("\n \n", r"empty"),
        ("a,b\n", r"a header, but no rows"),
        ("a,c\n1,2\n", r"no column b; the header is a, c$"),
        ("a\tb\n1\t2\n", r"no column a, b; .*separated by tabs, expected are commas"),
        ("a;b\n1;2\n", r"separated by semicolons, expected are commas"),
        ("a,b,a\n1,2,3\n", r"the header names a more than once"),
        ("a,b\n1,2\n3\n", r"line 3: expected 2 fields \(a, b\), got 1$"),
        ("a,b\n1,2\n3,4,5\n", r"line 3: .*got 3"),
        ('a,b\n1,2\n"3,4\n5,6\n', r"line \d: unexpected end of data"),
        ('a,b\n"1"x,2\n', r"line 2: "),
    ],
)
def test_faults_name_file_line_and_what_was_expected(tmp_path, text, said):
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=said) as caught:
        _tables.read_table(path, ("a", "b"))
    assert str(path) in str(caught.value)


def test_wrong_separator_without_header(tmp_path):
    path = write(tmp_path, "x.wav,0.0,dog\n")
    with pytest.raises(
        DataError, match=r"line 1: expected 3 .*got 1.*by commas, expected are tabs"
    ):
        _tables.read_table(path, ("file", "start", "label"), header=False, delimiter="\t")


@pytest.mark.parametrize(("encoding", "line"), [("latin-1", 3), ("utf-16", 1)])
def test_other_encodings_are_named_with_their_line(tmp_path, encoding, line):
    path = write(tmp_path, "a,b\n1,2\n3,é\n", encoding)
    with pytest.raises(DataError, match=rf"line {line}: not text in UTF-8"):
        _tables.read_table(path, ("a", "b"))


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DataError, match=r"zoo\.csv: no such file"):
        _tables.read_table(tmp_path / "zoo.csv", ("a",))
    with pytest.raises(DataError, match="cannot be read: is a directory"):
        _tables.read_table(tmp_path, ("a",))


@pytest.mark.parametrize("bad", ["#NAME?", "#VALUE!", "1.23E+11", "1,5E+08", "-2E-07"])
def test_ids_that_a_spreadsheet_changed_are_refused(tmp_path, bad):
    with pytest.raises(DataError, match=r"spreadsheet program has changed: '.+'\. Get the orig"):
        readers.check_spreadsheet_ids(tmp_path, ["a", bad])


def test_ids_that_only_look_odd_pass(tmp_path):
    readers.check_spreadsheet_ids(
        tmp_path, ["-0RWZT-miFs", "1e5", "12E", "E+05", "100032-3-0-0.wav", ""]
    )


def test_place_that_exists_is_returned(tmp_path):
    (tmp_path / "second").mkdir()
    assert _files.locate(tmp_path, "first", "second", card=CARD) == tmp_path / "second"


def test_wrong_folder_says_what_was_looked_for_and_where_to_get_it(tmp_path):
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(DataError) as caught:
        _files.locate(tmp_path, "meta/zoo.csv", card=CARD)
    text = str(caught.value)
    assert "expected meta/zoo.csv, found holiday.jpg" in text
    assert CARD.layout in text
    assert CARD.download in text
    with pytest.raises(DataError, match=r"zoo: give the dataset's folder with --root DIR\. Get"):
        _files.locate(None, "meta/zoo.csv", card=CARD)


def test_folder_one_too_high_is_told_the_right_one(tmp_path):
    (tmp_path / "zoo-main/meta").mkdir(parents=True)
    (tmp_path / "zoo-main/meta/zoo.csv").touch()
    with pytest.raises(DataError, match=r"Did you mean --root .*zoo-main\?"):
        _files.locate(tmp_path, "meta/zoo.csv", card=CARD)


@pytest.mark.parametrize(
    ("files", "command"),
    [
        (["zoo.zip"], "unzip 'zoo.zip'"),
        (["zoo.tar.gz"], "tar xf 'zoo.tar.gz'"),
        (["mp3.zip.001", "mp3.zip.002"], "cat 'mp3.zip'.* > 'all-mp3.zip' && unzip 'all-mp3.zip'"),
        (["a.z01", "a.zip"], "zip -s 0 'a.zip' --out 'all-a.zip' && unzip 'all-a.zip'"),
    ],
)
def test_archive_that_is_not_unpacked_gets_its_command(tmp_path, files, command):
    for name in files:
        (tmp_path / name).touch()
    assert _files.unpack_commands(tmp_path) == [command]
    with pytest.raises(DataError) as caught:
        _files.locate(tmp_path, "meta/zoo.csv", card=CARD)
    assert f"Not unpacked yet? In that folder: {command}" in str(caught.value)


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 83086\n"


def test_archives_and_tables_that_are_lfs_pointers_are_named(tmp_path):
    (tmp_path / "zoo.zip").write_text(LFS)
    assert _files.unpack_commands(tmp_path) == ["git lfs pull --include 'zoo.zip'"]
    path = write(tmp_path, LFS)
    with pytest.raises(DataError, match=r"zoo\.csv: is a Git LFS pointer, .* run git lfs pull"):
        _tables.read_table(path, ("a", "b"))


@pytest.mark.parametrize("layout", ["meta/zoo.csv and audio/", "meta/zoo.csv and audio/."])
def test_sentences_of_the_wrong_folder_end(tmp_path, layout):
    card = CARD.model_copy(update={"layout": layout})
    with pytest.raises(DataError, match=r"audio/\. Get zoo\.zip from the zoo\.$"):
        _files.locate(tmp_path, "meta/zoo.csv", card=card)
    (tmp_path / "zoo.zip").touch()
    with pytest.raises(DataError, match=r"audio/\. Not unpacked yet\?"):
        _files.locate(tmp_path, "meta/zoo.csv", card=card)


def test_folder_one_too_deep_is_told_its_parent(tmp_path, monkeypatch):
    (tmp_path / "recordings").mkdir()
    said = rf"audio/\. Did you mean its parent folder, --root {tmp_path}\?$"
    with pytest.raises(DataError, match=said):
        _files.locate(tmp_path / "recordings", "recordings", card=CARD)
    monkeypatch.chdir(tmp_path / "recordings")
    with pytest.raises(DataError, match=said):
        _files.locate(tmp_path.__class__(), "recordings", card=CARD)
