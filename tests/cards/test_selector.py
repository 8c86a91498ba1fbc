import pytest

from probekit.cards.selector import EmbeddingSelector, parse_selector
from probekit.errors import ProbekitError


@pytest.mark.parametrize(
    "text, expected",
    [
        ("vggish", EmbeddingSelector("vggish")),
        ("vggish:stream=pca", EmbeddingSelector("vggish", stream="pca")),
        ("melstats@1a2b3c4d", EmbeddingSelector("melstats", "1a2b3c4d")),
        ("a@1f:pool=mean+max,x=1", EmbeddingSelector("a", "1f", {"x": "1"}, pool=("mean", "max"))),
        ("a:x=b=c", EmbeddingSelector("a", params={"x": "b=c"})),
    ],
)
def test_parts_of_a_selection(text, expected):
    assert parse_selector(text) == expected
    assert parse_selector(str(expected)) == expected


@pytest.mark.parametrize("text", ["", ":x=1", "a:", "a:x", "a:x=", "a:=1", "a:x=1,", "@12"])
def test_other_texts_are_refused_with_the_form(text):
    with pytest.raises(ProbekitError, match="write NAME, NAME:key=value"):
        parse_selector(text)


def test_stream_without_its_key_is_told_with_it():
    with pytest.raises(ProbekitError, match=r"a stream is vggish@1a:stream=pca$"):
        parse_selector("vggish@1a:pca")
