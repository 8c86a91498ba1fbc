import os
import unicodedata

import numpy as np
import pytest

from probekit.data import readers
from probekit.data.manifest import missing_recordings
from probekit.errors import DataError


def csv(folder, text, name="clips.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows(clips):
    return clips.table.to_dict("records")


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_columns_of_a_csv(tmp_path):
    path = csv(
        tmp_path,
        "clip_id,path,start,end,split,fold,group,label,extra:other\n"
        'a,x/a.wav,0.5,1.5,train,1,g,"dog, big",?\n'
        "b,b.wav,,,test,2,h,cat,?\n",
    )
    clips = readers.from_csv(path)
    assert (clips.name, clips.target, clips.class_names) == ("clips", "single", ("cat", "dog, big"))
    assert clips.root == tmp_path
    first, second = rows(clips)
    assert first == {
        "clip_id": "a",
        "path": "x/a.wav",
        "start": 0.5,
        "end": 1.5,
        "split": "train",
        "fold": "1",
        "group": "g",
        "labels": ("dog, big",),
    }
    assert np.isnan([second["start"], second["end"]]).all()
    assert list(clips.targets()) == [1, 0]
    assert list(clips.column("split")) == ["train", "test"]


def test_several_labels_are_one_column_of_zeros_and_ones_each(tmp_path):
    path = csv(tmp_path, 'clip_id,path,labels\na,a,x; y\nb,b,\nc,c,"[""z;1"", ""x""]"\n')
    clips = readers.from_csv(path)
    assert clips.class_names == ("x", "y", "z;1")
    np.testing.assert_array_equal(clips.targets(), [[1, 1, 0], [0, 0, 0], [1, 0, 1]])


def test_numbers_to_predict(tmp_path):
    path = csv(tmp_path, "clip_id,path,target:valence,target:arousal\na,a,0.5,-1\nb,b,1e-3,2\n")
    clips = readers.from_csv(path)
    assert (clips.target, clips.class_names) == ("regression", ("valence", "arousal"))
    np.testing.assert_array_equal(clips.targets(), [[0.5, -1], [1e-3, 2]])


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfclip_id,path,label\na,a.wav,dog\n",
        "clip_id, path, label\na, a.wav, dog\n",
        " clip_id ,path,label \na ,a.wav ,dog \n",
        "clip_id,path,label\r\na,a.wav,dog\r\n",
    ],
    ids=["byte order mark", "blanks", "blanks behind", "windows"],
)
def test_harmless_differences_do_not_matter(tmp_path, text):
    [row] = rows(readers.from_csv(csv(tmp_path, text)))
    assert (row["clip_id"], row["path"], row["labels"]) == ("a", "a.wav", ("dog",))


def test_paths_come_in_normal_form(tmp_path):
    clips = readers.from_csv(csv(tmp_path, "clip_id,path\na,x\\y\\..\\a.wav\nb,./b.wav\n"))
    assert list(clips.column("path")) == ["x/a.wav", "b.wav"]


