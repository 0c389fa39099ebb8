"""Which results are kept for later jobs: work key to artifact, in the coordinator's database.

A row is a hint and nothing more. It is checked against the artifact's own hash when it is used, and
without it the work is simply done again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from reelmesh.node.storage.journal import Journal
from reelmesh.node.storage.journal_tables import KEPT, KEPT_CLIPS

_BATCH = 500


@dataclass(frozen=True)
class KeptRow:
    """One kept result. `body` is JSON text; `size` in bytes; `used_ms` when it was last of use."""

    key: str
    sha256: str
    size: int
    body: str
    used_ms: int


@dataclass(frozen=True)
class ClipRow:
    """Prompt and seed that a kept latent was made for; `loop_key` is what decides it besides."""

    key: str
    loop_key: str
    prompt: str
    seed: int


class ReuseIndex:
    """Rows by space and work key. A space is one buyer's on one market, and of one release."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._held: Counter[str] = Counter()

    @property
    def held(self) -> set[str]:
        """Artifacts that a job which is not posted yet is going to take in."""
        return {sha256 for sha256, times in self._held.items() if times > 0}

    @contextmanager
    def holding(self, hashes: Collection[str]) -> Iterator[None]:
        """Name artifacts as `held`."""
        self._held.update(hashes)
        try:
            yield
        finally:
            self._held.subtract(hashes)

    async def put(
        self, space: str, row: KeptRow, most_bytes: int, clip: ClipRow | None = None
    ) -> set[str]:
        """Write a row, in place of an earlier one of that key. Raises StorageError.

        clip: of what prompt it is, where it is a finished latent.

        What was of use longest ago is forgotten until at most so many bytes are kept in all spaces.
        Returns the hashes of artifacts that no row names any more.
        """
        async with self._journal.writing() as connection:
            here = (KEPT.c.space == space, KEPT.c.work_key == row.key)
            earlier = (await connection.execute(select(KEPT.c.sha256).where(*here))).scalars().all()
            await _drop(connection, space, row.key)
            await connection.execute(
                KEPT.insert().values(
                    space=space,
                    work_key=row.key,
                    sha256=row.sha256,
                    size=row.size,
                    body=row.body,
                    used_ms=row.used_ms,
                )
            )
            if clip is not None:
                await connection.execute(
                    KEPT_CLIPS.insert().values(
                        space=space,
                        work_key=clip.key,
                        loop_key=clip.loop_key,
                        prompt=clip.prompt,
                        seed=clip.seed,
                    )
                )
            gone = {*earlier, *await _drop_beyond(connection, most_bytes)}
            named = select(KEPT.c.sha256).where(KEPT.c.sha256.in_(gone))
            return gone - set((await connection.execute(named)).scalars().all())

    async def find(self, space: str, keys: Sequence[str]) -> dict[str, KeptRow]:
        """The rows of these keys that there are."""
        found: dict[str, KeptRow] = {}
        async with self._journal.reading() as connection:
            for start in range(0, len(keys), _BATCH):
                some = keys[start : start + _BATCH]
                query = select(KEPT).where(KEPT.c.space == space, KEPT.c.work_key.in_(some))
                for row in (await connection.execute(query)).all():
                    found[row.work_key] = _row(row)
        return found

    async def clips(self, space: str, loop_key: str, seed: int | None, most: int) -> list[ClipRow]:
        """Kept latents that differ in nothing but their prompt, the latest used first.

        seed: None for any.
        """
        query = (
            select(KEPT_CLIPS)
            .join(
                KEPT,
                (KEPT.c.space == KEPT_CLIPS.c.space) & (KEPT.c.work_key == KEPT_CLIPS.c.work_key),
            )
            .where(KEPT_CLIPS.c.space == space, KEPT_CLIPS.c.loop_key == loop_key)
            .order_by(KEPT.c.used_ms.desc(), KEPT.c.work_key)
            .limit(most)
        )
        if seed is not None:
            query = query.where(KEPT_CLIPS.c.seed == seed)
        async with self._journal.reading() as connection:
            rows = (await connection.execute(query)).all()
        return [ClipRow(row.work_key, row.loop_key, row.prompt, row.seed) for row in rows]

    async def touch(self, space: str, keys: Iterable[str], at_ms: int) -> None:
        """These were of use now."""
        async with self._journal.writing() as connection:
            for key in keys:
                await connection.execute(
                    update(KEPT)
                    .where(KEPT.c.space == space, KEPT.c.work_key == key)
                    .values(used_ms=at_ms)
                )

    async def forget(self, space: str, keys: Iterable[str]) -> None:
        """These are not to be used again."""
        async with self._journal.writing() as connection:
            for key in keys:
                await _drop(connection, space, key)


async def _drop(connection: AsyncConnection, space: str, key: str) -> None:
    for table in (KEPT, KEPT_CLIPS):
        await connection.execute(
            delete(table).where(table.c.space == space, table.c.work_key == key)
        )


async def _drop_beyond(connection: AsyncConnection, most_bytes: int) -> set[str]:
    """Forget the rows that were of use longest ago; the hashes that they named."""
    in_all = (await connection.execute(select(func.sum(KEPT.c.size)))).scalar()
    if int(in_all or 0) <= most_bytes:
        return set()
    query = select(KEPT.c.space, KEPT.c.work_key, KEPT.c.sha256, KEPT.c.size)
    held: set[str] = set()
    gone: set[str] = set()
    total = 0
    for row in (await connection.execute(query.order_by(KEPT.c.used_ms.desc()))).all():
        total += 0 if row.sha256 in held else row.size
        if total <= most_bytes:
            held.add(row.sha256)
            continue
        gone.add(row.sha256)
        await _drop(connection, row.space, row.work_key)
    return gone


def _row(row: Any) -> KeptRow:
    return KeptRow(
        row.work_key,
        row.sha256,
        row.size,
        row.body,
        row.used_ms,
    )
