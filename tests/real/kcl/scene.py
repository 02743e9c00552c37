"""One scene: a stream with traffic, an application with leases, a cache service, a state store, and the daemons that
read it. It knows what the entries must be (from what the stream holds, by the oracle) and when their windows close.

Event times lie in the two windows before the last boundary of the clock. The daemons get an out-of-orderness with which
the newer of the two closes only `closes_in_s` after the scene began: until then whatever happens, happens in the middle
of an open window.
"""

import json
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.client import HTTPException
from itertools import islice
from pathlib import Path
from typing import Any

from consumer.kcl.identity import Worker_Identity
from sa_stream.commits.keys import START_KEY
from sa_stream.config import LATEST
from sa_stream.embedded.destinations import put_lines
from sa_stream.embedded.generator import Chunk, Traffic
from sa_stream.storage.state_store import State_Store
from tests.oracle import Stream_Oracle
from tests.real.counting import closed_keys, differences, expected_of
from tests.real.kcl.emulators import Emulators, emulators
from tests.real.kcl.process_tree import Seen, descendants, kill, marked, still_there
from tests.real.processes import CACHE_KEY, PREFIX, TRACEBACK, Cache, Daemon, World, clean_env, free_port, until
from tests.real.stream_client import Stream_Client

WINDOW_MS = 1_800_000
IDLE_MARGIN_S = 5  # an idle shard follows the clock at this distance more than the out-of-orderness
CHUNK_LINES = 50
AT_ONCE_S = 5  # what the kernel does itself, on a busy machine
MARK = "SA_STREAM_TEST_SCENE"
KCL_PROPERTIES = {  # what the KCL does every few seconds or minutes, several times a second
    "idleTimeBetweenReadsInMillis": "200",
    "failoverTimeMillis": "3000",
    "shardSyncIntervalMillis": "200",
    "parentShardPollIntervalMillis": "500",
    "leaseAssignmentIntervalMillis": "500",
    "workerMetricsReporterFreqInMillis": "500",
    "inMemoryWorkerMetricsCaptureFrequencyMillis": "500",
    "skipShardSyncAtWorkerInitializationIfLeasesExist": "true",
    # A hand-over to a worker that has just lost the lease itself waits for this long; and it should not happen often.
    "gracefulLeaseHandoffTimeoutMillis": "5000",
    "varianceBalancingFrequency": "10",
}


class Kcl_Stream(Stream_Client):
    """A stream of the emulator, which takes a moment for every change."""

    def __init__(self, client: Any, name: str, shards: int) -> None:
        super().__init__(client, name)
        client.create_stream(StreamName=name, ShardCount=shards)
        self._wait_active()

    def _wait_active(self) -> None:
        def status() -> str:
            return self.client.describe_stream_summary(StreamName=self.name)["StreamDescriptionSummary"]["StreamStatus"]

        until(f"{self.name} to be active", lambda: status() == "ACTIVE", 20)

    def split(self, shard: dict[str, Any]) -> None:
        super().split(shard)
        self._wait_active()

    def merge(self, left: dict[str, Any], right: dict[str, Any]) -> None:
        super().merge(left, right)
        self._wait_active()

    def delete(self) -> None:
        self.client.delete_stream(StreamName=self.name)


class Leases:
    """The lease table of one application. It is made before the first daemon starts, with a lease for every shard: a
    new application otherwise waits up to half a minute before it makes them itself, and a lease that is already owned
    need not be assigned first."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def create(self, shards: Sequence[dict[str, Any]], owners: Sequence[str]) -> None:
        """One for each of these shards."""
        self._client.create_table(
            TableName=self._table,
            KeySchema=[{"AttributeName": "leaseKey", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "leaseKey", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        self.add(shards, owners)

    def add(self, shards: Sequence[dict[str, Any]], owners: Sequence[str]) -> None:
        """The owners take turns."""
        for number, shard in enumerate(shards):
            lease = {
                "leaseKey": {"S": shard["ShardId"]},
                "checkpoint": {"S": "TRIM_HORIZON"},
                "startingHashKey": {"S": shard["HashKeyRange"]["StartingHashKey"]},
                "endingHashKey": {"S": shard["HashKeyRange"]["EndingHashKey"]},
                "checkpointSubSequenceNumber": {"N": "0"},
                "leaseCounter": {"N": "0"},
                "leaseOwner": {"S": owners[number % len(owners)]},
                "ownerSwitchesSinceCheckpoint": {"N": "0"},
            }
            self._client.put_item(TableName=self._table, Item=lease)

    def remove(self, shard: str) -> None:
        self._client.delete_item(TableName=self._table, Key={"leaseKey": {"S": shard}})

    def all(self) -> dict[str, dict[str, str]]:
        """shard -> its lease, every value as text."""
        items = self._client.scan(TableName=self._table)["Items"]
        leases = [{name: next(iter(value.values())) for name, value in item.items()} for item in items]
        return {lease["leaseKey"]: lease for lease in sorted(leases, key=lambda lease: lease["leaseKey"])}

    def owners(self) -> dict[str, str]:
        """shard -> worker, of the shards that are not ended."""
        return {
            shard: lease.get("leaseOwner", "")
            for shard, lease in self.all().items()
            if lease["checkpoint"] != "SHARD_END"
        }

    def checkpoints(self) -> dict[str, str]:
        return {shard: lease["checkpoint"] for shard, lease in self.all().items()}

    def steal(self, shard: str, owner: str) -> None:
        """Make it somebody else's, as a worker does that takes a lease whose owner it thinks dead."""
        self._client.update_item(
            TableName=self._table,
            Key={"leaseKey": {"S": shard}},
            UpdateExpression="SET leaseOwner = :owner ADD leaseCounter :one, ownerSwitchesSinceCheckpoint :one",
            ExpressionAttributeValues={":owner": {"S": owner}, ":one": {"N": "1"}},
        )


