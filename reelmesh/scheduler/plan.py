"""A job's plan: a DAG of subtasks, each one run of one stage, in topological order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from reelmesh.errors import PeerError
from reelmesh.scheduler.canonical import canonical, digest
from reelmesh.scheduler.ids import ArtifactId, DigestField, SubtaskId, SubtaskIdField
from reelmesh.scheduler.models import offering
from reelmesh.scheduler.sources import Given
from reelmesh.scheduler.stages import KINDS, StageParams, entry, parse_params
from reelmesh.scheduler.strict_json import read_object

MAX_SUBTASKS = 4096
MAX_PLAN_BYTES = 4 * 1024 * 1024
_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}(-[0-9]{1,5})?$")]


class InvalidPlan(PeerError):
    """The plan contradicts itself or the stage catalogue."""


class InputRef(BaseModel):
    """Where one input comes from: output `output` of subtask `subtask`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: _Name
    subtask: SubtaskIdField
    output: _Name


class SourceRef(Given):
    """An input that no subtask of the plan makes.

    The buyer brought it, and the spec names it too; or an earlier job of the buyer's made it.
    """

    name: _Name

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in KINDS:
            raise ValueError(f"no artifact is of kind {kind[:40]!r}")
        return kind


class Subtask(BaseModel):
    """One run of one stage; the unit of bidding, work and proof.

    units, memory_mb (MiB), bytes_in and bytes_out are estimates by the stage's entry. Without
    sources the field is left out of every written form, as in plans from before there were any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id: SubtaskIdField
    stage: _Name
    stage_version: Annotated[int, Field(ge=1, lt=2**32)]
    params: dict[str, object]
    inputs: tuple[InputRef, ...] = ()
    sources: tuple[SourceRef, ...] = ()
    units: Annotated[float, Field(gt=0, le=1e9)]
    memory_mb: Annotated[int, Field(ge=0, le=2**31)]
    bytes_in: Annotated[int, Field(ge=0, le=2**50)]
    bytes_out: Annotated[int, Field(ge=0, le=2**50)]

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        fields: dict[str, object] = write(self)
        if not self.sources:
            fields.pop("sources", None)
        return fields

    @property
    def model(self) -> str:
        """The production model that it asks for; "" for the stage's embedded backend."""
        return str(self.params.get("model", "")) if entry(self.stage).models else ""

    @property
    def offering(self) -> str:
        """What is bid on for it: the stage, with the model where it asks for one."""
        return offering(self.stage, self.model)

    def parsed_params(self) -> StageParams:
        """The parameters as their stage's type. Raises `InvalidParams`, `UnknownStage`."""
        return parse_params(self.stage, self.params)

    def params_json(self) -> str:
        """The parameters as canonical JSON, as they stand in a grant."""
        return canonical(self.params).decode()


class Plan(BaseModel):
    """All subtasks of a job; every input comes from a subtask that stands before.

    Each is checked against the catalogue, except where it is of a stage's earlier version: jobs and
    receipts of an earlier release can be read, and are not made again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec_hash: DigestField
    subtasks: Annotated[tuple[Subtask, ...], Field(min_length=1, max_length=MAX_SUBTASKS)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        done: dict[str, Subtask] = {}
        for subtask in self.subtasks:
            if subtask.id in done:
                raise ValueError(f"two subtasks are named {subtask.id}")
            _check_subtask(subtask, done)
            done[subtask.id] = subtask
        return self

    def __getitem__(self, subtask: str) -> Subtask:
        for found in self.subtasks:
            if found.id == subtask:
                return found
        raise KeyError(subtask)

    def plan_hash(self) -> ArtifactId:
        """sha256 of the plan's canonical form, 64 hex digits."""
        return digest(canonical(self))

    def final(self) -> Subtask:
        """The subtask whose output is the job's result: the last one."""
        return self.subtasks[-1]

    def children(self) -> dict[SubtaskId, tuple[SubtaskId, ...]]:
        """For each subtask those that take its output, in the plan's order."""
        found: dict[SubtaskId, list[SubtaskId]] = {subtask.id: [] for subtask in self.subtasks}
        for subtask in self.subtasks:
            for parent in dict.fromkeys(ref.subtask for ref in subtask.inputs):
                found[parent].append(subtask.id)
        return {subtask: tuple(children) for subtask, children in found.items()}