@pytest.mark.parametrize(
    "text, reason",
    [
        ("clip,path\na,a.wav\n", "unknown column 'clip' (did you mean 'clip_id'?)"),
        ("clip_id,path,grup\na,a.wav,x\n", "unknown column 'grup' (did you mean 'group'?)"),
        ("clip_id,path,site,day\na,a.wav,x,y\n", "unknown columns 'site', 'day'. Known: clip_id,"),
        ("clip_id,path,label,Label\na,a.wav,x,y\n", "'Label' (means the same as 'label')"),
        ("clip_id,path,label,label\na,a.wav,x,y\n", "the header names 'label' more than once"),
        ("clip_id\na\n", "no column 'path'"),
        ("clip_id;path\na;a.wav\n", "separated by commas"),
        ("clip_id\tpath\na\ta.wav\n", "separated by commas"),
        ("", "empty"),
        ("clip_id,path\n", "a header, but no clips"),
        ("clip_id,path\na,a.wav,\nb,b.wav,\n", "more fields than the header"),
        ("clip_id,path\na,a.wav\nb,b.wav,x\n", "line 3: more fields than the header, 3 instead"),
        ("clip_id,path,end\na,a.wav\n", "line 2: fewer fields than the header, 2 instead of 3"),
        ('clip_id,path\n"a,a.wav\n', "quote is not closed"),
        ("clip_id,path\na,a.wav\n,b.wav\n", "row 3, column 'clip_id' is empty"),
        ("clip_id,path\na,\n", "row 2, column 'path' is empty"),
        ("clip_id,path\na,a.wav\nb,b.wav\na,c.wav\n", "more than once: 'a'"),
        ("clip_id,path,start\na,a.wav,1 s\n", "row 2, column 'start': '1 s' is not a number"),
        ("clip_id,path,start\na,a.wav,inf\n", "row 2, column 'start': 'inf' is not a number"),
        (
            "clip_id,path,start\na,a.wav,-1\n",
            "start must be >= 0 s and end after it (both empty: the whole recording), got -1 s",
        ),
        ("clip_id,path,start,end\na,a.wav,2,1.5\n", "got 2 s to 1.5 s"),
        ("clip_id,path,start,end\na,a.wav,2,2\n", "end after it"),
        ("clip_id,path,target:x\na,a.wav,\n", "row 2, column 'target:x': '' is not a number"),
        ("clip_id,path,label\na,a.wav,\n", "without a label: 'a'"),
        ("clip_id,path,label,labels\na,a.wav,x,y\n", "only one of them may be used"),
        ("clip_id,path,labels\na,a.wav,[1\n", "not a JSON list"),
        ("clip_id,path,duration\na,a.wav,1\n", "only beside a column 'start'"),
        ("clip_id,path,offset\na,a.wav,1\n", "an end only beside a column 'onset'"),
        ("clip_id,path,start,offset\na,a.wav,0,1\n", "an end only beside a column 'onset'"),
        ("clip_id,path,start,end,duration\na,a.wav,1,3,3\n", "start + duration is 4 s, end is 3 s"),
        ("clip_id,path\na\0b,a.wav\n", "clip_id"),
        ("clip_id,path\na,ä.wav\n".encode("latin-1"), "UTF-8"),
        ("clip_id,path\na,a.wav\n".encode("utf-16"), "UTF-8"),
    ],
)
def test_a_csv_that_cannot_be_used_says_why(tmp_path, text, reason):
    path = csv(tmp_path, text)
    with pytest.raises(DataError) as caught:
        readers.from_csv(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "path", ["../a.wav", "x/../../a.wav", "/data/a.wav", r"C:\data\a.wav", "C:/a.wav", r"\\host\a"]
)
def test_paths_do_not_leave_the_root(tmp_path, path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="leaves the root folder") as caught:
        readers.from_csv(csv(tmp_path, f"clip_id,path\na,{path}\n"))
    assert repr(path) in str(caught.value)
    assert "--root" in str(caught.value)


@pytest.mark.parametrize("name, reason", [("gone.csv", "no such file"), ("", "directory")])
def test_a_csv_that_is_not_there(tmp_path, name, reason):
    with pytest.raises(DataError, match=reason):
        readers.from_csv(tmp_path / name)


def test_ids_from_file_names(tmp_path):
    path = csv(tmp_path, "file,path\n/data/x/a.b.wav,a\ny/c.flac,c\n")
    assert readers.from_csv(path, clip_id="file:stem").clip_ids == ["a.b", "c"]
    windows = csv(tmp_path, "file\nC:\\data\\x.y\\a.wav\n\\\\host\\b.flac\n", "windows.csv")
    clips = readers.from_csv(windows, clip_id="file:stem", need_path=False)
    assert (clips.clip_ids, list(clips.column("path"))) == (["a", "b"], ["", ""])
    with pytest.raises(DataError, match="only 'stem' may follow"):
        readers.from_csv(path, clip_id="file:name")


def test_without_audio_any_text_is_an_id(tmp_path):
    path = csv(tmp_path, "clip_id\n/data/a.wav\n../b.wav\n")
    clips = readers.from_csv(path, need_path=False)
    assert clips.clip_ids == ["/data/a.wav", "../b.wav"]


def test_folders_are_labels(tmp_path):
    touch(
        tmp_path,
        "dog/b.wav",
        "dog/deep/a.FLAC",
        "cat/a.mp3",
        "cat/a.wav",
        "cat/._a.wav",
        ".git/x.wav",
        "cat/notes.txt",
    )
    clips = readers.from_folder(tmp_path)
    assert list(zip(clips.clip_ids, clips.table["labels"], strict=True)) == [
        ("cat/a.mp3", ("cat",)),  # two files would share the id cat/a
        ("cat/a.wav", ("cat",)),
        ("dog/b", ("dog",)),
        ("dog/deep/a", ("dog",)),
    ]
    assert list(clips.column("path"))[3] == "dog/deep/a.FLAC"


