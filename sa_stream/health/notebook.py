"""Health: the engine says what it did and when; people and load balancers ask whether the data path is alive.

`Health` is the notebook (thread-safe, no clock of its own), `readiness` the verdict (pure), `Health_Server` the HTTP
server. A consumer that reads nothing, commits nothing or cannot write is not ready within a minute.
"""

import copy
import errno
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from consumer.process.log_setup import log_lines_dropped
from sa_stream.config import PREFIX
from sa_stream.errors import Config_Error, In_Use
from sa_stream.timing import Moment, Now, right_now

if TYPE_CHECKING:  # the web framework takes half a second to load: only where a server starts
    from fastapi import APIRouter, FastAPI

SILENT_MS = 60_000  # without a read (or a publishing round) for this long, a part counts as dead
STORE_GRACE_MS = 5_000  # a store may fail this long before it counts: one lost request is no outage
CLOCK_OFF_MS_MAX = 5_000  # beyond it, idle shards no longer follow the clock
KCL_RUNNING = "running"


@dataclass(slots=True)
class Shard_View:
    """What is known of one shard. None: not yet.

    lag_ms             as of the last read; it grows while nothing is read (`lag_ms_at`)
    uncommitted_since  when the first record that no commit covers was read; None: everything is committed
    windows            start (ms) -> records counted, of the windows in memory
    unreadable         why the source does not answer a read of this shard, since unreadable_since; None: it does
    """

    since: Moment
    sequence_number: str | None = None
    lag_ms: int | None = None
    last_read: Moment | None = None
    last_commit: Moment | None = None
    uncommitted_since: Moment | None = None
    watermark_ms: int | None = None
    windows: dict[int, int] = field(default_factory=dict)
    ended: bool = False
    blocked: str | None = None
    malformed: str | None = None
    unreadable: str | None = None
    unreadable_since: Moment | None = None
    counters: dict[str, int] = field(default_factory=dict)

    def lag_ms_at(self, now: Moment) -> int | None:
        """How far behind the tip this shard is now, as far as is known."""
        if self.lag_ms is None or self.last_read is None or self.ended:
            return self.lag_ms
        unread_ms = now - self.last_read
        grows = self.lag_ms or self.unreadable_since is not None or unread_ms >= SILENT_MS
        return self.lag_ms + (unread_ms if grows else 0)


@dataclass(slots=True)
class Store_View:
    """What is known of one store. failing_since is the first failure after the last success; None: it works."""

    last_ok: Moment | None = None
    failing_since: Moment | None = None
    reason: str = ""


@dataclass(slots=True)
class Kcl_View:
    """What is known of the KCL's process.

    state       what its supervisor says: `running`, or in words what keeps it from running
    idle_since  since when it runs without a lease for us; None: it has one
    unread      open shard -> since when no worker has made progress with it
    """

    state: str
    idle_since: Moment | None = None
    unread: dict[str, Moment] = field(default_factory=dict)


@dataclass(slots=True)
class Health_View:
    """Everything that is known, at one moment.

    kcl   None when shards are read without it
    gone  shard that the stream no longer had before it was read to its end -> up to when (ms) it was read
    lost  shard -> what of it was lost last, as a sentence's end
    clock_stepped  how far our clock has stepped, as long as it does not agree with the source's again
    """

    started: Moment
    commit_interval_ms: int
    versions: dict[str, str]
    shards: dict[str, Shard_View] = field(default_factory=dict)
    stores: dict[str, Store_View] = field(default_factory=dict)
    clock_offset_ms: int = 0
    clock_stepped_ms: int = 0
    last_published: Moment | None = None
    memory: str | None = None
    kcl: Kcl_View | None = None
    gone: dict[str, int] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)


