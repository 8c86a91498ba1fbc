"""The JSON schema of results: it describes what is stored, and nothing else passes."""

import json
from pathlib import Path
from typing import Any

import pytest

from probekit.scores import store
from probekit.scores.store import Result

jsonschema = pytest.importorskip("jsonschema")
GOLDEN = Path(__file__).parents[1] / "golden/store/reports/results"


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = store.result_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )


def test_schema_has_the_keys_and_version_of_results() -> None:
    schema = store.result_schema()
    assert schema["properties"].keys() == Result.__annotations__.keys()
    # results of earlier versions have no class_scores
    assert set(schema["required"]) == set(Result.__required_keys__) - {"class_scores"}
    assert schema["properties"]["format"]["const"] == store.FORMAT
    assert schema["$id"] == f"urn:probekit:result:{store.FORMAT}"
    assert all("description" in entry or "enum" in entry for entry in schema["properties"].values())


def test_results_of_probes_and_students_are_valid(validator: Any) -> None:
    paths = sorted(GOLDEN.glob("*/*.json"))
    assert len(paths) >= 10
    for path in paths:
        validator.validate(json.loads(path.read_text()))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 1),
        ("run", "1a2b"),
        ("score", None),
        ("score", "0.5"),
        ("target", "tags"),
        ("fraction", 0),
        ("folds", []),
        ("spread", -0.1),
        ("interval", {"low": 0.1}),
        ("sources", [{"extractor": "mfcc"}]),
        ("provenance", "random weights"),
    ],
)
def test_other_values_are_not_valid(validator: Any, key: str, value: object) -> None:
    result = json.loads(next(GOLDEN.glob("*/mfcc-*.json")).read_text())
    assert validator.is_valid(result)
    assert not validator.is_valid({**result, key: value})
    del result[key]
    assert not validator.is_valid(result)
