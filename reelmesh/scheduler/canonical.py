"""One byte string for one value: RFC 8785 (JSON Canonicalization Scheme), and its sha256.

Integers beyond ±(2**53 - 1) have no exact place in JSON's numbers; they travel as decimal strings.
A float that JSON writes as such an integer is refused: reading it back would make it a string.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import rfc8785
from pydantic import BaseModel

from reelmesh.errors import ReelmeshError
from reelmesh.scheduler.ids import ArtifactId

_MAX_SAFE = 2**53 - 1
_MAX_DEPTH = 64
_FIRST_EXPONENT = 1e21
"""From here on ECMAScript, and so RFC 8785, writes floats with an exponent."""


class NotCanonical(ReelmeshError):
    """The value has no canonical form: NaN, a key that is no text, or another type than JSON's."""


def canonical(value: object) -> bytes:
    """The RFC 8785 bytes of a pydantic model or of a JSON value. Raises `NotCanonical`."""
    try:
        return rfc8785.dumps(_plain(value, 0))  # type: ignore[arg-type]
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise NotCanonical(f"The value has no canonical JSON form: {error}") from error


def digest(data: bytes) -> ArtifactId:
    """The sha256 of some bytes as 64 lower-case hex digits."""
    return ArtifactId(hashlib.sha256(data).hexdigest())


def _plain(value: object, depth: int) -> object:
    if depth > _MAX_DEPTH:
        raise NotCanonical(f"The value is nested more than {_MAX_DEPTH} deep")
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(mode="json"), depth + 1)
    if isinstance(value, Mapping):
        return {_key(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, float):
        if _MAX_SAFE < abs(value) < _FIRST_EXPONENT:
            raise NotCanonical("The value is a float beyond 2**53 - 1; give it as an integer")
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value) if abs(value) <= _MAX_SAFE else str(int(value))
    raise NotCanonical(f"A {type(value).__name__} is not a JSON value")


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise NotCanonical("An object's keys must be text")
    return str(key)
