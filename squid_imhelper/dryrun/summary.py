"""The numbers of a dry run for machines: one JSON object."""

import json
from datetime import UTC, datetime
from typing import Any

from squid_imhelper.dryrun.replay import Outcome
from squid_imhelper.dryrun.tally import OTHERS, Counts


def as_json(outcome: Outcome, *, compared: bool) -> str:
    """One ASCII JSON object; with what would change if the policy was compared with another one."""
    tally = outcome.tally
    blocked, denied = tally.outcomes["blocked"], tally.outcomes["denied"]
    found: dict[str, Any] = {
        "lines": tally.lines,
        "requests": tally.requests,
        "skipped": sum(tally.skipped.values()),
        "denied": tally.denied,
        "blocked": blocked.total,
        "monitored": tally.outcomes["monitored"].total,
        "by_service": _sorted(blocked.by_service),
        "by_rule": _sorted(blocked.by_rule),
        "by_client": _sorted(blocked.by_client),
        "by_hour": _hours(blocked.by_hour),
        "first": iso(tally.first),
        "last": iso(tally.last),
        "skipped_by_reason": _sorted(tally.skipped),
        "without_request": tally.without_request,
        "denied_and_blocked": denied.total,
        "failed": tally.failed,
        "unknown": _sorted(tally.gaps),
        "interrupted": bool(outcome.ended_by),
        "files": [
            {
                "path": file.log.path,
                "format": file.log.log_format.name if file.log.log_format else None,
                "lines": file.lines,
                "skipped": file.skipped,
                "problem": file.problem or None,
            }
            for file in outcome.files
        ],
    }
    if compared:
        for name in ("newly_blocked", "newly_allowed"):
            change = tally.outcomes[name]
            found[name] = change.total
            found[f"{name}_by_service"] = _sorted(change.by_service)
            found[f"{name}_by_client"] = _sorted(change.by_client)
            found[f"{name}_by_host"] = _sorted(change.by_host)
    return json.dumps(found)


def _sorted(counts: Counts) -> dict[str, int]:
    """The most frequent first."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _hours(counts: Counts) -> dict[str | None, int]:
    """By when they began, the earliest first; what is beyond the limit comes last."""
    hours = sorted(int(hour) for hour in counts if hour != OTHERS)
    others = {OTHERS: counts[OTHERS]} if OTHERS in counts else {}
    return {iso(hour): counts[str(hour)] for hour in hours} | others


def iso(instant: float | None) -> str | None:
    """An instant in ISO 8601, UTC, to the millisecond where it has one."""
    if instant is None:
        return None
    moment = datetime.fromtimestamp(round(instant, 3), UTC)
    text = moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds")
    return text.replace("+00:00", "Z")
