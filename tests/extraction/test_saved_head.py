import numpy as np

import probekit
from probekit.extraction.extract import extract


def test_extraction_keeps_the_networks_head(corpus, tmp_path):
    weights = ["convnet=random:0"]
    extract("convnet:stream=max5", audio=corpus, cache=tmp_path, weights=weights, limit=2)
    (dataset,) = (path.parent.name for path in tmp_path.glob("*/*/dataset.json"))
    kept = probekit.open_cache("convnet", dataset, tmp_path).head
    own = probekit.load_extractor("convnet", weights=weights, device="cpu").head()
    assert kept is not None
    assert kept.classes == own.classes
    assert (kept.stream, kept.pooling) == ("max5", "none")
    np.testing.assert_array_equal(kept.weight, own.weight.numpy())


def test_an_extractor_without_head_keeps_none(corpus, tmp_path):
    extract("melstats", audio=corpus, cache=tmp_path, limit=2)
    (dataset,) = (path.parent.name for path in tmp_path.glob("*/*/dataset.json"))
    assert probekit.open_cache("melstats", dataset, tmp_path).head is None
