"""How calls happen in a simulated world: now or later, in vain, with an answer that is lost, or in a dead worker."""

from typing import Any

from sa_stream.commits.operations import Call
from sa_stream.errors import Config_Error, Corrupt_State, Lease_Lost, Source_Error, Store_Unavailable, Superseded
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.timing import MINUTE_MS
from tests.simulation.at_rest import Violation
from tests.simulation.identity import Refused_End
from tests.simulation.parts import NOT_YET, SECOND_MS, Died, Engine_Failed, Task
from tests.simulation.workers import lineage_of


class Calls:
    """The part of a world that makes the calls that tasks wait for."""

    def haunt(self, call: Call) -> None:
        """Somebody who gave up waiting for a put or a delete does not stop it."""
        if call.name.split(".")[-1] in ("put", "delete", "create"):
            later_ms = self.rng.choice([0, 0, 60, 600]) * SECOND_MS if self.options["ghosts"] else 0
            if self.options["long_ghosts"] and self.rng.random() < 0.5:
                later_ms = self.rng.randint(1, 9 * 60) * MINUTE_MS
            self.ghosts.append((self.now_ms + later_ms, call))

    def end_task(self, task: Task) -> None:
        if task in self.tasks:
            self.tasks.remove(task)
        if task.link is not None:
            task.link.dead = True

    def _cache_fault(self, where: str) -> None:
        if self.faults and (self.now_ms < self.no_cache_until_ms or self.rng.random() < 0.002):
            raise Store_Unavailable(where)

    @property
    def torn(self) -> bool:
        """Whether somebody else may write an entry between the last look at it and the write: without compare-and-swap
        an older version may then replace a newer one, until somebody looks again."""
        return bool(self.options["torn"] or self.options["stalled"])

    def _tear(self, namespace: str) -> None:
        """A publisher is in the middle of a write: for others that is a moment, or some hours."""
        if not (self.faults and self.torn and namespace == NS_SA_AGGREGATE and self.rng.random() < 0.2):
            return
        actor, self.actor = self.actor, None
        others = [task for task in self.tasks if task.link is None and task is not actor and task not in self.tearing]
        if others and actor is not None:
            alone = not self.tearing
            self.tearing.append(actor)
            if alone and self.options["stalled"] and self.rng.random() < 0.15:
                self._stall(actor)
            else:
                self.say("torn")
                self.run_task(self.rng.choice(others), 60)
            self.tearing.remove(actor)
        self.actor = actor

    def _stall(self, actor: Task) -> None:
        minutes = self.rng.choice([5, 30, 90, 240])
        until_ms = self.now_ms + (self.options["stall_minutes"] or minutes) * MINUTE_MS
        self.say("stalls", actor.worker.name, until_ms - self.now_ms)
        while self.now_ms < until_ms:
            self.step(self.rng.randint(20, 240) * SECOND_MS, 6)
            if self.rng.random() < 0.2:
                self.produce()
        self.say("goes on", actor.worker.name)
        if self.options["stalled"] == 2 and self.rng.random() < 0.5:
            self.doomed.append(actor)

    def perform(self, task: Task) -> None:
        """Make the call that a task waits for, or let it fail."""
        call = task.pending
        assert call is not None
        rng, fails = self.rng, self.options["put_fails"] if self.faults else 0.0
        if (
            self.faults
            and self.now_ms < self.no_state_until_ms
            and getattr(call.function, "__self__", None) is self.store
        ):
            fails = 1.0
        x = rng.random()
        if x < fails / 2:
            return self.failed(task)
        self.actor = task
        try:
            result = call()
        except Store_Unavailable:
            return self.failed(task)
        except Config_Error:  # the stream is another one
            return self.stop_for_good(task.worker)
        except Lease_Lost as lost:
            return self.advance(task, error=lost)
        except Source_Error as refused:
            return self.advance(task, error=refused)
        finally:
            self.actor = None
        self.put_again_later(call)
        self.dies_of(task, call)
        if task in self.doomed:  # its write was its last
            self.doomed.remove(task)
            if task.worker.alive:
                self.crash(task.worker)
        if task not in self.tasks:
            return None
        if x < fails:
            return self.failed(task)
        if (results := task.got(result)) is not NOT_YET:
            self.advance(task, results)
        return None

    def failed(self, task: Task) -> None:
        """Consumers hold the line; a reconciler's pass ends, and the next one starts afresh."""
        if task.link is None:
            if task.pending is not None and self.rng.random() < 0.2:
                self.haunt(task.pending)
            task.pending = None
            return self.advance(task, error=Store_Unavailable("simulated"))
        if self.options["ghosts"] and task.pending is not None and self.rng.random() < 0.1:
            self.haunt(task.pending)
        task.ready_ms = self.now_ms + self.rng.randint(0, 20) * SECOND_MS

    def advance(self, task: Task, result: Any = None, error: Exception | None = None) -> None:
        task.pending = None
        link = task.link
        before = lineage_of(task.consumer) if task.consumer is not None else None
        try:
            call = task.steps.throw(error) if error is not None else task.steps.send(result)
        except Engine_Failed as failure:
            assert link is not None
            assert link.consumer is not None
            folding = link.consumer.folding
            careful = link.consumer.careful
            link.worker.poison.failed(link.shard_id, folding, f"Engine_Failed: {failure}", careful)
            if folding is not None and careful:
                link.worker.failures[link.shard_id, int(folding[0])] += 1
                if not str(failure).startswith("poison"):
                    link.worker.unlucky.add((link.shard_id, int(folding[0])))
            self.say("engine failed", link.worker.name, link.shard_id[-2:], failure, folding)
            self.end_task(task)
        except Superseded as gone:
            assert link is not None
            self.say("superseded", link.worker.name, link.shard_id[-2:])
            if self.leases[link.shard_id].token == link.token and not any(key in str(gone) for key in self.broken):
                raise Violation("owner", f"the owner of {link.shard_id} misses a partial: {gone}") from gone
            self.end_task(task)
        except Corrupt_State as broken:  # the partition stops, and is given out again
            if link is None or not self.broken:
                raise
            self.say("fails", task.worker.name, link.shard_id[-2:], str(broken)[:80])
            self.end_task(task)
        except (StopIteration, Lease_Lost, Died, Refused_End) as end:
            self.say("ends", task.worker.name, task.link.shard_id[-2:] if task.link else "", type(end).__name__)
            self.end_task(task)
        else:
            task.wait_for(call, self.rng)
            if link is not None and before is not None:
                self._follow_lineage(link, before)
            if call is not None and self.faults and self.rng.random() < self.options["slow"]:
                task.ready_ms = self.now_ms + self.rng.choice([10, 60, 400]) * SECOND_MS

    def run_task(self, task: Task, calls_max: int) -> None:
        for _ in range(self.rng.randint(1, calls_max)):
            if task.pending is None:
                self.advance(task)
                if task.pending is None:
                    return  # it has nothing to do
            elif task.ready_ms <= self.now_ms:
                try:
                    self.perform(task)
                except Died:
                    self.say("dies", task.worker.name)
                    self.end_task(task)
                    return
            else:
                return
            if task not in self.tasks:
                return