class Kcl_Daemon(Daemon):
    """A running `python -m consumer`: the guard that was started, and what it has started in turn."""

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        try:
            return super().get(path)
        except (HTTPException, ValueError):  # killed in the middle of an answer
            return 0, {}

    def reasons(self) -> list[str] | None:
        assert self.process.running(), f"{self.process.name} ended with {self.process.popen.returncode}\n{self.tail()}"
        return super().reasons()

    def tree(self) -> dict[str, list[Seen]]:
        """By role: daemon, jvm, child, other."""
        roles: dict[str, list[Seen]] = {"daemon": [], "jvm": [], "child": [], "other": []}
        for seen in descendants(self.process.pid):
            roles[seen.role].append(seen)
        return roles

    def wait_one(self, role: str, within_s: float = 30) -> Seen:
        return until(f"a {role} process", lambda: self.tree()[role], within_s, show=self.tail)[0]

    def tail(self) -> str:
        """The last that it said."""
        return self.process.err()[-6000:]

    def position(self, shard_id: str) -> int:
        shards = self.get("/health")[1].get("shards") or {}
        return int((shards.get(shard_id) or {}).get("sequence_number") or 0)

    def wait_event(self, name: str, at_least: int = 1, within_s: float = 60) -> list[dict[str, Any]]:
        """The log lines of this event, once there are so many."""

        def look() -> list[dict[str, Any]]:
            assert self.process.running(), self.tail()
            found = self.process.events(name)
            return found if len(found) >= at_least else []

        return until(f"{at_least} times {name} of {self.process.name}", look, within_s, show=self.tail)

    def kill_tree(self) -> None:
        """kill -9 of everything, at one moment as far as that goes."""
        everybody = descendants(self.process.pid)
        self.process.popen.kill()
        kill(everybody)
        self.process.popen.wait()
        gone(everybody, self)

    def kill_root(self) -> None:
        """kill -9 of the process that was started; the others must follow it at once."""
        everybody = descendants(self.process.pid)
        assert everybody, self.tail()
        self.process.kill()
        gone(everybody, self, within_s=AT_ONCE_S)


def gone(processes: Sequence[Seen], daemon: Kcl_Daemon, within_s: float = 10) -> None:
    """Wait until none of these is left."""
    until(
        "old processes to end",
        lambda: not still_there(processes),
        within_s,
        show=lambda: f"left: {still_there(processes)}\n{daemon.tail()}",
    )


class Flow:
    """Puts a chunk of lines every so often, from a thread of its own, while a test does something else."""

    def __init__(self, scene: "Scene", records: int, per_s: float) -> None:
        self._scene = scene
        self._records = records
        self._wait_s = CHUNK_LINES / per_s
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while self._records > 0 and not self._stop.is_set():
                self._records -= self._scene.put(min(CHUNK_LINES, self._records))
                self._stop.wait(self._wait_s)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            self._failure = error

    def finish(self) -> None:
        """Wait until all of it is in the stream."""
        self._thread.join(60)
        assert not self._thread.is_alive(), "the stream takes no records"
        if self._failure is not None:
            raise self._failure

    def cancel(self) -> None:
        self._stop.set()
        self._thread.join(60)