def test_a_flat_folder_has_no_labels(tmp_path):
    touch(tmp_path, "b.wav", "a.wav")
    clips = readers.from_folder(tmp_path, "mine")
    assert (clips.name, clips.clip_ids, clips.target) == ("mine", ["a", "b"], "none")
    with pytest.raises(DataError, match="no labels"):
        clips.targets()


def test_recordings_beside_label_folders_are_refused(tmp_path):
    touch(tmp_path, "dog/a.wav", "b.wav")
    with pytest.raises(DataError, match=r"1 recordings are in none of them: 'b\.wav'"):
        readers.from_folder(tmp_path)


def test_links_to_folders_are_followed_and_circles_end(tmp_path):
    touch(tmp_path, "elsewhere/z.wav", "root/dog/a.wav")
    (tmp_path / "root/cat").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root/dog/up").symlink_to(tmp_path / "root")
    assert readers.from_folder(tmp_path / "root").clip_ids == ["cat/z", "dog/a"]


def test_a_folder_called_like_a_recording_is_a_label(tmp_path):
    touch(tmp_path, "x.wav/a.wav")
    [row] = rows(readers.from_folder(tmp_path))
    assert (row["clip_id"], row["labels"]) == ("x.wav/a", ("x.wav",))


def test_a_link_to_nothing_is_a_clip_that_will_fail(tmp_path):
    (tmp_path / "a.wav").symlink_to(tmp_path / "gone.wav")
    clips = readers.from_folder(tmp_path)
    assert clips.clip_ids == missing_recordings(clips)[0].split(".")[:1] == ["a"]


def test_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    touch(tmp_path, "dog/a.wav", "secret/b.wav")
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith("secret"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"secret: folder cannot be listed \(permission denied\)"):
        readers.from_folder(tmp_path)


def test_files_that_are_left_out_are_named(tmp_path):
    touch(tmp_path, "dog/a.wav", "dog/b.tak", "dog/c.shn", "dog/notes.txt", "dog/labels", "dog/e")
    (tmp_path / "dog/d").write_bytes(b"RIFF\0\0\0\0WAVE")
    (tmp_path / "dog/gone").symlink_to(tmp_path / "nowhere")
    clips = readers.from_folder(tmp_path)
    assert clips.clip_ids == ["dog/a"]
    assert clips.other_files == tuple(
        f"dog/{name}" for name in ("b.tak", "c.shn", "d", "e", "gone", "labels", "notes.txt")
    )
    assert clips.provenance == (
        "4 files look like audio, but are left out (.shn 1, .tak 1, no suffix 2)",
    )
    assert clips.source == tmp_path


