"""The tables of a coordinator's journal."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, MetaData, String, Table, Text

METADATA = MetaData()

JOBS = Table(
    "jobs",
    METADATA,
    Column("job_id", String(66), primary_key=True),
    Column("request_id", String(64), unique=True, nullable=True),
    Column("created_ms", BigInteger, nullable=False, index=True),
    Column("ended", Boolean, nullable=False, default=False),
    Column("record", Text, nullable=False),
)
"""One row a job: what it was created with, as JSON."""

EVENTS = Table(
    "events",
    METADATA,
    Column("job_id", String(66), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("type", String(40), nullable=False),
    Column("body", Text, nullable=False),
)
"""What happened to each job, in order and without gaps; the state is what these lead to."""

FEED = Table(
    "feed",
    METADATA,
    Column("job_id", String(66), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("type", String(40), nullable=False),
    Column("body", Text, nullable=False),
)
"""What watchers are shown, in order; it tells of events and of progress between them."""

KEPT = Table(
    "kept_results",
    METADATA,
    Column("space", String(160), primary_key=True),
    Column("work_key", String(64), primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Column("used_ms", BigInteger, nullable=False, index=True),
)
"""Results that later jobs may take in; see `reuse_index`."""

KEPT_CLIPS = Table(
    "kept_clips",
    METADATA,
    Column("space", String(160), primary_key=True),
    Column("work_key", String(64), primary_key=True),
    Column("loop_key", String(64), nullable=False, index=True),
    Column("prompt", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
)
"""For which prompt and seed a kept latent was made; a row goes with its result's."""
