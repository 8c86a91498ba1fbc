import numpy as np
import pytest

from probekit.data import readers
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
        "clip_id,path,start,end,split,fold,group,label,other\n"
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
        ("clip,path\na,a.wav\n", "no column 'clip_id'. The columns are: 'clip', 'path'"),
        ("clip_id\na\n", "no column 'path'"),
        ("clip_id;path\na;a.wav\n", "separated by commas"),
        ("clip_id\tpath\na\ta.wav\n", "separated by commas"),
        ("", "empty"),
        ("clip_id,path\n", "a header, but no clips"),
        ("clip_id,path\na,a.wav,\nb,b.wav,\n", "more fields than the header"),
        ("clip_id,path\na,a.wav\nb,b.wav,x\n", "more fields than the header"),
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
def test_paths_do_not_leave_the_root(tmp_path, path):
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
    assert readers.from_folder(tmp_path).clip_ids == ["a"]


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


@pytest.mark.parametrize("column", ["Label", "SPLIT", "Group"])
def test_column_that_only_its_capitals_hide_is_refused(tmp_path, column):
    with pytest.raises(DataError, match=rf"column '{column}': did you mean '{column.lower()}'"):
        readers.from_csv(csv(tmp_path, f"clip_id,path,{column}\na,a,b"))
    both = csv(tmp_path, f"clip_id,path,{column},{column.lower()}\na,a,b,train")
    assert len(readers.from_csv(both)) == 1


@pytest.mark.parametrize("bad", ["#NAME?", "1.23E+11"])
def test_ids_that_a_spreadsheet_changed_are_refused(tmp_path, bad):
    with pytest.raises(DataError, match="a spreadsheet program has changed"):
        readers.from_csv(csv(tmp_path, f"clip_id,path\na,a\n{bad},b"))
