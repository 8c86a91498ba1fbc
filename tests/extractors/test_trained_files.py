"""Weights that were trained here, in the keys of published networks."""

import numpy as np
import pytest
import torch

from probekit.errors import WeightsError
from probekit.extractors import labels, load
from probekit.extractors.students import zoo
from probekit.extractors.students.card import find_official_weights
from probekit.extractors.students.extractor import save_student
from probekit.extractors.weights.trained_files import read_facts, write_trained
from probekit.reproduce.assets import Assets

torch.set_num_threads(1)
CLASSES = labels.load_labels("audioset.csv")
NOTE = "our training of TALNet, mAP 0.123 on 456 clips of audioset-balanced, trained on 789"


def facts(**changes):
    base = {
        "network": "talnet",
        "classes": list(CLASSES),
        "note": NOTE,
        "task": "audioset-balanced",
    }
    return {**base, "valid_score": 0.1, "bundles": ["normalizer"], **changes}


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(3)
    network = zoo.build_student("talnet", 527)
    network.normalizer.mu.copy_(torch.linspace(-60, -20, 64))
    return network.eval()


@pytest.fixture(scope="module")
def file(student, tmp_path_factory):
    name, state, bundles = student.official_weights()
    path = tmp_path_factory.mktemp("weights") / name
    write_trained(path, state, facts(bundles=list(bundles)))
    return path


def test_extractor_takes_them_with_the_normalizer(student, file):
    spec = load.resolve_spec(
        "talnet", weights={"talnet.main": str(file)}, streams=["gru", "probabilities"]
    )
    assert spec.card.caveat == NOTE and NOTE in spec.provenance
    extractor = load.build_extractor(spec)
    wave = 0.1 * np.random.default_rng(0).standard_normal(32000).astype(np.float32)
    found = extractor([wave])[0]
    with torch.no_grad():
        embedding = student.encode(torch.from_numpy(wave)[None])
        expected = student.frame_logits(embedding)[0].sigmoid()
    # kernels in another layout: float32
    torch.testing.assert_close(found["gru"], embedding[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["probabilities"], expected, rtol=1e-4, atol=1e-5)


def test_the_same_file_for_the_same_weights(student, file, tmp_path):
    name, state, bundles = student.official_weights()
    write_trained(tmp_path / name, state, facts(bundles=list(bundles)))
    assert (tmp_path / name).read_bytes() == file.read_bytes()
    assert read_facts(file)["note"] == NOTE
    (tmp_path / "other.pt").write_bytes(b"PK")
    assert read_facts(tmp_path / "other.pt") is None


def test_another_vocabulary_and_another_network(student, tmp_path):
    state = student.official_weights()[1]
    order = [CLASSES[1], CLASSES[0], *CLASSES[2:]]
    write_trained(tmp_path / "a.pt", state, facts(classes=order))
    with pytest.raises(WeightsError, match=r"527 of talnet in their order \(such as "):
        load.resolve_spec("talnet", weights={"talnet.main": str(tmp_path / "a.pt")})
    write_trained(tmp_path / "b.pt", state, facts(network="weanet"))
    with pytest.raises(WeightsError, match=r"weights of weanet, trained on audioset-balanced"):
        load.resolve_spec("talnet", weights={"talnet.main": str(tmp_path / "b.pt")})


def test_only_the_size_and_pooling_of_the_extractor():
    assert zoo.build_student("talnet:width=2", 527).official_weights() is None
    assert zoo.build_student("talnet:pooling=max,width=32", 5).official_weights() is None
    name, state, bundles = zoo.build_student("weanet", 5).official_weights()
    assert (name, bundles) == ("weanet.pth", ()) and "b8.weight" in state


def save(folder, student, **changes):
    save_student(folder, student, classes=CLASSES, target="multi", crop=student.crop)
    name, state, _ = student.official_weights()
    write_trained(folder / name, state, facts(**changes))


def test_reproductions_find_the_best_on_validation_clips(student, tmp_path, monkeypatch):
    monkeypatch.setenv("PROBEKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PROBEKIT_REPORTS", str(tmp_path / "none"))
    reports = tmp_path / "reports"
    assets = Assets(cache=tmp_path, reports=reports)
    assert assets.weights_of("talnet") == ()
    save(reports / "students/a1", student, valid_score=0.3)
    save(reports / "students/b2", student, valid_score=0.2)
    save(reports / "students/c3", student, valid_score=0.9, classes=["x"])
    best = reports / "students/a1/TALNet.pt"
    assert find_official_weights("talnet", reports) == best
    assets = Assets(cache=tmp_path, reports=reports)
    assert assets.weights_of("talnet:stream=gru") == (f"talnet={best}",)
    needs = assets.missing("esc10", "talnet")
    assert [text.partition(":")[0] for text in needs] == ["data"]
    assert assets.weights_of("weanet") == ()
    named = Assets(cache=tmp_path, reports=reports, weights=("talnet=random:0",))
    assert named.weights_of("talnet") == ("talnet=random:0",)
