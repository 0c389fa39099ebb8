"""Taking in one result: hashed as it streams, in order, bounded, stored, paid by the chunk."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence

from reelmesh.node.rpc.errors import Malformed, TooMuch, WrongBytes
from reelmesh.node.rpc.frames import Chunk
from reelmesh.node.rpc.limits import MAX_CHUNK_BYTES, MAX_OUTPUTS
from reelmesh.node.storage.artifacts import ArtifactStore
from reelmesh.node.storage.artifacts_writer import ArtifactWriter, WrongHash
from reelmesh.proto import work_pb2

DELIVERY_PERCENT = 90
"""Share of a subtask's price that its chunks earn; the attestation earns the rest."""

RaiseVoucher = Callable[[int, int], Awaitable[work_pb2.SignedVoucher]]
"""(accepted bytes, bytes in all) to the provider's raised, cumulative voucher for the job."""
Completed = Callable[[Sequence[work_pb2.ArtifactRef]], Awaitable[None]]
Aborted = Callable[[str], Awaitable[None]]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9_-]{1,40}")


def delivered_share(price: int, accepted_bytes: int, total_bytes: int) -> int:
    """What a subtask of `price` wei has earned when that many of its bytes are accepted.

    Both sides compute it: the coordinator to raise the voucher, the provider to see that it was.
    """
    return price * DELIVERY_PERCENT * accepted_bytes // (100 * total_bytes)


def check_outputs(outputs: Sequence[work_pb2.ArtifactRef], max_bytes: int) -> int:
    """The announced outputs' size in bytes; raises Malformed or TooMuch."""
    if not 1 <= len(outputs) <= MAX_OUTPUTS:
        raise Malformed(f"{len(outputs)} outputs announced; 1 to {MAX_OUTPUTS} are allowed")
    if len({ref.name for ref in outputs}) != len(outputs):
        raise Malformed("an output is announced twice")
    for ref in outputs:
        if not _NAME.fullmatch(ref.name) or not _SHA256.fullmatch(ref.sha256) or ref.size < 1:
            raise Malformed("an output without a proper name, hash or size is announced")
    total = sum(ref.size for ref in outputs)
    if total > max_bytes:
        raise TooMuch(f"{total} bytes announced where at most {max_bytes} can be")
    return total


class DeliverySink:
    """A `Delivery` that writes into an artifact store.

    Args:
        store: Where outputs go; each becomes visible only when its hash is right.
        header: The sender's announcement. Whether its lease holds is the caller's to check.
        max_bytes: Most bytes that all outputs together can be.
        raise_voucher: Called after each accepted chunk; must never lower the voucher, also when a
            delivery is begun again after a broken connection.
        completed: Called once, after every output is stored and before the sender is told.
        aborted: Called once when the delivery ends without completing, with a reason code.

    Raises Malformed or TooMuch at once when the announcement is not acceptable.
    """

    def __init__(
        self,
        store: ArtifactStore,
        header: work_pb2.DeliverHeader,
        *,
        max_bytes: int,
        raise_voucher: RaiseVoucher,
        completed: Completed,
        aborted: Aborted,
    ) -> None:
        self.total_bytes = check_outputs(header.outputs, max_bytes)
        self.accepted_bytes = 0
        self._store = store
        self._outputs = list(header.outputs)
        self._raise_voucher = raise_voucher
        self._completed = completed
        self._aborted = aborted
        self._done = 0
        self._writer = self._open_writer()

    async def accept(self, chunk: Chunk) -> work_pb2.DeliverReply:
        """Store the next chunk; raises Malformed, TooMuch or WrongBytes."""
        data = chunk.data
        self._check(chunk.output, chunk.offset, len(data))
        await self._writer.write(data)
        if self._writer.size == self._outputs[self._done].size:
            await self._finish_output()
        self.accepted_bytes += len(data)
        voucher = await self._raise_voucher(self.accepted_bytes, self.total_bytes)
        return work_pb2.DeliverReply(accepted_bytes=self.accepted_bytes, voucher=voucher)

    async def finish(self) -> work_pb2.DeliverReply:
        """Every output must be there; raises Malformed when the sender stopped early."""
        if self._done < len(self._outputs):
            raise Malformed("the sender stopped before every output was sent", "incomplete")
        await self._completed(self._outputs)
        return work_pb2.DeliverReply(accepted_bytes=self.accepted_bytes, complete=True)

    async def abort(self, reason: str) -> None:
        """Drop what is unfinished; outputs that were complete stay, they are what they claim."""
        self._writer.discard()
        await self._aborted(reason)

    def _check(self, output: int, offset: int, size: int) -> None:
        if self._done >= len(self._outputs):
            raise TooMuch("a chunk after the last announced byte")
        if output != self._done or offset != self._writer.size:
            raise Malformed(
                f"expected output {self._done} at {self._writer.size}, "
                f"got output {output} at {offset}",
                "out_of_order",
            )
        if not 0 < size <= MAX_CHUNK_BYTES:
            raise TooMuch(f"a chunk of {size} bytes; 1 to {MAX_CHUNK_BYTES} are allowed")
        if self._writer.size + size > self._outputs[self._done].size:
            raise TooMuch("more bytes than were announced for this output")

    async def _finish_output(self) -> None:
        try:
            await self._writer.commit()
        except WrongHash as error:
            raise WrongBytes(error.message) from error
        self._done += 1
        if self._done < len(self._outputs):
            self._writer = self._open_writer()

    def _open_writer(self) -> ArtifactWriter:
        ref = self._outputs[self._done]
        return self._store.writer(expected=ref.sha256, max_bytes=ref.size)
