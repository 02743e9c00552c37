"""The process that serves the demo's stream (`source.py`), as its parent sees it: words go in, events come out."""

import contextlib
import json
import queue
import subprocess
import sys
import threading
from typing import Any

from sa_stream.errors import SA_Stream_Error


class Source_Process:
    """The demo's stream, in a process of its own that ends with us."""

    def __init__(self, stream: str, records: int, seed: int, hours: float) -> None:
        command = [sys.executable, "-m", "consumer.commands.demo.source", stream, str(records), str(seed), str(hours)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._said: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(json.loads(line))
        self._said.put(None)

    def hear(self, event: str, timeout_s: float = 120.0) -> dict[str, Any]:
        """The next event of this name. Raises SA_Stream_Error if the process has ended or says nothing."""
        while True:
            try:
                said = self._said.get(timeout=timeout_s)
            except queue.Empty:
                raise SA_Stream_Error(f"The embedded Kinesis did not answer within {timeout_s:g} s") from None
            if said is None:
                raise SA_Stream_Error("The process of the embedded Kinesis has ended; its message stands above")
            if said["event"] == event:
                return said

    def tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def stop(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
