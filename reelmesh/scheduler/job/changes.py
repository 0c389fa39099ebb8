"""Making a state that differs from another in one place."""

from __future__ import annotations

from typing import Any

from reelmesh.scheduler.ids import NodeAddress, SubtaskId
from reelmesh.scheduler.job.effects import Once
from reelmesh.scheduler.job.state import JobState, Provider, Subtask

Step = tuple[JobState, tuple[Once, ...]]
"""What a transition gives: the next state and what to do once."""


def with_subtask(state: JobState, subtask: SubtaskId, **update: Any) -> JobState:
    """The state with these fields of one subtask replaced."""
    changed: Subtask = state.subtasks[subtask].model_copy(update=update)
    return state.model_copy(update={"subtasks": {**state.subtasks, subtask: changed}})


def with_provider(state: JobState, provider: NodeAddress, **update: Any) -> JobState:
    """The state with these fields of one awarded provider replaced."""
    changed: Provider = state.providers[provider].model_copy(update=update)
    return state.model_copy(update={"providers": {**state.providers, provider: changed}})


def with_fields(state: JobState, **update: Any) -> JobState:
    """The state with these fields replaced."""
    return state.model_copy(update=update)


def unchanged(state: JobState) -> Step:
    """The event does not fit: nothing happens."""
    return state, ()
