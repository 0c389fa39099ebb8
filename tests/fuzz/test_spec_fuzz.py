"""Specs and parameters from anywhere: either a value that keeps its rules, or one plain line."""

from __future__ import annotations

import json
import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st

from reelmesh.errors import ReelmeshError
from reelmesh.scheduler.canonical import canonical, digest
from reelmesh.scheduler.spec import InvalidSpec, JobSpec, parse_spec
from reelmesh.scheduler.stages import CATALOGUE, InvalidParams, parse_params

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
anything = st.text(max_size=400) | json_values
fields = st.dictionaries(st.sampled_from(sorted(JobSpec.model_fields)) | st.text(), anything)


def _one_line(error: ReelmeshError) -> None:
    assert error.message
    assert "\n" not in error.message.replace("\\n", "")
    assert len(str(error)) < 1000


@settings(deadline=None)
@given(fields | fields.map(lambda value: {"prompt": "x", **value}))
def test_named_fields(value: dict[str, object]) -> None:
    try:
        spec = parse_spec(value)
    except InvalidSpec as error:
        _one_line(error)
        return
    assert 1 <= len(spec.prompt) <= 300
    assert spec.prompt == unicodedata.normalize("NFC", spec.prompt).strip()
    assert 12 <= spec.frames <= 1200


@settings(deadline=None)
@given(st.text(max_size=300) | st.binary(max_size=300) | json_values.map(json.dumps))
def test_text_and_bytes(source: str | bytes) -> None:
    try:
        parse_spec(source)
    except InvalidSpec as error:
        _one_line(error)


@settings(deadline=None)
@given(st.text(max_size=350))
def test_a_prompt_that_is_taken_keeps_its_hash_through_json(prompt: str) -> None:
    try:
        spec = parse_spec({"prompt": prompt})
    except InvalidSpec:
        return
    again = parse_spec(spec.canonical())
    assert again == spec
    assert digest(again.canonical()) == spec.spec_hash()
    assert parse_spec({"prompt": spec.prompt}) == spec


@settings(deadline=None)
@given(st.sampled_from(sorted(CATALOGUE)), st.data())
def test_params(stage: str, data: st.DataObject) -> None:
    names = sorted(CATALOGUE[stage].params.model_fields)
    value = data.draw(
        st.dictionaries(st.sampled_from(names), st.integers() | anything)
        | st.text(max_size=100)
        | st.binary(max_size=100)
    )
    try:
        params = parse_params(stage, value)
    except InvalidParams as error:
        _one_line(error)
        return
    found = CATALOGUE[stage]
    assert 0 < found.units(params) < 1e6
    assert 0 < found.bytes_out(params) <= found.bytes_limit(params) < 2**33
    assert found.inputs_for(params).keys() >= (found.inputs.keys() - {"segment-*"})


@settings(deadline=None)
@given(json_values)
def test_canonical_bytes_are_json_and_stable(value: object) -> None:
    try:
        data = canonical(value)
    except ReelmeshError:
        return
    assert canonical(json.loads(data)) == data