class Shard_Health:
    """The engine's pen for one shard."""

    def __init__(self, lock: threading.Lock, view: Shard_View) -> None:
        self._lock = lock
        self._view = view

    def read(self, now: Moment, lag_ms: int, sequence_number: str | None) -> None:
        """A read was answered, with records or empty. sequence_number: the last record seen so far."""
        with self._lock:
            view = self._view
            view.last_read = now
            view.lag_ms = lag_ms
            if sequence_number is not None and sequence_number != view.sequence_number:
                view.sequence_number = sequence_number
                if view.uncommitted_since is None:
                    view.uncommitted_since = now

    def resumed(self, sequence_number: str | None) -> None:
        """The shard goes on after this record, which is committed; None: it begins."""
        with self._lock:
            self._view.sequence_number = sequence_number
            self._view.uncommitted_since = None

    def committed(self, now: Moment) -> None:
        """A commit that covers everything read so far was confirmed."""
        with self._lock:
            self._view.last_commit = now
            self._view.uncommitted_since = None

    def watermark(self, watermark_ms: int) -> None:
        with self._lock:
            self._view.watermark_ms = watermark_ms

    def windows(self, counts: Mapping[int, int]) -> None:
        """Windows in memory: start (ms) -> records counted."""
        with self._lock:
            self._view.windows = dict(counts)

    def ended(self) -> None:
        """The shard has no more records to come, and all it had is committed."""
        with self._lock:
            self._view.ended = True

    def blocked(self, reason: str | None) -> None:
        """The shard waits for something (None: no longer). It is not ready as long as it does."""
        with self._lock:
            self._view.blocked = reason

    def unreadable(self, now: Moment, reason: str | None) -> None:
        """The source throttles or fails the reads of this shard (None: it answers), whatever it does for others."""
        with self._lock:
            self._view.unreadable = reason
            self._view.unreadable_since = None if reason is None else self._view.unreadable_since or now

    def counters(self, counters: Mapping[str, int]) -> None:
        """What was seen and dropped so far, by name."""
        with self._lock:
            self._view.counters = dict(counters)

    def malformed(self, reason: str | None) -> None:
        """Most of what was read lately could not be used (None: no longer), so the entries are not what they seem."""
        with self._lock:
            self._view.malformed = reason


class Store_Health:
    """Pen for one store; whoever calls the store says how it went."""

    def __init__(self, lock: threading.Lock, view: Store_View) -> None:
        self._lock = lock
        self._view = view

    def ok(self, now: Moment) -> None:
        with self._lock:
            self._view.last_ok = now
            self._view.failing_since = None
            self._view.reason = ""

    def failed(self, now: Moment, reason: str) -> None:
        with self._lock:
            self._view.reason = reason
            if self._view.failing_since is None:
                self._view.failing_since = now


class Health:
    """What the engine does, written down from any thread. Nothing here asks a clock."""

    def __init__(
        self, started: Moment, commit_interval_ms: int = 60_000, versions: Mapping[str, str] | None = None
    ) -> None:
        self._lock = threading.Lock()
        self._view = Health_View(started, commit_interval_ms, dict(versions or {}))

    def shard(self, partition: str, now: Moment | None = None) -> Shard_Health:
        """The pen of a shard; naming a shard for the first time says that this worker has to read it from `now` on (by
        default from the start of the process)."""
        with self._lock:
            view = self._view.shards.setdefault(partition, Shard_View(now or self._view.started))
        return Shard_Health(self._lock, view)

    def forget(self, partition: str) -> None:
        """Another worker reads this shard now."""
        with self._lock:
            self._view.shards.pop(partition, None)

    def store(self, name: str) -> Store_Health:
        """The pen of a store, such as 'state store' or 'cache service': the name is what people will read."""
        with self._lock:
            return Store_Health(self._lock, self._view.stores.setdefault(name, Store_View()))

    def clock(self, offset_ms: int, stepped_ms: int = 0) -> None:
        """How far the source's clock is ahead of this machine's (as the Kinesis reader measures it), and how far this
        machine's has stepped since they last agreed."""
        with self._lock:
            self._view.clock_offset_ms = offset_ms
            self._view.clock_stepped_ms = stepped_ms

    def published(self, now: Moment) -> None:
        """A round of publishing was completed: what differed was written, or nothing differed."""
        with self._lock:
            self._view.last_published = now

    def memory(self, reason: str | None) -> None:
        """Memory is so short that nothing is read (None: no longer)."""
        with self._lock:
            self._view.memory = reason

    def gone(self, partition: str, read_to_ms: int) -> None:
        """The stream no longer has this shard, and what came after a time was never read."""
        with self._lock:
            self._view.gone[partition] = read_to_ms

    def lost(self, partition: str, what: str) -> None:
        """Records of a shard are in no number, or what was known of it is gone."""
        with self._lock:
            self._view.lost[partition] = what

    def kcl(self, state: str, leases: int, now: Moment) -> None:
        """What the KCL's process is doing, and how many shards it lets this worker read."""
        with self._lock:
            view = self._view.kcl
            if view is None or view.state != state:
                view = self._view.kcl = Kcl_View(state, unread=view.unread if view else {})
            if leases or state != KCL_RUNNING:
                view.idle_since = None
            elif view.idle_since is None:
                view.idle_since = now

    def unread(self, shards: Mapping[str, Moment]) -> None:
        """Open shards that no worker of the application has made progress with for too long, and since when."""
        with self._lock:
            if self._view.kcl is not None:
                self._view.kcl.unread = dict(shards)

    def view(self) -> Health_View:
        """A copy of everything, as of one moment."""
        with self._lock:
            return copy.deepcopy(self._view)


