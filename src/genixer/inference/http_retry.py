"""When to ask again: full jitter from the request's own id, or when the server says."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from genixer.data import random_for

__all__ = ["asked_pause_s", "jitter_s"]

_MOST_DOUBLINGS = 30


def jitter_s(key: str, attempt: int, base_s: float, most_s: float) -> float:
    """Seconds to wait after failed `attempt` (from 1): anything up to `base_s` doubled each time.

    The same for the same `key` and attempt, so that a rerun waits as the first run did.

    >>> jitter_s("one", 3, 0.5, 60.0) == jitter_s("one", 3, 0.5, 60.0) < 2.0
    True
    """
    ceiling = min(most_s, base_s * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS))
    return random_for(0, "http retry", f"{key} {attempt}").random() * ceiling


def asked_pause_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for (a number or a date), at least 0; None without one.

    A date is compared with the server's own `Date`, so that a wrong clock here does no harm.

    >>> asked_pause_s({"retry-after": "2.5"})
    2.5
    >>> asked_pause_s({"retry-after": "Thu, 26 Nov 2026 10:00:07 GMT",
    ...                "date": "Thu, 26 Nov 2026 10:00:00 GMT"})
    7.0
    >>> asked_pause_s({"retry-after": "soon"})
    >>> asked_pause_s({"retry-after": "Thu, 26 Nov 2026 10:00:00 +99999999999999"})
    """
    asked = headers.get("retry-after", "").strip()
    if asked.replace(".", "", 1).isdecimal() and asked.isascii():
        return float(asked)
    moment = _moment(asked)
    if moment is None:
        return None
    now = _moment(headers.get("date", "")) or datetime.fromtimestamp(time.time(), UTC)
    return max(0.0, (moment - now).total_seconds())


def _moment(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
