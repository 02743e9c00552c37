"""The API under the seeds' names: `/api/sa/…` in any application, a host's or ours. Thin: what is answered is in
services, how in `answering.py`, and which addresses there are in `endpoints.py`."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response, Security
from fastapi.security import APIKeyHeader
from osbot_fast_api.api.routes.Fast_API__Routes import Fast_API__Routes
from starlette.routing import compile_path

from sa_stream.api.answering import Answer, Desk, Reply, Words
from sa_stream.api.endpoints import ENDPOINTS, PREFIX, Endpoint, openapi_of
from sa_stream.api.Key_Guard import HEADER
from sa_stream.api.Routes__Dashboard import dashboard_routes
from sa_stream.errors import Not_There
from sa_stream.rollups.periods import STATUS_KEY
from sa_stream.services.Service__SA__Cache import Service__SA__Cache
from sa_stream.services.Service__SA__Entries import Service__SA__Entries
from sa_stream.services.Service__SA__Report import Service__SA__Report
from sa_stream.services.Service__SA__Steps import AGGREGATE, ARCHIVE, CONSOLIDATE, INGEST, Service__SA__Steps
from sa_stream.services.Service__SA__Traffic import Service__SA__Traffic
from sa_stream.timing import moment, wall_clock_ms

TAG__ROUTES_SA = PREFIX
BUDGET_S = 6  # after which a host, which freezes when it has answered, begins no further unit of a step
ROOMS = ("traffic", "cloudfront", "cache")
ANY = list[str]()  # none named is every one; of a method beside a list FastAPI would say so, in its form, to everybody

# fmt: off


class Routes__SA(Fast_API__Routes):
    """In a host: `self.add_routes(Routes__SA, sa_pipeline=…)`, behind its own authentication."""

    tag               : str = TAG__ROUTES_SA
    sa_pipeline       : Any                                  # an SA__Pipeline__Setup; its cache client is what is read
    send_cache_client : Any                                  # ... or this one, where there may be no pipeline
    guard             : Any                                  # a Key_Guard, where nobody else asks for a key
    jobs              : Any                                  # a Service__SA__Jobs, where the program goes on
    now_ms            : Any                                  # what time it is
    privacy           : Any                                  # a Privacy_Facts, where the settings are the consumer's
    shared_s          : float = 0.0                          # for how long who asks the same gets the same answer

    # fmt: on

    def setup(self) -> "Routes__SA":
        self.setup_routes()
        # A plain string: what is put behind their own kind of text loses the slash at its end, as of `/dashboard/`.
        self.app.include_router(self.router, prefix=str(self.prefix), tags=[self.tag])
        return self

    def setup_routes(self) -> "Routes__SA":
        self.now_ms = self.now_ms or wall_clock_ms
        client = self.send_cache_client or getattr(self.sa_pipeline, "send_cache_client", None)
        self._cache = Service__SA__Cache(send_cache_client=client)
        self._traffic = Service__SA__Traffic(cache=self._cache)
        self._entries = Service__SA__Entries(cache=self._cache)
        self._report = Service__SA__Report(cache=self._cache)
        self._steps = self.jobs.steps if self.jobs else Service__SA__Steps(sa_pipeline=self.sa_pipeline)
        self._desk = Desk(self.guard, shared_s=self.shared_s)
        keyed = [Security(APIKeyHeader(name=HEADER, auto_error=False))] if self.guard else []
        for endpoint in ENDPOINTS:
            self.router.add_api_route(
                endpoint.path,
                self._handler(endpoint),
                methods=[endpoint.method],
                name=f"{endpoint.name} {endpoint.path}",
                operation_id=f"{endpoint.method} {endpoint.path}",
                summary=endpoint.path.removeprefix("/"),
                description=endpoint.meaning,
                response_model=None,
                openapi_extra=openapi_of(endpoint),
                dependencies=keyed,
            )
        if self.guard is None:  # a host's; ours has the dashboard at its root
            self.router.include_router(dashboard_routes("../", None, prefix="/dashboard"))
        # In a host, others may have addresses beside these; in our application all that begins so is ours.
        for folder in [f"/{room}" for room in ROOMS] if self.guard is None else [""]:
            self.router.add_route(
                f"{folder}/{{rest:path}}", self._nowhere(folder), methods=ANY, include_in_schema=False
            )
        return self

    def _handler(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        function = getattr(self, endpoint.name)

        async def handler(request: Request) -> Response:
            return await self._desk.answer(request, endpoint, function)

        return handler

    def _nowhere(self, folder: str) -> Callable[[Request], Awaitable[Response]]:
        async def nowhere(request: Request) -> Response:
            path = f"{folder}/{request.path_params['rest']}"
            methods = [each.method for each in ENDPOINTS if compile_path(each.path)[0].match(path)]
            return self._desk.refuse(request, sorted(set(methods)))

        return nowhere

    # ------------------------------------------------------------------ what each address answers

    def traffic__summary(self, words: Words) -> Answer:
        return self._traffic.summary(words, self.now_ms())

    def traffic__timeseries(self, words: Words) -> Answer:
        return self._traffic.timeseries(words, self.now_ms())

    def traffic__top_paths(self, words: Words) -> Answer:
        return self._traffic.top_paths(words, self.now_ms())

    def traffic__edge_locations(self, words: Words) -> Answer:
        return self._traffic.edge_locations(words, self.now_ms())

    def traffic__status_codes(self, words: Words) -> Answer:
        return self._traffic.status_codes(words, self.now_ms())

    def traffic__breakdown(self, words: Words) -> Answer:
        return self._traffic.breakdown(words["dimension"], words, self.now_ms())

    def traffic__live(self, words: Words) -> Answer:
        return self._traffic.live(words, self.now_ms())

    def traffic__report(self, words: Words) -> Answer:
        answer = self._report.report(words, self.now_ms())
        return Reply(answer, media_type="text/markdown") if isinstance(answer, str) else answer

    def cloudfront__status(self, words: Words) -> Answer:
        stream = self._cache.get(STATUS_KEY)
        return {
            "stream": stream,
            "last_runs": self._steps.last_runs(),
            "unprocessed_files": None if stream is not None else self._steps.unprocessed_files(self.now_ms()),
            "jobs": self.jobs.listed() if self.jobs else [],
            "privacy": self.privacy.shown() if self.privacy else None,
        }

    def cloudfront__ingest(self, words: Words) -> Answer:
        return self._run(INGEST, words)

    def cloudfront__consolidate(self, words: Words) -> Answer:
        return self._run(CONSOLIDATE, words)

    def cloudfront__aggregate(self, words: Words) -> Answer:
        return self._run(AGGREGATE, words)

    def cloudfront__archive(self, words: Words) -> Answer:
        return self._run(ARCHIVE, words)

    def cloudfront__jobs(self, words: Words) -> Answer:
        return self._job(words["id"])

    def cache__browse(self, words: Words) -> Answer:
        return self._entries.browse(words.get("path", ""), words)

    def cache__entry(self, words: Words) -> Answer:
        return self._entries.entry(words["key"])

    def cache__stats(self, words: Words) -> Answer:
        return self._entries.stats()

    def _run(self, step: str, words: Words) -> Answer:
        if self.jobs:
            return Reply(self.jobs.start(step, words, self.now_ms()), status_code=202)
        now_ms, until = self.now_ms(), moment() + BUDGET_S * 1000
        return self._steps.run(self._steps.asked(step, words, now_ms), now_ms, lambda done: moment() - until < 0)

    def _job(self, job_id: str) -> Answer:
        if not self.jobs:
            raise Not_There("There are no jobs here: a POST answers when it has done what its time allowed", "id")
        answer: Answer = self.jobs.job(job_id)
        return answer
