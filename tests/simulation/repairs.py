"""Repairs in a simulated world: workers that compute windows from the archive, and a stream that does not answer."""

from collections.abc import Sequence

from msgspec import Struct

import sa_stream.bounded.repair as repair_module
from sa_stream.bounded.repair import Computed
from sa_stream.errors import Source_Error, Store_Unavailable
from sa_stream.timing import HOUR_MS, MINUTE_MS, WINDOW_MS, iso
from tests.simulation.archive import Log_Archive
from tests.simulation.parts import FOREVER_MS, INTAKE, Task_Steps, Worker


class _Worker_Files(Struct, frozen=True):
    """The archive as a worker with these settings reads it."""

    archive: Log_Archive
    settings: str

    def find(self, window_ms: int) -> Sequence[str]:
        return self.archive.find(window_ms)

    def compute(self, window_ms: int, files: Sequence[str], seed: int) -> Computed:
        return self.archive.compute(window_ms, files, seed)


class Repairs:
    """The part of a world in which windows are repaired."""

    def repairer_steps(self, worker: Worker) -> Task_Steps:
        """What the last pass of the worker's publisher says is to be repaired, oldest first; now and then."""
        next_ms = 0
        while True:
            yield None
            if self.now_ms < next_ms:
                continue
            next_ms = self.now_ms + self.rng.choice([1, 4, 10] if self.faults else [2]) * MINUTE_MS
            files = _Worker_Files(self.archive, INTAKE.settings(worker.timing))
            for window_ms, known in sorted(worker.to_repair.items()):
                try:
                    repair = yield from repair_module.repair_steps(self.store, worker.secrets, files, window_ms, known)
                except (Store_Unavailable, Source_Error):
                    continue  # the next pass names it again
                if repair is not None:
                    self.say("repaired", worker.name, iso(window_ms), repair.files, repair.whole)

    def plan_silence(self, end_ms: int) -> int:
        """For hours the stream does not answer to who lists its shards or reads them, while it takes records. When the
        faults are over then, which may be the end of it."""
        self.silent_from_ms = self.silent_until_ms = FOREVER_MS
        if hours := self.options["silent_hours"]:
            self.silent_from_ms = self.rng.randint(self.now_ms, end_ms)
            self.silent_until_ms = self.silent_from_ms + hours * HOUR_MS
            end_ms = max(end_ms, self.silent_until_ms + self.rng.randint(-2, 2) * WINDOW_MS)
        return end_ms

    @property
    def silent(self) -> bool:
        return self.faults and self.silent_from_ms < self.now_ms < self.silent_until_ms

    def answers(self) -> None:
        if self.silent:
            self.seen["silence"] += 1
            raise Store_Unavailable("the stream does not answer")
