"""The golden examples of the events are what their schemas say, and the schemas refuse what isn't."""

import json
import pathlib

import jsonschema_rs
import pytest

SCHEMAS = pathlib.Path(__file__).resolve().parents[2] / "schemas"
EXAMPLES = sorted(SCHEMAS.glob("examples/*/*.json"))


def validator(name: str) -> jsonschema_rs.Validator:
    schema = json.loads((SCHEMAS / "events" / f"{name}.json").read_text())
    return jsonschema_rs.validator_for(schema, validate_formats=True)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_an_example_is_what_its_schema_says(example):
    payload = json.loads(example.read_text())
    schema = validator(example.parent.name)
    schema.validate(payload)
    assert not schema.is_valid({**payload, "unknown": 1})
    for field, value in payload.items():
        assert not schema.is_valid({**payload, field: {} if isinstance(value, list) else []})


def test_there_are_examples():
    assert {path.parent.name for path in EXAMPLES} == {path.stem for path in SCHEMAS.glob("events/*.json")}
