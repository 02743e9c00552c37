"""Stands for the KCL's daemon at full speed: `kcl_feeder.py SOCKET MESSAGES SHARD...` connects a child for each shard,
hands over its pipes, deals the messages of a file out to them, in turn, and answers checkpoints at once.

Runs on another core than what is measured, if there is one.
"""

import json
import os
import selectors
import socket
import sys
from collections import deque


class Connection:
    def __init__(self, path: str, shard_id: str) -> None:
        theirs_in, self.to_engine = os.pipe()
        self.from_engine, theirs_out = os.pipe()
        self.child = socket.socket(socket.AF_UNIX)
        self.child.connect(path)
        socket.send_fds(self.child, [b"F"], [theirs_in, theirs_out])
        os.close(theirs_in)
        os.close(theirs_out)
        os.set_blocking(self.to_engine, False)
        start = {"action": "initialize", "shardId": shard_id, "sequenceNumber": "TRIM_HORIZON", "subSequenceNumber": 0}
        self.messages: deque[bytes] = deque([json.dumps(start).encode() + b"\n"])
        self.saying: deque[memoryview] = deque()
        self.heard = b""


def main() -> None:
    others = set(range(os.cpu_count() or 1)) - os.sched_getaffinity(0)
    if others:
        os.sched_setaffinity(0, others)
    connections = [Connection(sys.argv[1], shard_id) for shard_id in sys.argv[3:]]
    with open(sys.argv[2], "rb") as file:
        for number, line in enumerate(file):
            connections[number % len(connections)].messages.append(line)
    for connection in connections:
        connection.messages += [b'{"action":"shutdownRequested"}\n', b'{"action":"leaseLost"}\n']
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection.from_engine, selectors.EVENT_READ, (hear, connection))
            begin(selector, connection, connection.messages.popleft())
        while selector.get_map():
            for key, _ in selector.select():
                act, connection = key.data
                act(selector, connection)


def say(selector: selectors.BaseSelector, connection: Connection) -> None:
    try:
        while connection.saying:
            left = connection.saying[0]
            count = os.write(connection.to_engine, left)
            if count < len(left):
                connection.saying[0] = left[count:]
            else:
                connection.saying.popleft()
    except BlockingIOError:
        return
    selector.unregister(connection.to_engine)


def begin(selector: selectors.BaseSelector, connection: Connection, message: bytes) -> None:
    if not connection.saying:
        selector.register(connection.to_engine, selectors.EVENT_WRITE, (say, connection))
    connection.saying.append(memoryview(message))


def hear(selector: selectors.BaseSelector, connection: Connection) -> None:
    data = os.read(connection.from_engine, 65_536)
    if not data:
        sys.exit("the engine hung up")
    *lines, connection.heard = (connection.heard + data).split(b"\n")
    for line in lines:
        if json.loads(line)["action"] != "status":
            begin(selector, connection, line + b"\n")  # a checkpoint: done
        elif connection.messages:
            begin(selector, connection, connection.messages.popleft())
        else:
            selector.unregister(connection.from_engine)
            os.close(connection.to_engine)


main()
