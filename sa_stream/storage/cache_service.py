"""The MGraph-AI cache service, built for one process: a storage mode comes in, its web application goes out.

Nothing is taken from the environment (unset, it would guess `s3` from AWS credentials), and no `.env` file is read.
"""

import contextlib
import itertools
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from osbot_utils.utils.Json import bytes_to_json

from sa_stream.errors import Config_Error
from sa_stream.folders import folder_of
from sa_stream.log import OBJECT_UNREADABLE, Log

log = Log("cache")


@contextlib.contextmanager
def _quiet_import() -> Iterator[None]:
    """Hides warnings of how the package uses FastAPI, and undoes that importing osbot_aws loads a `.env` file."""
    before = set(os.environ)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    for name in set(os.environ) - before:
        del os.environ[name]


with _quiet_import():
    from memory_fs.storage_fs.providers.Storage_FS__Memory import Storage_FS__Memory  # type: ignore[import-untyped]
    from memory_fs.storage_fs.Storage_FS import Storage_FS  # type: ignore[import-untyped]
    from mgraph_ai_service_cache.fast_api.Cache_Service__Fast_API import Cache_Service__Fast_API
    from mgraph_ai_service_cache.service.cache.Cache__Config import Cache__Config
    from mgraph_ai_service_cache.service.cache.Cache__Service import Cache__Service
    from mgraph_ai_service_cache_client.schemas.cache.enums.Enum__Cache__Storage_Mode import Enum__Cache__Storage_Mode
    from osbot_fast_api.api.Fast_API import Fast_API
    from osbot_fast_api.api.routes.Routes__Set_Cookie import Routes__Set_Cookie
    from osbot_fast_api_serverless.fast_api.Serverless__Fast_API__Config import (  # type: ignore[import-untyped]
        Serverless__Fast_API__Config,
    )

MODES = ("memory", "local_disk")


def cache_service_app(mode: str, path: str = "", api_key: bool = False) -> Any:
    """The service, ready to serve: `.app()` is its ASGI application.

    api_key  whether requests need the key of FAST_API__AUTH__API_KEY__NAME and _VALUE
    Raises Config_Error for an unknown mode, or a directory that cannot be made.
    """
    if mode not in MODES:
        raise Config_Error(f"SGRAPH_SEND__SA_CACHE_MODE is {mode!r}; expected one of {', '.join(MODES)}")
    storage = Storage_FS__Memory() if mode == "memory" else Storage_FS__Whole_Files(root=_directory(path))
    config = Cache__Config__Given(storage_mode=Enum__Cache__Storage_Mode(mode), storage=storage, local_disk_path=path)
    return Cache_Service__In_Process(
        config=Serverless__Fast_API__Config(enable_api_key=api_key),
        cache_service=Cache__Service(cache_config=config),
    ).setup()


def _directory(path: str) -> str:
    if not path:
        raise Config_Error("SGRAPH_SEND__SA_CACHE_PATH is empty; the cache mode local_disk needs a directory")
    try:
        folder = folder_of(path)
        os.makedirs(folder, exist_ok=True)
    except ValueError as error:
        raise Config_Error(f"SGRAPH_SEND__SA_CACHE_PATH is {path!r}: {error}") from None
    except OSError as error:
        raise Config_Error(f"SGRAPH_SEND__SA_CACHE_PATH is {path!r}, which cannot be made: {error.strerror}") from error
    return os.path.abspath(folder)


class Cache_Service__In_Process(Cache_Service__Fast_API):
    """The service without its looks for a `.env` file, which would change the environment of the whole process."""

    def setup(self) -> Any:
        return Fast_API.setup(self)

    def add_routes(self, class_routes: Any) -> None:
        if class_routes is not Routes__Set_Cookie:  # a page for browsers, and another such look
            super().add_routes(class_routes)


class Cache__Config__Given(Cache__Config):
    """A configuration with the storage that it is given."""

    storage: Storage_FS

    def create_storage_backend(self) -> Storage_FS:
        return self.storage


