"""How much a worker takes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from steersman.bundle.specs import Spec

Positive = Annotated[int, Field(ge=1)]


class Limits(Spec):
    """Limits of one worker.

    Attributes:
        max_rows: Most rows of a call.
        max_message_bytes: Largest request.
        max_calls: Most calls in flight; what comes beyond is refused before it is read.
        max_bytes_in_flight: Most bytes of the requests of those calls; likewise.
        max_waiting_rows: Most rows that wait for models on threads, and most that come together to be decided
            inline; what comes beyond is overload.
        max_stream_calls: Most calls of one stream that wait for their answers; then the stream is not read.
        max_stream_episodes: Most episodes that one stream remembers; the one unused for longest is forgotten.
    """

    max_rows: Positive = 4096
    max_message_bytes: Annotated[int, Field(ge=1024)] = 4 * 1024 * 1024
    max_calls: Positive = 4096
    max_bytes_in_flight: Positive = 256 * 1024 * 1024
    max_waiting_rows: Positive = 16384
    max_stream_calls: Positive = 256
    max_stream_episodes: Positive = 4096
