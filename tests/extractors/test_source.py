import pytest

from probekit.errors import ProbekitError
from probekit.extractors.weights.source import validate_overrides


@pytest.mark.parametrize(
    "texts, extractors, keys",
    [
        ([], ["no-such-extractor"], []),
        (["vggish=random:0"], ["melstats", "vggish:quantize=truncate"], ["vggish.main"]),
        (["vggish=a", "vggish.pca=b"], ["vggish"], ["vggish.main", "vggish.pca"]),
        (["openl3=a"], ["openl3:content=music"], ["openl3.main"]),
        (["hear:some.module=a"], ["hear:some.module"], ["hear:some.module"]),
        (["hear:some.main=a"], ["hear:some"], ["hear:some.main"]),
        (["hear:one=a"], ["hear:one,stream=scene"], ["hear:one.main"]),
        (["hear=a"], ["hear:some.module"], ["hear.main"]),  # refused where the module is loaded
    ],
)
def test_weights_of_what_was_asked_for(texts, extractors, keys):
    assert sorted(validate_overrides(texts, extractors)) == keys


@pytest.mark.parametrize(
    "text, extractors, words",
    [
        ("vgish=a", ["melstats", "vggish"],
         ["--weights vgish: not among the extractors of -e: melstats, vggish.",
          "Did you mean 'vggish'?"]),
        ("vgish.pca=a", ["vggish"], ["--weights vgish: no", "Did you mean 'vggish'?"]),
        ("vggish=a", ["melstats"], ["not among the extractors of -e: melstats."]),
        ("melstats=random:0", ["melstats"], ["melstats takes no weights file"]),
        ("vggish.pac=a", ["vggish"],
         ["--weights vggish.pac: vggish has no weights file 'pac'.", "Did you mean 'pca'?",
          "Known: main, pca"]),
        ("openl3.music=a", ["openl3"], ["no weights file 'music'", "Known: main"]),
        ("hear:some.modul=a", ["hear:some.module"], ["Did you mean 'hear:some.module'?"]),
        ("runs/1a2b=a", ["runs/1a2b"], ["takes no weights file"]),
        ("student-1a2b=a", ["runs/1a2b"], ["takes no weights file"]),
        ("vggish", ["vggish"], ["must be NAME=PATH"]),
    ],
)  # fmt: skip
def test_weights_that_nothing_would_use_are_refused(text, extractors, words):
    with pytest.raises(ProbekitError) as error:
        validate_overrides([text], extractors)
    for word in words:
        assert word in str(error.value)


def test_an_option_without_its_extractor_is_refused():
    with pytest.raises(ProbekitError, match="--weights vggish: --init names no extractor"):
        validate_overrides(["vggish=a"], [], "--init")
