"""Which shards the local runner's finder hands out, and how often."""

import queue
import threading
from typing import Any

from consumer.local.shard_finder import Shard_Finder
from consumer.worker.application import Application
from sa_stream.config import SA__Config
from sa_stream.embedded.memory_kinesis import Memory_Kinesis
from sa_stream.health.notebook import Health
from sa_stream.storage.cache_clients import cache_client__in_process
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import moment
from tests.consumer.local_run import STREAM


def test_a_shard_that_fails_as_soon_as_it_is_handed_out_is_handed_out_again(kinesis: Memory_Kinesis) -> None:
    kinesis.create_stream(STREAM, 2)
    config = SA__Config.from_env({"SGRAPH_SEND__SA_STREAM": STREAM, "SGRAPH_SEND__SA_RUNNER": "local"})
    cache = cache_client__in_process("memory", "")
    application = Application(config, Health(moment()), state=State_Store("memory://"), cache=cache)
    info = application.describe(threading.Event())
    assert info is not None
    application.open(info)
    finder = Shard_Finder(application, lambda partition: None, lambda: ())

    class Failing(queue.SimpleQueue[Any]):
        """The engine opens a shard, and fails, before the finder's thread goes on."""

        def put(self, item: Any, *args: Any, **options: Any) -> None:
            super().put(item, *args, **options)
            if not failed:
                failed.append(item[0].shard_id)
                finder.again(failed[0])

    failed: list[str] = []
    finder.found = Failing()
    finder._hand_out()
    finder._hand_out()
    found = [finder.found.get_nowait()[0].shard_id for _ in range(finder.found.qsize())]
    assert sorted(found) == sorted([*failed, *(shard.shard_id for shard in application.list_shards())])