def test_folders_without_recordings(tmp_path):
    with pytest.raises(DataError, match="no recordings found"):
        readers.from_folder(tmp_path)
    touch(tmp_path, "a/x.txt", "a/y.TXT", "b/readme")
    with pytest.raises(DataError, match=r"it contains '\.txt', 'readme'"):
        readers.from_folder(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        readers.from_folder(tmp_path / "gone")
    with pytest.raises(DataError, match="not a folder"):
        readers.from_folder(tmp_path / "b/readme")


def test_recordings_that_cannot_be_decoded_are_clips_that_will_fail(tmp_path):
    touch(tmp_path, "a/x.wav", "a/y.M4A", "a/notes.txt")
    assert readers.from_folder(tmp_path).clip_ids == ["a/x", "a/y"]


def test_other_splits_are_named_with_their_first_row_and_what_was_meant(tmp_path):
    text = "clip_id,path,split\na,a,train\nb,b,testing\nc,c,testing\nd,d,Validation\ne,e,\nf,f,dev"
    with pytest.raises(DataError) as caught:
        readers.from_csv(csv(tmp_path, text))
    assert str(caught.value).endswith(
        "column 'split' must be train, valid or test; row 3 has 'testing' (did you mean 'test'?), "
        "row 5 has 'Validation' (did you mean 'valid'?), row 7 has 'dev'"
    )


@pytest.mark.parametrize("name", ["Label", "GROUP", "Clip ID", "Path "])
def test_capitals_and_blanks_in_the_header_do_not_matter(tmp_path, name):
    known = name.strip().lower().replace(" ", "_")
    header = [
        name if column == known else column for column in ("clip_id", "path", "label", "group")
    ]
    [row] = rows(readers.from_csv(csv(tmp_path, f"{','.join(header)}\na,a.wav,x,g")))
    assert (row["clip_id"], row["path"], row["labels"], row["group"]) == ("a", "a.wav", ("x",), "g")


def test_extra_columns_are_declared_in_the_header_or_by_the_caller(tmp_path):
    text = "clip_id,path,grup,label\na,a.wav,g,x"
    for path, extra in (
        (csv(tmp_path, text.replace("grup", "extra:grup")), ()),
        (csv(tmp_path, text, "b.csv"), ("grup",)),
        (csv(tmp_path, text.replace("grup", "site"), "c.csv"), None),
    ):
        [row] = rows(readers.from_csv(path, extra=extra))
        assert (row["group"], row["labels"]) == ("", ("x",))
    with pytest.raises(DataError, match=r"unknown column 'grup' \(did you mean 'group'\?\)"):
        readers.from_csv(csv(tmp_path, text), extra=None)


def test_table_of_metadata_may_have_columns_and_times_of_its_own(tmp_path):
    path = csv(tmp_path, "file,class,duration,offset,fold\nx/a.wav,dog,30,4,1\n")
    clips = readers.from_csv(path, clip_id="file:stem", need_path=False, extra=None)
    [row] = rows(clips)
    assert (row["clip_id"], row["path"], row["fold"]) == ("a", "", "1")
    assert np.isnan([row["start"], row["end"]]).all()
    unused = readers.unused_columns(path, "file:stem")
    assert unused == ("class", "duration", "offset")


# ---- times, and tables of other programs

SEGMENTS = [("k0.wav", 0.0, 0.2, "x"), ("k0.wav", 0.2, 0.5, "y"), ("k1.wav", 0.0, 0.3, "x")]


@pytest.mark.parametrize(
    "header",
    [
        "clip_id,path,start,end,label",
        "clip_id,path,onset,offset,label",
        "clip_id,path,Start (s),End (s),label",
        "clip_id,path,start_time,stop_time,label",
        "clip_id,path,begin_s,End Time (sec),label",
        "clip_id,filename,onset,offset,event_label",
    ],
)
def test_starts_and_ends_under_other_names(tmp_path, header):
    lines = [f"c{k},{','.join(map(str, segment))}" for k, segment in enumerate(SEGMENTS)]
    clips = readers.from_csv(csv(tmp_path, "\n".join([header, *lines])))
    own = [(r["path"], r["start"], r["end"], r["labels"][0]) for r in rows(clips)]
    assert own == SEGMENTS


@pytest.mark.parametrize("header", ["start,duration", "onset,Duration (s)"])
def test_durations_give_ends_that_meet_the_next_start(tmp_path, header):
    lines = [f"c{k},a.wav,{k / 10:g},0.1" for k in range(8)]
    clips = readers.from_csv(csv(tmp_path, "\n".join([f"clip_id,path,{header}", *lines])))
    own = rows(clips)
    assert [row["end"] for row in own[:-1]] == [row["start"] for row in own[1:]]
    text = "clip_id,path,start,end,duration\na,a.wav,1,3,2.004\nb,b.wav,,,\n"
    first, second = rows(readers.from_csv(csv(tmp_path, text)))
    assert (first["start"], first["end"]) == (1.0, 3.0)
    assert np.isnan([second["start"], second["end"]]).all()


def test_selection_table_of_raven(tmp_path):
    header = [
        "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)",
        "High Freq (Hz)", "Begin Path", "Begin File", "File Offset (s)", "Species",
    ]  # fmt: skip
    selections = [
        (
            "1",
            "Spectrogram 1",
            "1",
            "0.5",
            "1.5",
            "0",
            "4000",
            "C:\\r\\a.wav",
            "a.wav",
            "0.5",
            "owl",
        ),
        ("2", "Spectrogram 1", "1", "61", "62", "0", "4000", "C:\\r\\b.wav", "b.wav", "1", "wren"),
    ]
    text = "\n".join("\t".join(row) for row in (header, *selections))
    clips = readers.from_csv(csv(tmp_path, text, "selections.txt"))
    assert [(r["clip_id"], r["path"], r["start"], r["end"], r["labels"]) for r in rows(clips)] == [
        ("a_0.5-1.5", "a.wav", 0.5, 1.5, ("owl",)),
        ("b_1-2", "b.wav", 1.0, 2.0, ("wren",)),  # 61 s into the series, 1 s into its file
    ]
    with pytest.raises(DataError, match=r"separated by commas; or name the file \.tsv"):
        readers.from_csv(csv(tmp_path, text, "selections.csv"))


def test_table_of_audacity(tmp_path):
    text = "Path,Track,Label,Start Time,End Time,Low Frequency,High Frequency\na.wav,1,owl,0,1,0,9"
    [row] = rows(readers.from_csv(csv(tmp_path, text)))
    assert (row["clip_id"], row["start"], row["end"], row["labels"]) == (
        "a_0-1",
        0.0,
        1.0,
        ("owl",),
    )


def test_clips_without_ids_are_named_after_recording_and_segment(tmp_path):
    text = "path,start,end\nx/a.wav,,\nx/a.flac,,\nb.wav,0.25,\nb.wav,1.1234567,2\n"
    assert readers.from_csv(csv(tmp_path, text)).clip_ids == [
        "x/a.wav",
        "x/a.flac",
        "b_0.25-end",
        "b_1.123457-2",
    ]
    with pytest.raises(DataError, match="more than once: 'a_0-1'"):
        readers.from_csv(csv(tmp_path, "path,start,end\na.wav,0,1\na.wav,0,1\n"))


# ---- what belongs together, and names that differ in their spelling


def test_recording_is_the_group_of_its_segments(tmp_path):
    text = "clip_id,path,start,end,group\na1,a.wav,0,1,\na2,a.wav,1,2,\nb,b.wav,,,\nc,c.wav,,,g\n"
    clips = readers.from_csv(csv(tmp_path, text))
    assert list(clips.column("group")) == ["a.wav", "a.wav", "", "g"]
    given = text.replace("0,1,\n", "0,1,x\n").replace("1,2,\n", "1,2,y\n")
    assert list(readers.from_csv(csv(tmp_path, given)).column("group")) == ["x", "y", "", "g"]


def test_absolute_paths_inside_the_root_are_relative_to_it(tmp_path):
    touch(tmp_path, "wav/a.wav")
    path = csv(tmp_path, f"clip_id,path\na,{tmp_path}/wav/../wav/a.wav\n")
    assert list(readers.from_csv(path).column("path")) == ["wav/a.wav"]
    (tmp_path / "link").symlink_to(tmp_path / "wav")
    clips = readers.from_csv(path, root=tmp_path / "link")
    assert list(clips.column("path")) == ["a.wav"]
    with pytest.raises(DataError, match="leaves the root folder"):
        readers.from_csv(csv(tmp_path, "clip_id,path\na,/elsewhere/a.wav\n"))


@pytest.mark.parametrize("disk, text", [("NFC", "NFD"), ("NFD", "NFC")])
def test_letters_with_accents_have_two_spellings(tmp_path, disk, text):
    name = "v\N{LATIN SMALL LETTER O WITH DIAERESIS}gel/\N{LATIN SMALL LETTER E WITH ACUTE}.wav"
    touch(tmp_path, unicodedata.normalize(disk, name))
    line = unicodedata.normalize(text, f"{name[:-4]},{name},{name[-5]}\nb,b.wav,x")
    clips = readers.from_csv(csv(tmp_path, f"clip_id,path,label\n{line}\n"))
    assert [(tmp_path / path).exists() for path in clips.table["path"]] == [True, False]
    [folder] = rows(readers.from_folder(tmp_path))
    assert clips.clip_ids[0] == folder["clip_id"] == unicodedata.normalize("NFC", name[:-4])
    assert folder["labels"] == (unicodedata.normalize("NFC", name.split("/")[0]),)


@pytest.mark.parametrize("bad", ["#NAME?", "1.23E+11"])
def test_ids_that_a_spreadsheet_changed_are_refused(tmp_path, bad):
    with pytest.raises(DataError, match="a spreadsheet program has changed"):
        readers.from_csv(csv(tmp_path, f"clip_id,path\na,a\n{bad},b"))
