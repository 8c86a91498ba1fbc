"""Listening logs of all forms, and lines that are wrong."""

import bz2
import gzip
import json
import zipfile

import numpy as np
import pytest

from probekit.errors import DataError
from probekit.targets.logs import read_logs

LINES = "a\tx\t3\nb\ty\t1\na\tx\t2\n007\ty\t4\n"


def write(path, text):
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    elif path.suffix == ".bz2":
        path.write_bytes(bz2.compress(text.encode()))
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("logs.tsv", text)
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["l.tsv", "l.txt.gz", "l.bz2", "l.zip"])
def test_triplets_without_a_header(tmp_path, name):
    logs = read_logs(write(tmp_path / name, LINES))
    assert logs.users.tolist() == ["a", "b", "007"] and logs.items.tolist() == ["x", "y"]
    assert logs.counts.toarray().tolist() == [[5, 0], [0, 1], [0, 4]]  # equal pairs are summed


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("user_id,track_id,count\na,x,3\nb,y,1\n", ()),
        ("count,song,user\n3,x,a\n1,y,b\n", ()),
        ("who;what;n\na;x;3\nb;y;1\n", ("who", "what", "n")),
        ("x\t3\ta\ny\t1\tb\n", ("3", "1", "2")),
        ("a x 3\nb y 1\n", ()),
    ],
)
def test_columns_by_name_or_place(tmp_path, text, columns):
    logs = read_logs(write(tmp_path / "l.csv", text), columns)
    assert logs.users.tolist() == ["a", "b"] and logs.counts.toarray().tolist() == [[3, 0], [0, 1]]


def test_events_add_up(tmp_path):
    logs = read_logs(write(tmp_path / "l.tsv", "user\titem\na\tx\na\tx\nb\ty\n"))
    assert logs.counts.toarray().tolist() == [[2, 0], [0, 1]]


def test_playlists(tmp_path):
    playlists = [{"id": 7, "songs": [1, 2]}, {"id": 8, "songs": [2], "tags": []}]
    logs = read_logs(write(tmp_path / "train.json", json.dumps(playlists)))
    assert logs.users.tolist() == ["7", "8"] and logs.counts.toarray().tolist() == [[1, 1], [0, 1]]


def test_excluded_items_and_rare_ones(tmp_path):
    rng = np.random.default_rng(0)
    pairs = {(u, i) for u in range(10) for i in range(8) if rng.random() < 0.6} | {(99, 0), (0, 99)}
    path = write(tmp_path / "l.tsv", "".join(f"u{u}\ti{i}\t1\n" for u, i in sorted(pairs)))
    assert "i3" not in read_logs(path, exclude=["i3"]).items
    dense = read_logs(path).without_rare(3, 3)
    assert "u99" not in dense.users and "i99" not in dense.items
    cells = dense.counts > 0
    assert cells.sum(axis=1).min() >= 3 and cells.sum(axis=0).min() >= 3
    with pytest.raises(DataError, match="no user with at least 50 items"):
        read_logs(path).without_rare(50, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("a\n", "line 1 has one column"),
        ("a\tx\t3\nb\ty\t-1\n", "line 2: the count must be a number above 0, got '-1'"),
        ("user,item,count\na,x,3\nb,y,nan\n", "line 3: the count must be a number above 0"),
        ("a\tx\t3\nb\t\t1\n", "line 2: no item"),
        ("wer\twas\twieviel\na\tx\t3\n", "neither a header with columns user, item"),
        ("a\tx\t3\na\ty\t1\n", r"one user only \('a'\)"),
        ("a\tx\t3\nb\ty\t1\t9\n", "different numbers of columns"),
    ],
)
def test_bad_lines_are_named(tmp_path, text, words):
    with pytest.raises(DataError, match=words):
        read_logs(write(tmp_path / "l.tsv", text))


def test_damaged_files(tmp_path):
    whole = write(tmp_path / "l.gz", LINES * 1000).read_bytes()
    (tmp_path / "cut.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut.gz: damaged or not text"):
        read_logs(tmp_path / "cut.gz")
    with pytest.raises(DataError, match="no such file"):
        read_logs(tmp_path / "none.tsv")
    with pytest.raises(DataError, match="no column 'n'; line 1 has"):
        read_logs(write(tmp_path / "l.csv", "user,item,count\na,x,3\n"), ("user", "item", "n"))


def test_real_play_counts(shared):
    path = shared / "data" / "hetrec2011-lastfm-2k" / "user_artists.dat"
    if not path.exists():
        pytest.skip("no Last.fm logs")
    logs = read_logs(path)
    assert logs.counts.nnz == 92_834 and logs.counts.shape == (1_892, 17_632)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user,song,total\na,x,3\nb,y,1\n", r"no column of counts .*--columns user,song,COUNT"),
        ("0,1,2\na,x,3\nb,y,1\n", "looks like a header of numbers"),
        (",0,1,2\n0,a,x,3\n1,b,y,1\n", "looks like a header of numbers"),
        ("a,x,3\n1.23E+15,y,1\n", r"line 2: user '1.23E\+15' is a number that a spreadsheet"),
        ("a,x,3\nb,1E+17,1\n", r"line 2: item '1E\+17'"),
    ],
)
def test_tables_of_spreadsheets(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_logs(write(tmp_path / "l.csv", text))


def test_hexadecimal_ids_stay(tmp_path):
    logs = read_logs(write(tmp_path / "l.tsv", "1E10\tx\t3\n5e7\ty\t1\n"))
    assert logs.users.tolist() == ["1E10", "5e7"]


def test_playlists_are_read_in_parts(tmp_path, monkeypatch):
    from probekit.targets import logs as module

    playlists = [{"id": n, "songs": [n % 7, f"[{n}]", "é]}"], "tags": ["x,{"]} for n in range(50)]
    path = write(tmp_path / "train.json", json.dumps(playlists, indent=1))
    whole = read_logs(path)
    monkeypatch.setattr(module, "_JSON_CHARACTERS", 13)
    parts = read_logs(path)
    assert parts.items.tolist() == whole.items.tolist() and len(parts.users) == 50
    assert (parts.counts != whole.counts).nnz == 0
    path.write_text(path.read_text()[:-40])
    with pytest.raises(DataError, match=r"train.json: not JSON, or cut off"):
        read_logs(path)
