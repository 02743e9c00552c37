"""The KCL of a simulated world: leases and who has them, links of shards to workers, reading ahead, checkpoints."""

from sa_stream.embedded.memory_kinesis import Kinesis_Error
from sa_stream.errors import Lease_Lost, Store_Unavailable
from sa_stream.timing import BEGINNING_MS
from tests.simulation.at_rest import Violation
from tests.simulation.parts import QUEUED_MAX, SECOND_MS, STREAM, Answer, Died, Lease, Link, Task, Worker


class Leases:
    """The part of a world that says who reads which shard."""

    def balance(self) -> None:
        """Leases for children whose parents have ended; an owner for every lease without a living one; steals."""
        self.begin_leases()
        alive = [worker for worker in self.workers.values() if worker.alive]
        if not alive:
            return
        parents_of = {shard.shard_id: shard.parents for shard in self.shards()}
        held = {(link.shard_id, link.token): link for link in self.links if not link.dead}
        for shard_id, lease in self.leases.items():
            if lease.checkpoint == "END":
                continue
            if any(p in self.leases and self.leases[p].checkpoint != "END" for p in parents_of.get(shard_id, ())):
                continue
            link = held.get((shard_id, lease.token))
            ready = [worker for worker in alive if worker.jvm_paused_until_ms <= self.now_ms and not worker.leaving]
            if link is not None and self.keeps(link, ready):
                continue
            owner = self.workers.get(lease.owner)
            keeps = owner in ready and not self.faults  # whose process starts again keeps its leases
            if not self.is_taken_up(shard_id, lease):
                continue
            self.give(shard_id, lease, owner if owner and keeps else self.rng.choice(ready or alive))
        for worker in alive:
            if worker.leaving and not any(link.worker is worker and not link.dead for link in self.links):
                self.crash(worker)

    def begin_leases(self) -> None:
        """Who may start: mostly a shard all of whose parents were read to their end. Where only what is listed counts,
        as a parent that is neither listed nor was ever begun is nobody's to wait for."""
        self.begin_foreign_leases()
        if self.silent:
            return  # nobody hears of a shard
        shards = {shard.shard_id: shard for shard in self.shards()}
        awaited = set(shards)
        if self.options["listed_only"]:
            readers = [worker for worker in self.workers.values() if worker.alive]
            listed = self.kcl_lists(readers[0]) if readers else ()
            awaited = ({shard.shard_id for shard in listed} | self.leases.keys()) & shards.keys()
        for shard_id in sorted(awaited - self.leases.keys()):
            shard = shards[shard_id]
            parents = [self.leases.get(parent) for parent in shard.parents if parent in awaited]
            if shard.parents and all(parent is not None and parent.checkpoint == "END" for parent in parents):
                self.leases[shard_id] = Lease(from_ms=BEGINNING_MS if parents else self.start.from_ms)

    def keeps(self, link: Link, ready: list[Worker]) -> bool:
        """Whether a link keeps its lease this time."""
        if not self.faults:
            return True
        if ready and link.worker.jvm_paused_until_ms > self.now_ms + 30 * SECOND_MS:
            return False
        if link.handover_until_ms:
            return self.now_ms < link.handover_until_ms  # then the KCL takes it, finished or not
        if self.rng.random() < self.options["reinitialised"]:
            self.reinitialise(link)
            return True
        if self.rng.random() >= 0.004:
            return True
        if self.rng.random() < 0.5:
            self.ask_to_finish(link)
            return True
        return False

    def ask_to_finish(self, link: Link) -> None:
        """shutdownRequested: in order, but the KCL does not wait for ever."""
        link.handover_until_ms = self.now_ms + self.rng.choice([5, 60, 600]) * SECOND_MS
        self.say("asked", link.worker.name, link.shard_id[-2:])

    def reinitialise(self, link: Link) -> None:
        """The shard comes again, on a new connection to the same worker, while the old one still lives. The newer one
        wins: mostly the engine drops the other at once, or else it finds out at its next checkpoint."""
        self.say("reinitialised", link.worker.name, link.shard_id[-2:])
        task = next((task for task in self.tasks if task.link is link), None)
        if task is not None and self.rng.random() < 0.6:
            self.end_task(task)
            if task.pending is not None:
                self.haunt(task.pending)
        self.give(link.shard_id, self.leases[link.shard_id], link.worker)

    def give(self, shard_id: str, lease: Lease, worker: Worker) -> None:
        lease.token += 1
        lease.owner = worker.name
        checkpoint = lease.checkpoint
        if self.faults and self.options["lease_table"] and self.rng.random() < 0.1:
            checkpoint = lease.before  # read just before the last one was written
        link = Link(worker, shard_id, lease.token, checkpoint, lease.from_ms, last_checkpoint=checkpoint)
        self.links.append(link)
        self.tasks.append(Task(worker, self.consumer_steps(link), link))
        self.say(
            "steal" if lease.token > 1 else "lease",
            shard_id[-2:],
            "to",
            worker.name,
            "token",
            lease.token,
            "at",
            (checkpoint or "-")[-9:],
        )

    def fetch(self, link: Link) -> None:
        """The KCL reads ahead, as long as it believes in its lease."""
        if link.dead or link.fetched_all or link.worker.jvm_paused_until_ms > self.now_ms:
            return
        slow = self.faults and self.options["laggard"] and int(link.shard_id[-2:]) % 2 == self.seed % 2
        if slow and self.rng.random() < self.options["laggard"]:
            return
        if self.faults and self.now_ms < self.throttled_until_ms.get(link.shard_id, 0):
            return
        if len(link.queue) >= (1 if self.options["local"] else QUEUED_MAX):
            return
        if self.leases[link.shard_id].token != link.token and self.rng.random() < (
            0.01 if self.options["deaf"] else 0.1
        ):
            link.fetched_all = True
            return
        if self.silent:  # leases are kept elsewhere
            return
        after = link.last_number or link.checkpoint
        try:
            if after is not None:
                if self.is_foreign(link.shard_id, after):
                    raise Kinesis_Error("InvalidArgumentException", "not of this stream")
                iterator = self.kinesis.shard_iterator(STREAM, link.shard_id, "AFTER_SEQUENCE_NUMBER", after)
            elif link.from_ms > BEGINNING_MS:
                iterator = self.kinesis.shard_iterator(STREAM, link.shard_id, "AT_TIMESTAMP", timestamp_ms=link.from_ms)
            else:
                iterator = self.kinesis.shard_iterator(STREAM, link.shard_id, "TRIM_HORIZON")
            page = self.kinesis.get_records(iterator, limit=self.rng.choice([1, 3, 10, 50]) if self.faults else 100)
        except Kinesis_Error:  # the retention has taken the whole shard; or it is another stream's
            link.queue.append(Answer([], [], [], 0, end=True))
            link.fetched_all = True
            return
        if page.sequence_numbers:
            link.last_number = page.sequence_numbers[-1]
        elif page.next_iterator is None:
            link.queue.append(Answer([], [], [], 0, end=True))
            link.fetched_all = True
            return
        answer = Answer(page.payloads, page.arrivals_ms, page.sequence_numbers, page.millis_behind_latest)
        if self.options["local"]:  # who asks knows when it did
            asked = link.worker.clock.moment(self.now_ms)
            answer.not_fetched_before_ms = self.source_ms(link.worker, asked) or 0
            self.hear(link.worker)
        link.queue.append(answer)

    def checkpoint(self, link: Link, number: str) -> None:
        if number == link.last_checkpoint:
            return  # the KCL answers by itself: it knows
        lease = self.leases[link.shard_id]
        x = self.rng.random() if self.faults else 1.0
        if lease.token != link.token:
            raise Lease_Lost(f"{link.shard_id} belongs to {lease.owner}")
        if number != "END" and int(number) > link.delivered:
            raise Violation("owner", f"{link.shard_id}: a checkpoint at {number}, but {link.delivered} was delivered")
        if x < 0.01:
            raise Died
        lease.before, lease.checkpoint = lease.checkpoint, number
        self.say("checkpoint", link.worker.name, link.shard_id[-2:], number[-9:])
        if x < 0.03:
            raise Died
        if x < 0.05:
            raise Store_Unavailable("took effect, and is reported as failed")
        link.last_checkpoint = number
        link.answered_twice = self.options["lease_table"] and x < 0.06