def readiness(view: Health_View, now: Moment) -> list[str]:
    """Why this consumer is not ready, one sentence a reason; none if it is.

    - no shard at all: starting, or nothing to read
    - a shard (not ended): blocked; most of its records malformed; its reads failing for more than 5 s, whatever others
      do; never read; not read for 60 s (an empty answer is a read); records that have waited for a commit for longer
      than the commit interval + 60 s
    - a store: failing for more than 5 s without a success in between
    - publishing: no round completed for longer than the commit interval + 60 s
    - the clock: more than 5 s off the source's; stepped, and not seen to agree with the source's since
    - the KCL: its process does not run; a shard that no worker makes progress with. To wait for leases is no reason:
      other workers may have them all, or the take-over from a dead one is under way
    - memory: reading pauses
    """
    reasons = []
    overdue_ms = view.commit_interval_ms + SILENT_MS
    if view.memory is not None:
        reasons.append(view.memory)
    if view.kcl is not None:
        reasons.extend(_kcl_reasons(view.kcl, now))
    elif not view.shards:
        silent_ms = now - view.started
        if silent_ms < SILENT_MS:
            reasons.append("starting: waiting for first read")
        else:
            reasons.append(f"no shard has been read in the {_seconds(silent_ms)} since the start")
    for partition, shard in sorted(view.shards.items()):
        if not shard.ended:
            reasons.extend(f"shard {partition} {reason}" for reason in _shard_reasons(shard, now, overdue_ms))
    for name, store in sorted(view.stores.items()):
        if store.failing_since is not None and now - store.failing_since > STORE_GRACE_MS:
            reasons.append(f"{name} has been failing for {_seconds(now - store.failing_since)}: {store.reason}")
    published = view.last_published or view.started
    if now - published >= overdue_ms:
        reasons.append(f"nothing has been published for {_seconds(now - published)}")
    if abs(view.clock_offset_ms) > CLOCK_OFF_MS_MAX:
        side = "behind" if view.clock_offset_ms > 0 else "ahead of"
        reasons.append(
            f"the clock of this machine is {_seconds(abs(view.clock_offset_ms))} {side} the source's: set it (NTP)"
        )
    elif view.clock_stepped_ms:
        reasons.append(
            f"the clock of this machine has stepped by {_seconds(abs(view.clock_stepped_ms))}, and the source has not "
            "confirmed it yet"
        )
    return reasons


def _kcl_reasons(kcl: Kcl_View, now: Moment) -> list[str]:
    reasons = [] if kcl.state == KCL_RUNNING else [f"the KCL is {kcl.state}"]
    for partition, since in sorted(kcl.unread.items()):
        reasons.append(f"shard {partition} is read by no worker for {_seconds(now - since)}")
    return reasons


def notes(view: Health_View, now: Moment) -> list[str]:
    """What somebody who looks may want to know, although nothing is wrong with what is done now."""
    found = [
        f"shard {partition} was gone from the stream before it was read to its end: what came after "
        f"{iso(read_to_ms) or 'its beginning'} is in no number"
        for partition, read_to_ms in sorted(view.gone.items())
    ]
    found += [f"shard {partition} has lost something: {what}" for partition, what in sorted(view.lost.items())]
    if view.kcl is not None and view.kcl.idle_since is not None:
        found.append(
            f"waiting for leases for {_seconds(now - view.kcl.idle_since)}: other workers have them, or a dead "
            "worker's are about to be taken over (up to two minutes)"
        )
    return found


def _shard_reasons(shard: Shard_View, now: Moment, overdue_ms: int) -> list[str]:
    reasons = []
    if shard.blocked is not None:
        reasons.append(f"is blocked: {shard.blocked}")
    if shard.malformed is not None:
        reasons.append(shard.malformed)
    if shard.unreadable_since is not None and now - shard.unreadable_since > STORE_GRACE_MS:
        reasons.append(f"cannot be read for {_seconds(now - shard.unreadable_since)}: {shard.unreadable}")
    silent_ms = now - (shard.last_read or shard.since)
    if shard.last_read is None and silent_ms < SILENT_MS:
        reasons.append("is waiting for its first read")
    elif silent_ms >= SILENT_MS:
        reasons.append(f"has not been read for {_seconds(silent_ms)}")
    if shard.uncommitted_since is not None and now - shard.uncommitted_since >= overdue_ms:
        reasons.append(f"has records that have waited for a commit for {_seconds(now - shard.uncommitted_since)}")
    return reasons