class Scene:
    """Everything of one test. `end` leaves nothing behind, or fails."""

    def __init__(
        self,
        world: World,
        emulators: Emulators,
        *,
        seed: int,
        records: int,
        closes_in_s: float,
        shards: int = 4,
        owners: str = "a",
    ) -> None:
        now_s = time.time()
        self.world = world
        self.emulators = emulators
        self.name = f"scene-{secrets.token_hex(4)}"
        self.boundary_ms = int(now_s * 1000) // WINDOW_MS * WINDOW_MS
        self.out_of_orderness_s = round(now_s + closes_in_s - IDLE_MARGIN_S - self.boundary_ms / 1000)
        self.newer_key = datetime.fromtimestamp((self.boundary_ms - WINDOW_MS) / 1000, UTC).strftime(
            "30min/%Y-%m-%d-%H%M"
        )
        self.closes_s = self.boundary_ms / 1000 + self.out_of_orderness_s + IDLE_MARGIN_S
        self.stream = Kcl_Stream(emulators.kinesis, self.name, shards)
        self._worker_ids: dict[str, str] = {}
        self.leases = Leases(emulators.dynamodb, self.name)
        self.leases.create(self.stream.shards(), [self.worker_id(worker) for worker in owners])
        self.cache = Cache(world)
        self.daemons: list[Kcl_Daemon] = []
        self.last_put_s = 0.0
        self.older = records // 3 // CHUNK_LINES * CHUNK_LINES  # so many of the records are in the older window
        self._lines = self._traffic(seed, records)
        self._flows: list[Flow] = []

    # ---- traffic

    def _traffic(self, seed: int, records: int) -> Iterator[Chunk]:
        """First the older window's, then the newer one's."""
        traffic = Traffic(seed, dirt_rate=0.01, duplicate_rate=0.02)
        newer_ms, older_ms = self.boundary_ms - WINDOW_MS, self.boundary_ms - 2 * WINDOW_MS
        yield from traffic.lines(older_ms, newer_ms, self.older, CHUNK_LINES)
        yield from traffic.lines(newer_ms, self.boundary_ms, records - self.older, CHUNK_LINES)

    def put(self, records: int) -> int:
        """Put the next records (rounded up to whole chunks) in their order; how many it were."""
        chunks = list(islice(self._lines, -(-records // CHUNK_LINES)))
        self.last_put_s = time.time()
        merged = put_lines(self.emulators.kinesis, self.name, chunks)
        assert merged, "the scene has no records left"
        return merged

    def flow(self, records: int, per_s: float) -> Flow:
        flow = Flow(self, records, per_s)
        self._flows.append(flow)
        return flow

    # ---- daemons

    def begun_at_latest(self, from_ms: int) -> None:
        """As if the application had begun at LATEST at that time, with the shards that are open now: these have
        leases, as the KCL makes them then, and no others. To be called before the first daemon runs."""
        for shard in self.leases.all():
            self.leases.remove(shard)
        self.leases.add(self.stream.open_shards(), [self.worker_id()])
        state = State_Store(f"file://{self.state_folder}")
        state.create(START_KEY, json.dumps({"position": LATEST, "from_ms": from_ms}).encode())

    def env(self, worker: str = "a", **more: str) -> dict[str, str]:
        """The environment of a worker; names of settings come without their prefix."""
        settings = {
            "STREAM": self.name,
            "APPLICATION": self.name,
            "RUNNER": "kcl",
            "STATE_URL": f"file://{self.state_folder}",
            "WORK_DIR": str(self.work_folder(worker)),
            "CACHE_URL": self.cache.url,
            "CACHE_API_KEY_VALUE": CACHE_KEY,
            "HTTP_PORT": str(free_port()),
            "COMMIT_INTERVAL_S": "1",
            "OUT_OF_ORDERNESS_S": str(self.out_of_orderness_s),
            "LOG_FORMAT": "json",
            **{f"KCL__{name}": value for name, value in KCL_PROPERTIES.items()},
            **more,
        }
        env = clean_env(**self.emulators.environment, **{PREFIX + name: value for name, value in settings.items()})
        env.pop("JAVA_HOME", None)
        # Java from the package index, and not from whatever this machine has on its PATH.
        return env | {"PATH": str(Path(sys.executable).parent), MARK: self.name}

    @property
    def state_folder(self) -> Path:
        return self.world.folder / "state"

    def work_folder(self, worker: str) -> Path:
        return self.world.folder / f"work-{worker}"

    def worker_id(self, worker: str = "a") -> str:
        """The id that a worker has or will have. (Whoever asks while it runs would get another one.)"""
        if worker not in self._worker_ids:
            with Worker_Identity(str(self.work_folder(worker))) as worker_id:
                self._worker_ids[worker] = worker_id
        return self._worker_ids[worker]

    def run(self, worker: str = "a", **more: str) -> Kcl_Daemon:
        """`python -m consumer`."""
        env = self.env(worker, **more)
        process = self.world.start(f"{worker}-{len(self.daemons)}", ["-m", "consumer"], env)
        daemon = Kcl_Daemon(process, int(env[f"{PREFIX}HTTP_PORT"]))
        self.daemons.append(daemon)
        return daemon

    def tails(self) -> str:
        return "\n".join(f"--- {daemon.process.name}\n{daemon.tail()}" for daemon in self.daemons[-3:])

    # ---- what must be

    def expected(self) -> Stream_Oracle:
        orderly_ms = 1000 * self.out_of_orderness_s
        return expected_of(self.stream, out_of_orderness_ms=orderly_ms)  # type: ignore[arg-type]

    def wait_caught_up(self, *daemons: Kcl_Daemon, within_s: float = 60) -> None:
        """Wait until what is in the open shards now has been read, by any of these daemons."""
        ends = {}
        for shard in self.stream.open_shards():
            if records := self.stream.records(shard["ShardId"]):
                ends[shard["ShardId"]] = int(records[-1][2])

        def look() -> bool:
            return all(max(daemon.position(shard) for daemon in daemons) >= number for shard, number in ends.items())

        until(
            f"{', '.join(daemon.process.name for daemon in daemons)} to have read everything",
            look,
            within_s,
            0.2,
            show=lambda: f"expected {ends}, found {[daemon.get('/health') for daemon in daemons]}\n{self.tails()}",
        )

    def wait_final(self, oracle: Stream_Oracle, within_s: float = 60) -> None:
        """Wait until the two windows are final, which is soon after the newer one closes."""
        left = [key for key in closed_keys(oracle, self.boundary_ms) if key.startswith("30min")]
        assert len(left) == 2, sorted(oracle.entries())

        def look() -> bool:
            while left and (self.cache.entry(left[-1]) or {}).get("status") == "final":
                left.pop()
            return not left

        left_s = self.closes_s - time.time()
        print(f"{self.name}: {left_s:.1f} s are left until the newer window closes")
        within_s += max(0.0, left_s)
        until(
            "the windows to be final",
            look,
            within_s,
            0.2,
            show=lambda: f"{left} are not: {[daemon.get('/health') for daemon in self.daemons]}\n{self.tails()}",
        )

    def check(self, oracle: Stream_Oracle) -> None:
        """The entries are the oracle's, and no final one ever lacked a record. To be called when the last daemon has
        stopped (its last act is to publish what it has)."""
        found = differences(self.cache, oracle, self.boundary_ms)
        assert not found, "\n".join([*found[:20], self.tails()])
        expected = oracle.entries()
        if self.last_put_s >= self.closes_s:
            return  # too slow a machine: records came when the window was closed, and made a revision of it
        for daemon in self.daemons:
            for entry in daemon.process.events("entry"):
                fields = entry["fields"]
                if fields["status"] == "final" and fields["key"].startswith("30min"):
                    total = expected[fields["key"]]["total_requests"]
                    assert fields["total_requests"] == total, f"final before it was complete ({total}): {entry}"

    def stop_and_check(self, *daemons: Kcl_Daemon) -> None:
        """Wait for the final entries, stop these daemons, compare."""
        oracle = self.expected()
        self.wait_final(oracle)
        for daemon in daemons:
            self.stop(daemon)
        self.check(oracle)

    def stop(self, daemon: Kcl_Daemon, within_s: float = 20) -> None:
        """SIGTERM: exit code 0 in time, and nothing left of it."""
        everybody = descendants(daemon.process.pid)
        daemon.process.signal(signal.SIGTERM)
        code = daemon.process.wait(within_s)
        assert code == 0, (code, daemon.tail())
        gone(everybody, daemon, within_s=2)
        said = daemon.process.err()
        assert TRACEBACK not in said, said[max(0, said.find(TRACEBACK) - 1_000) :][:5_000]

    # ---- the end

    def end(self) -> None:
        """Stop everything; what a daemon has left behind is ended as well, and is a failure."""
        for flow in self._flows:
            flow.cancel()
        self.world.end()
        mark = f"{MARK}={self.name}"
        try:
            until("every process to end", lambda: not marked(mark), 10, show=lambda: marked(mark))
        finally:
            kill(marked(mark))
            with suppress(Exception):
                self.stream.delete()


@contextmanager
def staged(folder: Path, **options: Any) -> Iterator[Scene]:
    """Emulators and a scene (options as its own) for the length of a block; for whoever has no fixtures, such as
    benchmarks. `scene.run()` starts the daemon: its `url`, and its pids by role in `tree()`."""
    with emulators(folder) as started:
        world = World(folder)
        scene = Scene(world, started, **options)
        try:
            yield scene
        finally:
            world.end()
            scene.end()
