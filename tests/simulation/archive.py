"""The archive of a simulated world: what Firehose makes of the same records, with its own delays and duplicates; what
goes wrong with it; and the naive recount of any set of its files."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from random import Random

from msgspec import Struct, field

from sa_stream.bounded.repair import Computed
from sa_stream.bounded.windows import Bounded_Windows
from sa_stream.errors import Source_Error, Store_Unavailable
from sa_stream.records.parser import Parser
from sa_stream.timing import HOUR_MS, MINUTE_MS, WINDOW_MS, iso
from tests.oracle import CANONICAL, Line_Reader, Log_Record, Tally, record_lines
from tests.pieces import columns_of
from tests.simulation.parts import INTAKE, SECOND_MS, Short_Timing

REACH_MS = 16 * MINUTE_MS  # so long after its oldest record a file may still take in others
LATENESS_MS = 2 * HOUR_MS  # allowed, where there is an archive: so long windows are repaired
READER = Line_Reader(CANONICAL)


class Log_File(Struct, eq=False):
    """oldest_ms  when its oldest record arrived, which its folder and its name tell
    lands_ms      from when on it is there
    unreadable    until when it cannot be read
    """

    name: str
    oldest_ms: int
    closes_ms: int
    lands_ms: int = 0
    unreadable_ms: int = 0
    lines: list[bytes] = field(default_factory=list)
    records: list[Log_Record] = field(default_factory=list)

    def take(self, payload: bytes) -> None:
        for line in record_lines(payload):
            self.lines.append(line)
            record = READER.read(line)
            if not isinstance(record, str):
                self.records.append(record)


class Log_Archive:
    """settle_ms  how long after its event a record may arrive and still be looked for

    found     window -> every set of files that somebody was told of
    computed  (window, files read, whether all were) -> every set of files that somebody was given the sum of
    """

    def __init__(self, rng: Random, clock_ms: Callable[[], int], say: Callable[..., None]) -> None:
        self._rng, self._clock_ms, self._say = rng, clock_ms, say
        self.buffering_ms = rng.choice([1, 5, 15]) * MINUTE_MS
        self.settle_ms = rng.choice([15, 60]) * MINUTE_MS
        self.faulty = rng.random() < 0.7
        self.files: dict[str, Log_File] = {}
        self.found: dict[int, set[frozenset[str]]] = {}
        self.computed: dict[tuple[int, int, bool], set[frozenset[str]]] = {}
        self._open: Log_File | None = None
        self._held: list[tuple[int, bytes]] = []  # what Firehose takes in only then
        self._down_until_ms = 0

    # ------------------------------------------------------------------ what Firehose does

    def put(self, payload: bytes) -> None:
        """A record: mostly taken in at once, sometimes only into a later file, sometimes into two."""
        rng, now_ms = self._rng, self._clock_ms()
        x = rng.random()
        if x < 0.06:
            self._held.append((now_ms + rng.randint(1, 10) * MINUTE_MS, payload))
        else:
            self._take(payload)
        if x > 0.94:
            self._held.append((now_ms + rng.randint(0, 10) * MINUTE_MS, payload))

    def _take(self, payload: bytes) -> None:
        self._close()
        if self._open is None:
            now_ms = self._clock_ms()
            folder = (iso(now_ms) or "")[:13].replace("T", "/")
            name = f"{folder}/logs-{len(self.files):04d}"
            self._open = Log_File(name, now_ms, now_ms + self.buffering_ms)
        self._open.take(payload)

    def _close(self) -> None:
        """A file lands soon after it was closed, or late, or very late."""
        rng, file = self._rng, self._open
        if file is None or self._clock_ms() < file.closes_ms:
            return
        x = rng.random()
        late_ms = rng.randint(1, 20) * SECOND_MS
        if x < 0.2:
            late_ms = rng.randint(1, 25) * MINUTE_MS
        elif x < 0.3:
            late_ms = rng.randint(20, LATENESS_MS // MINUTE_MS * 2 // 3) * MINUTE_MS
        file.lands_ms = file.closes_ms + late_ms
        self.files[file.name] = file
        self._open = None

    def step(self) -> None:
        now_ms, held = self._clock_ms(), self._held
        self._held = [(at_ms, payload) for at_ms, payload in held if at_ms > now_ms]
        for at_ms, payload in held:
            if at_ms <= now_ms:
                self._take(payload)
        self._close()

    # ------------------------------------------------------------------ what goes wrong

    def misfortune(self) -> None:
        rng, now_ms = self._rng, self._clock_ms()
        if not self.faulty:
            return
        if rng.random() < 0.002:
            self._down_until_ms = now_ms + rng.randint(5, 90) * MINUTE_MS
            self._say("archive outage", (self._down_until_ms - now_ms) // MINUTE_MS)
        if self.files and rng.random() < 0.01:
            file = rng.choice(list(self.files.values())[-10:])
            file.unreadable_ms = now_ms + rng.randint(5, 90) * MINUTE_MS
            self._say("unreadable", file.name)

    def come_to_rest(self) -> None:
        """No faults any more; what is still to come lands when it does."""
        self._down_until_ms, self.faulty = 0, False
        for file in self.files.values():
            file.unreadable_ms = 0

    # ------------------------------------------------------------------ who asks

    def names(self, window_ms: int, until_ms: int | None = None) -> list[str]:
        """Files that may hold records of a window and landed until then (None: now)."""
        now_ms = self._clock_ms() if until_ms is None else until_ms
        first_ms, end_ms = window_ms - REACH_MS, window_ms + WINDOW_MS + self.settle_ms
        return [
            file.name for file in self.files.values() if first_ms < file.oldest_ms < end_ms and file.lands_ms <= now_ms
        ]

    def find(self, window_ms: int) -> Sequence[str]:
        self._answers()
        names = self.names(window_ms)
        self.found.setdefault(window_ms, set()).add(frozenset(names))
        return names

    def compute(self, window_ms: int, files: Sequence[str], seed: int) -> Computed:
        """By the product's parser and windows."""
        self._answers()
        now_ms = self._clock_ms()
        broken = {name: "unreadable" for name in files if self.files[name].unreadable_ms > now_ms}
        read = frozenset(name for name in files if name not in broken)
        self.computed.setdefault((window_ms, len(read), not broken), set()).add(read)
        windows = Bounded_Windows(defaultdict(lambda: seed))
        lines = [line for name in files if name in read for line in self.files[name].lines]
        if lines:
            parser = Parser(INTAKE.lists, Short_Timing().future_ms)
            for columns in columns_of(parser, b"\n".join(lines) + b"\n", now_ms):
                windows.take(columns, INTAKE)
        [window] = windows.taken_out([window_ms])
        window.fields |= INTAKE.lists.mask  # also of one that is empty
        self._say("computed", iso(window_ms), len(read), "of", len(files), window.total_requests)
        return Computed(window, len(read), broken)

    def _answers(self) -> None:
        if self._clock_ms() < self._down_until_ms:
            if self._rng.random() < 0.5:
                raise Source_Error("the archive is not to be read")
            raise Store_Unavailable("the archive does not answer")

    # ------------------------------------------------------------------ the recount

    def recounted(self, window_ms: int, names: Iterable[str]) -> Tally:
        """What a window holds by these files: each request once."""
        tally, ids = Tally(), set()
        for name in names:
            for record in self.files[name].records:
                if record.time_ms // WINDOW_MS * WINDOW_MS != window_ms:
                    continue
                if record.request_id in ids:
                    tally.duplicates += 1
                    continue
                if record.request_id is not None:
                    ids.add(record.request_id)
                tally.add(record)
        return tally
