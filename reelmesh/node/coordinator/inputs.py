"""Which artifacts a subtask reads."""

from __future__ import annotations

from reelmesh.node.coordinator.records import JobRecord
from reelmesh.scheduler.ids import SubtaskId
from reelmesh.scheduler.job.state import JobState, OutputRef


def input_artifacts(record: JobRecord, state: JobState, name: SubtaskId) -> dict[str, OutputRef]:
    """Input name to artifact; complete only once all that the subtask needs is done."""
    subtask = record.plan[name]
    found = {
        source.name: OutputRef(sha256=source.sha256, size=source.size, kind=source.kind)
        for source in subtask.sources
    }
    for ref in subtask.inputs:
        done = state.subtasks[ref.subtask].done
        if done is not None:
            found[ref.name] = done.outputs[ref.output]
    return found
