"""Reads the shards whose leases the KCL gives to this worker: starts and supervises the KCL's process, takes over the
pipes of its children, and wires them to the engine, the reconciler and health.
"""

import threading
import time
from collections.abc import Callable, Mapping

from consumer.kcl.handover import Handover
from consumer.kcl.identity import Worker_Identity
from consumer.kcl.java import class_path, find_java
from consumer.kcl.jvm import Multi_Lang_Daemon, Supervisor
from consumer.kcl.links import Shard_Links
from consumer.kcl.properties import fetch_ahead, kcl_properties, write_properties
from consumer.kcl.table_watch import Table_Watch
from consumer.kcl.tables import Kcl_Tables, Owner
from consumer.kcl.unread import Unread_Shards
from consumer.worker.application import Application
from consumer.worker.course import LAST_PASS_S, SHUTDOWN_S, Course
from consumer.worker.engine import Engine
from consumer.worker.field_scout import LOOK_S, Field_Scout
from consumer.worker.publisher import shared_publish_s
from sa_stream.commits.decisions import claim_runner, store_id
from sa_stream.errors import Store_Unavailable
from sa_stream.health.counts import NO_LABELS
from sa_stream.health.metrics import JVM_RESTARTS
from sa_stream.health.notebook import KCL_RUNNING
from sa_stream.log import COMMITTED, DISCOVERY_WAITS, UNFINISHED, WORKER, Log
from sa_stream.rollups.passes import Pass_Result
from sa_stream.timing import BEGINNING_MS, moment, right_now

log = Log("runner")

UNREAD_MS = 240_000  # without progress by any worker: twice the take-over from the KCL's leader
TICK_S = 0.25


class Kcl_Runner:
    """`run` reads until `stop` is called or something fails that no later try can mend (it raises that).

    beat  called by the main loop as a sign of life
    Raises Source_Error, Config_Error, Field_List_Error, In_Use, Unknown_Version.
    """

    def __init__(
        self, application: Application, env: Mapping[str, str], beat: Callable[[], None] = lambda: None
    ) -> None:
        config, self._health = application.config, application.health
        self.engine = Engine(self._health, application.now, memory_limit_mb=config.memory_limit_mb, jvm=True)
        self._application = application
        self._config = config
        self._env = env
        self._beat = beat
        self._java, self._class_path = find_java(env), class_path()
        self._properties = kcl_properties(config, env)  # wrong ones are told before anything is started
        self._links = Shard_Links(self.engine, application, fetch_ahead(self._properties))
        self._fields_decided = threading.Event()
        self._unread = Unread_Shards(UNREAD_MS + 2 * config.commit_interval_s * 1000)
        self._course = Course(application)
        self._next_tick_s = 0.0

    def stop(self) -> None:
        """Commit everything, release it, publish once more, and return from `run`. From a signal handler."""
        self._course.stop.set()

    def run(self) -> None:
        application, course = self._application, self._course
        info = application.describe(course.stop)
        if info is None:
            return
        application.state.check()
        application.open(info, shared_publish_s(self._config.commit_interval_s), on_pass=self._on_pass)
        self.engine.memory.check(info.open_shards)
        claim_runner(application.state, "kcl")
        with Worker_Identity(self._config.work_dir) as worker_id, Handover(self.engine, self._links.connect) as socket:
            log.tell(WORKER, f"this worker is {worker_id}", worker_id=worker_id, java=str(self._java))
            owner = Owner(application.stream, store_id(application.state), application.state.url)
            tables = Kcl_Tables(self._properties, owner, worker_id)
            self._tables = Table_Watch(tables, self._health.store("DynamoDB"))
            self._count_restarts(0)
            self._supervisor = Supervisor(
                self._jvm_maker(worker_id, socket), self._tables.prepared, lambda: self._count_restarts(1)
            )
            self._tables.start()
            application.start_publishing()
            threading.Thread(target=self._decide_fields, name="fields", daemon=True).start()
            with course.under_way(self._shut_down):
                while course.goes_on:
                    self.engine.poll()
                    self._tick()
        course.raise_failure()

    def _jvm_maker(self, worker_id: str, socket: str) -> Callable[[], Multi_Lang_Daemon]:
        from_ms = self._application.start.from_ms
        path = write_properties(
            self._config.work_dir, self._properties, worker_id, None if from_ms == BEGINNING_MS else from_ms
        )
        return lambda: Multi_Lang_Daemon(self._java, self._class_path, path, socket, self._env, self._config.log_level)

    def _count_restarts(self, number: int) -> None:
        self._health.counts.add(JVM_RESTARTS, {NO_LABELS: number})

    def _decide_fields(self) -> None:
        """Before the KCL starts, the first records tell how records are to be read."""
        scout = Field_Scout(self._application)
        try:
            while not self._course.stop.is_set():
                try:
                    if scout.decided():
                        self._fields_decided.set()
                        return
                except Store_Unavailable as error:  # health has it from the call itself
                    log.tell(DISCOVERY_WAITS, f"the first records wait to be read: {error}")
                self._course.stop.wait(LOOK_S)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run ends with it
            self._course.failure = error

    # ------------------------------------------------------------------ now and then

    def _tick(self) -> None:
        now = right_now()
        now_s = now.moment.ms / 1000
        if now_s < self._next_tick_s:
            return
        self._next_tick_s = now_s + TICK_S
        self._beat()
        if self._fields_decided.is_set():
            tables_trouble = self._tables.trouble(self._supervisor.state == KCL_RUNNING)
            trouble = tables_trouble or self._links.trouble(now_s)
            if trouble is not None:
                self._supervisor.restart(trouble)
                self._links.started_anew()
            self._supervisor.tick(int(now_s * 1000))
            self._health.kcl(self._supervisor.state, len(self._links.held), now.moment)
        self._course.look(now, self._links.failure, self._tables.failure)

    def _on_pass(self, result: Pass_Result) -> None:
        """In the publisher's thread."""
        if result.stream is not None:
            self._health.unread(self._unread.observe(result.stream, moment()))

    # ------------------------------------------------------------------ the end

    def _shut_down(self) -> None:
        """Let the KCL ask every shard for its last commit and release its lease, within the time of a container."""
        deadline_s = time.monotonic() + SHUTDOWN_S
        links, supervisor = self._links, self._supervisor
        self._tables.stop()
        links.uncommitted.clear()
        links.stopping = True
        if self._course.failure is None:
            supervisor.stop()
            while supervisor.alive and time.monotonic() < deadline_s - LAST_PASS_S:
                if links.refused and not links.held:
                    break  # everything is committed and released: it only goes round in circles
                self._beat()
                self._health.kcl(supervisor.state, len(links.held), moment())
                self.engine.poll()
                supervisor.tick(int(time.monotonic() * 1000))
        left = sorted({*links.uncommitted, *links.held})
        supervisor.kill()
        links.hang_up()
        self.engine.shutdown()
        if self._course.failure is None and not left:
            log.tell(COMMITTED, "everything that was read is committed, and every shard is released")
        elif self._course.failure is None:
            names = ", ".join(left)
            log.tell(UNFINISHED, f"stopped without the last commit of {names}: it is read again", shards=left)
        finished = self._course.failure is None and not left
        self._application.stop_publishing(last_pass=finished, timeout_s=deadline_s - time.monotonic())
