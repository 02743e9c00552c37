"""What is never read, what becomes of the rest, how long things are kept, and of which months the secrets exist: the
settings and the state store come in, what the dashboard's page on privacy says goes out."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sa_stream.commits.keys import SECRETS_PREFIX
from sa_stream.config import SA__Config
from sa_stream.errors import Store_Unavailable
from sa_stream.records.fields import FORBIDDEN_FIELDS
from sa_stream.timing import MINUTE_MS, Moment, moment

if TYPE_CHECKING:
    from sa_stream.commits.ports import Store

REDUCED = {
    "cs-uri-stem": "up to its first ?, without IP and e-mail addresses, by PATH_RULES",
    "cs-host": "without IP and e-mail addresses",
    "cs-referer": "the name of its host alone",
    "cs-user-agent": "a class, a family, and a hash under the month's secret",
    "x-edge-request-id": "a hash under the month's secret",
}
REMEMBERED_MS = 10 * MINUTE_MS  # a month's secret comes and goes with the month


def _kept(config: SA__Config) -> str:
    days = {
        "half hours": config.retain_30min_days,
        "hours": config.retain_hourly_days,
        "days": config.retain_daily_days,
    }
    said = ", ".join(f"{name} after {number} days" for name, number in days.items() if number)
    pruned = f", or until `sa-stream archive` prunes them ({said})" if said else ""
    return f"as long as the cache service keeps them{pruned}"


class Privacy_Facts:
    """state: the state store; None: this program has none, so nothing is known of secrets."""

    def __init__(self, config: SA__Config, state: "Store | None", now: Callable[[], Moment] = moment) -> None:
        self._config, self._state, self._now = config, state, now
        self._months: list[str] | None = None
        self._listed: Moment | None = None

    def shown(self) -> dict[str, Any]:
        """As `privacy` in the answer of `cloudfront/status`. secret_months: null where they are not known."""
        config, lists = self._config, self._config.field_lists()
        return {
            "never_read": sorted(FORBIDDEN_FIELDS - lists.allowed),
            "dropped_fields": [name.strip() for name in config.drop_fields.split(",") if name.strip()],
            "reduced": [f"{field}: {what}" for field, what in REDUCED.items()],
            "path_rules": config.path_rules.strip(),
            "dead_letter_text": config.dead_letter_text,
            "secret_months": self._secret_months(),
            "retention": {
                "dead letters": f"{config.dead_letter_days} days",
                "request ids, as hashes": f"{-(-config.dedupe_horizon_s // 60)} minutes",
                "the secret of a month": f"until it is final, and {config.allowed_lateness_s / 3600:g} hours more",
                "entries": f"{_kept(config)}; no address, id or agent is in them",
            },
        }

    def _secret_months(self) -> list[str] | None:
        """Oldest first. What a store that does not answer last said, is said again."""
        now = self._now()
        if self._state is not None and (self._listed is None or now - self._listed >= REMEMBERED_MS):
            try:
                keys = [item.key for item in self._state.list(SECRETS_PREFIX)]
            except Store_Unavailable:
                return self._months  # health says it already, and louder
            self._months = sorted({key.removeprefix(SECRETS_PREFIX).partition(".")[0] for key in keys})
            self._listed = now
        return self._months