class Storage_FS__Whole_Files(Storage_FS):
    """Files below a directory, each replaced as a whole, so that `kill -9` leaves the old or the new one. Nothing syncs
    to the disk: what a power cut has torn is not there, so that whoever publishes it writes it again. A folder is there
    as long as it has something in it, as in memory and in a bucket: what lists folders counts entries.

    The package's own local storage writes in place (a killed process leaves half a file, which then fails every read),
    rewrites the directory's name, and cannot list.
    """

    root: str

    def file__bytes(self, path: str) -> bytes | None:
        try:
            data = self._path(path).read_bytes()
        except FileNotFoundError:
            return None
        if str(path).endswith(OF_JSON) and not _is_json(data):
            log.tell(OBJECT_UNREADABLE, f"{path} in the cache is torn, and counts as lost", key=str(path))
            return None
        return data

    def file__delete(self, path: str) -> bool:
        file = self._path(path)
        try:
            file.unlink()
        except FileNotFoundError:
            return False
        with contextlib.suppress(OSError):  # the first that has something else in it, or gets it at this moment
            for folder in itertools.takewhile(lambda each: str(each) != self.root, file.parents):
                folder.rmdir()
        return True

    def file__exists(self, path: str) -> bool:
        return self._path(path).is_file() and self.file__bytes(path) is not None

    def file__json(self, path: str) -> Any:
        data = self.file__bytes(path)
        return bytes_to_json(data) if data else None

    def file__save(self, path: str, data: bytes) -> bool:
        target = self._path(path)
        unfinished = target.with_name(f"{target.name}.{os.getpid()}-{next(_numbers)}{UNFINISHED}")
        try:
            _write(unfinished, data)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)  # there only if writing failed: a full disk keeps no half files
        return True

    def file__str(self, path: str) -> str | None:
        data = self.file__bytes(path)
        return None if data is None else data.decode()

    def files__paths(self) -> list[str]:
        return self.folder__files__all("")

    def folder__files__all(self, parent_folder: str) -> list[str]:
        walked = os.walk(self._path(parent_folder), onerror=_unless_gone)
        found = (os.path.join(folder, name) for folder, _, names in walked for name in names)
        return sorted(os.path.relpath(path, self.root) for path in found if not path.endswith(UNFINISHED))

    def folder__files(self, folder_path: str, return_full_path: bool = False) -> list[str]:
        return self._below(folder_path, return_full_path, folders=False)

    def folder__folders(self, parent_folder: str, return_full_path: bool = False) -> list[str]:
        return self._below(parent_folder, return_full_path, folders=True)

    def _below(self, path: str, full: bool, folders: bool) -> list[str]:
        try:
            items = list(self._path(path).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            items = []
        found = (item for item in items if item.is_dir() == folders and item.suffix != UNFINISHED)
        return sorted(str(item.relative_to(self.root)) if full else item.name for item in found)

    def _path(self, path: str) -> Path:
        """Below the root, always: paths come from requests."""
        full = os.path.normpath(os.path.join(self.root, str(path).lstrip("/")))
        if full != self.root and not full.startswith(self.root + os.sep):
            raise ValueError(f"{path!r} is outside of the cache's directory")
        return Path(full)


def _unless_gone(error: OSError) -> None:
    """A folder may go while its neighbours are listed. One that cannot be read has files all the same: whatever they
    belong to must not look as if it were alone."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _is_json(data: bytes) -> bool:
    try:
        msgspec.json.decode(data, type=msgspec.Raw)  # looks through all of it, and makes nothing of it
    except msgspec.DecodeError:
        return False
    return True


def _write(path: Path, data: bytes) -> None:
    """Its folder is made, and again if it goes before the file is in it."""
    for attempt in range(WRITES_MAX):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            return
        except (FileNotFoundError, FileExistsError):  # mkdir says so of a folder that goes meanwhile
            if attempt == WRITES_MAX - 1:
                raise


UNFINISHED = ".unfinished"
OF_JSON = (".json", ".config", ".metadata")
WRITES_MAX = 8  # of one file, while deletions race with it for its folder
_numbers = itertools.count()