def build_subtask(
    id_: str,
    stage: str,
    params: Mapping[str, object],
    inputs: Mapping[str, Subtask],
    sources: Mapping[str, Given] = MappingProxyType({}),
) -> Subtask:
    """A subtask with its estimates from the catalogue.

    Args:
        inputs: input name → the subtask that makes it; a subtask has one output.
        sources: input name → what is there already.
    """
    stage_entry = entry(stage)
    parsed = parse_params(stage, params)
    return Subtask(
        id=SubtaskId(id_),
        stage=stage,
        stage_version=stage_entry.version,
        params=parsed.model_dump(mode="json"),
        inputs=tuple(
            InputRef(name=name, subtask=made_by.id, output=next(iter(entry(made_by.stage).outputs)))
            for name, made_by in inputs.items()
        ),
        sources=tuple(
            SourceRef(name=name, **source.model_dump()) for name, source in sources.items()
        ),
        units=stage_entry.units(parsed),
        memory_mb=stage_entry.memory_mb(parsed),
        bytes_in=sum({made_by.id: made_by.bytes_out for made_by in inputs.values()}.values())
        + sum(source.size for source in sources.values()),
        bytes_out=stage_entry.bytes_out(parsed),
    )


def parse_plan(source: str | bytes | Mapping[str, object]) -> Plan:
    """A plan from outside (a stored one, or a receipt's), wholly checked. Raises `InvalidPlan`."""
    try:
        if isinstance(source, str | bytes):
            source = read_object(source, MAX_PLAN_BYTES)
        return Plan.model_validate(source)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:80]
        raise InvalidPlan(f"The plan is not valid: {where} {first['msg']}".strip()) from error
    except (ValueError, PeerError) as error:
        raise InvalidPlan(f"The plan is not valid: {error}") from error


def _check_subtask(subtask: Subtask, done: Mapping[str, Subtask]) -> None:
    given = dict(_kinds(subtask, done))
    if subtask.stage_version < entry(subtask.stage).version:
        return  # planned by an earlier release: what it took and weighed is not known here
    stage_entry = entry(subtask.stage, subtask.stage_version)
    params = subtask.parsed_params()
    wanted = dict(stage_entry.inputs_for(params))
    if given != wanted or len(given) != len(subtask.inputs) + len(subtask.sources):
        raise ValueError(f"{subtask.id} takes {wanted}, and is given {given}")
    estimates = (
        stage_entry.units(params),
        stage_entry.memory_mb(params),
        stage_entry.bytes_out(params),
        sum(done[parent].bytes_out for parent in {ref.subtask for ref in subtask.inputs})
        + sum(source.size for source in subtask.sources),
    )
    stated = (subtask.units, subtask.memory_mb, subtask.bytes_out, subtask.bytes_in)
    if estimates != stated:
        raise ValueError(f"{subtask.id} states {stated}; its stage's entry says {estimates}")


def _kinds(subtask: Subtask, done: Mapping[str, Subtask]) -> Iterator[tuple[str, str]]:
    for ref in subtask.inputs:
        made_by = done.get(ref.subtask)
        if made_by is None:
            raise ValueError(f"{subtask.id} needs {ref.subtask}, which does not stand before it")
        outputs = entry(made_by.stage).outputs
        if ref.output not in outputs:
            raise ValueError(f"{ref.subtask} has no output {ref.output!r}")
        yield ref.name, outputs[ref.output]
    for source in subtask.sources:
        yield source.name, source.kind
