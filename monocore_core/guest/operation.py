"""Something under way in the guest: what its frames are about, and who waits for them."""

from __future__ import annotations

import asyncio

from attrs import define, field

from monocore_core.errors import GuestError, MonocoreError
from monocore_core.guest.messages import decode_fault
from monocore_core.guest.streams import ByteStream, Credit
from monocore_core.guest.wire import Frame, Kind
from monocore_core.model.guest import ProcessExit


@define(eq=False)
class Operation:
    """Something under way in the guest, by its number."""

    id: int
    reply: asyncio.Future[Frame]
    exit: asyncio.Future[ProcessExit]
    outputs: dict[int, ByteStream] = field(factory=dict[int, ByteStream])
    credit: Credit | None = None
    label: str = ""
    kept: bool = False
    terminal: bool = False

    def fail(self, error: MonocoreError) -> None:
        """Tell everyone who waits."""
        for future in (self.reply, self.exit):
            if not future.done():
                future.set_exception(error)
                future.exception()  # whoever waits still gets it; nobody has to
        for stream in self.outputs.values():
            stream.fail(error)
        if self.credit is not None:
            self.credit.fail(error)

    def settle(self, frame: Frame) -> None:
        """The agent answered: DONE, STARTED or FAILED.

        Raises:
            GuestError: it had done so before, or the answer is malformed.
        """
        if self.reply.done():
            raise GuestError("the guest agent broke the protocol: it answered twice")
        if frame.kind != Kind.FAILED:
            self.reply.set_result(frame)
            return
        error = decode_fault(frame.payload)
        self.reply.set_exception(error)
        self.reply.exception()
        if not self.exit.done():  # of a kept process that had not begun when it was adopted
            self.exit.set_exception(error)
            self.exit.exception()
        for stream in self.outputs.values():
            stream.fail(error)
        if self.credit is not None:
            self.credit.close()

    def output(self, channel: int) -> ByteStream:
        """The stream of a channel.

        Raises:
            GuestError: there is none.
        """
        stream = self.outputs.get(channel)
        if stream is None:
            raise GuestError("the guest agent broke the protocol: data for no stream")
        return stream