def detail(view: Health_View, now: Now) -> dict[str, Any]:
    """Everything as JSON, for people who look into it. Times of day are counted back from now."""

    def ago(moment: Moment | None) -> str | None:
        return None if moment is None else iso(now.wall_ms - (now.moment - moment))

    reasons = readiness(view, now.moment)
    return {
        "ready": not reasons,
        "reasons": reasons,
        "notes": notes(view, now.moment),
        "now": iso(now.wall_ms),
        "started": ago(view.started),
        "uptime_s": (now.moment - view.started) // 1000,
        "versions": view.versions,
        "clock_offset_ms": view.clock_offset_ms,
        "kcl": None if view.kcl is None else view.kcl.state,
        "last_published": ago(view.last_published),
        "shards": {
            partition: _shard_detail(shard, now.moment, ago) for partition, shard in sorted(view.shards.items())
        },
        "stores": {
            name: {
                "ok": store.failing_since is None,
                "last_ok": ago(store.last_ok),
                "failing_since": ago(store.failing_since),
                "reason": store.reason,
            }
            for name, store in sorted(view.stores.items())
        },
    }


def _shard_detail(shard: Shard_View, now: Moment, ago: Callable[[Moment | None], str | None]) -> dict[str, Any]:
    return {
        "sequence_number": shard.sequence_number,
        "lag_ms": shard.lag_ms_at(now),
        "watermark": iso(shard.watermark_ms),
        "open_windows": {iso(start_ms): count for start_ms, count in sorted(shard.windows.items())},
        "last_read": ago(shard.last_read),
        "last_commit": ago(shard.last_commit),
        "uncommitted_since": ago(shard.uncommitted_since),
        "ended": shard.ended,
        "blocked": shard.blocked,
        "malformed": shard.malformed,
        "unreadable": shard.unreadable,
        "counters": dict(sorted(shard.counters.items())),
    }


def _seconds(duration_ms: int) -> str:
    return f"{duration_ms // 1000} s"


def iso(time_ms: int | None) -> str | None:
    """ISO time in UTC; None also for the watermarks that stand before and after all times."""
    if time_ms is None or not 0 <= time_ms < 253_402_300_800_000:  # the year 10000
        return None
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def health_routes(health: Health, clock: Callable[[], Now] = right_now) -> "APIRouter":
    """The three addresses, to be put into any application. They answer JSON only and change nothing."""
    from fastapi import APIRouter
    from fastapi.responses import JSONResponse

    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    routes = APIRouter()

    @routes.get("/health/live")
    async def live() -> JSONResponse:
        return JSONResponse({"status": "live"}, headers=headers)

    @routes.get("/health/ready")
    async def ready() -> JSONResponse:
        view, now = health.view(), clock().moment
        reasons = readiness(view, now)
        answer = {"status": "not ready" if reasons else "ready", "reasons": reasons, "notes": notes(view, now)}
        return JSONResponse(answer, status_code=503 if reasons else 200, headers=headers)

    @routes.get("/health")
    async def everything() -> JSONResponse:
        shown = detail(health.view(), clock()) | {"log_lines_dropped": log_lines_dropped()}
        return JSONResponse(shown, headers=headers)

    return routes


class Health_Server:
    """HTTP server in a thread of its own, from construction until `stop`.

    Raises In_Use when the port is taken, Config_Error when the host or port cannot be bound at all.
    """

    def __init__(
        self,
        health: Health,
        host: str = "127.0.0.1",
        port: int = 8080,
        clock: Callable[[], Now] = right_now,
        app: "FastAPI | None" = None,
    ) -> None:
        import uvicorn
        from fastapi import FastAPI

        from sa_stream.api.http_server import server_settings

        self._socket = listen(host, port)
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        app = app or FastAPI(title="sa-stream", docs_url=None, redoc_url=None, openapi_url=None)
        app.include_router(health_routes(health, clock))
        self._server = uvicorn.Server(server_settings(app))
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="http", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def stop(self) -> None:
        """Close the port; answers under way get a second."""
        self._server.should_exit = True
        self._thread.join(timeout=5)
        self._socket.close()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises In_Use, Config_Error."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=128)
        # Its connections have it too. Without it, the second answer of each waits for the client's delayed ACK, 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise In_Use(
                f"Port {port} on {host} is in use: stop what holds it, or set {PREFIX}HTTP_PORT to another port."
            ) from error
        raise Config_Error(
            f"Cannot listen on {host}, port {port} ({error.strerror or error}): "
            f"set {PREFIX}HTTP_HOST to an address of this machine and {PREFIX}HTTP_PORT to a port you may use."
        ) from error
