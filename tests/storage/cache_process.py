"""The cache service as a child process, on a free port of 127.0.0.1."""

import os
import subprocess
import sys

API_KEY_NAME, API_KEY_VALUE = "x-api-key", "a-key-for/tests+only="


class Cache_Server:
    """The cache service as a child process."""

    def __init__(self, *arguments: str) -> None:
        environment = {
            **os.environ,
            "FAST_API__AUTH__API_KEY__NAME": API_KEY_NAME,
            "FAST_API__AUTH__API_KEY__VALUE": API_KEY_VALUE,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sa_stream.embedded.cache_server", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://127.0.0.1:"), self.url

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
