"""spec.scaling.schedules, a moment -> how many replicas there are at least, and until when that holds. Pure.

A schedule is in force from its start to the end that follows, so what counts is which of both was last. That
is found from the moment alone, whoever was stopped in between. Days on which the clock is changed are cron's:
what the change leaves out comes with it, and what it repeats comes once.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from kubeembed_api.errors import InvalidSpec
from kubeembed_api.scaling import Schedule

#: No clock is changed by more: a moment that a clock shows twice is looked for from beyond the second time.
CHANGE = timedelta(hours=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """replicas: at least so many, 0 where no schedule is in force. until: the next start or end of any."""

    replicas: int = 0
    until: datetime | None = None


NOTHING = Scheduled()


def scheduled(schedules: Sequence[Schedule], now: datetime) -> Scheduled:
    """now: with a time zone, any. The schedules have been checked."""
    if not schedules:
        return NOTHING
    replicas = max(each.min if _in_force(each, now) else 0 for each in schedules)
    coming = (_next(each, when, now) for each in schedules for when in (each.start, each.end))
    return Scheduled(replicas=replicas, until=min(coming))


def check_schedules(schedules: Sequence[Schedule]) -> None:
    """Raises InvalidSpec for what is no time zone or no cron expression, or never comes."""
    for index, schedule in enumerate(schedules):
        field = f"spec.scaling.schedules[{index}]"
        _check_zone(f"{field}.timeZone", schedule.time_zone)
        _check_cron(f"{field}.start", schedule.start)
        _check_cron(f"{field}.end", schedule.end)


def _in_force(schedule: Schedule, now: datetime) -> bool:
    begun, ended = _last(schedule, schedule.start, now), _last(schedule, schedule.end, now)
    return begun is not None and (ended is None or begun > ended)


def _next(schedule: Schedule, when: str, now: datetime) -> datetime:
    """After now. A clock that is put back may have shown it already."""
    moments = CronSim(when, now.astimezone(ZoneInfo(schedule.time_zone)))
    return next(utc for utc in (each.astimezone(UTC) for each in moments) if utc > now)


def _last(schedule: Schedule, when: str, now: datetime) -> datetime | None:
    """At now or before; None: never within 50 years."""
    begin = (now + CHANGE).astimezone(ZoneInfo(schedule.time_zone))
    moments = CronSim(when, begin, reverse=True)
    return next((utc for utc in (each.astimezone(UTC) for each in moments) if utc <= now), None)


def _check_zone(field: str, name: str) -> None:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not there, no name, a folder of them
        near = difflib.get_close_matches(name, sorted(available_timezones()), n=1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        way_out = "write a name of the IANA database, as in Europe/Berlin or Etc/UTC"
        problem = f"{name!r} is no time zone{meant}; {way_out}"
        raise InvalidSpec(field, problem) from None


def _check_cron(field: str, when: str) -> None:
    try:
        coming = next(CronSim(when, datetime.now(UTC)), None)
    except CronSimError as error:
        told = str(error).lower()
        problem = (
            f"{when!r} is no cron expression ({told}); write minute (0-59), hour (0-23), day of month (1-31),"
            " month (1-12) and day of week (0-7, Sunday is both), as in 0 8 * * 1-5"
        )
        raise InvalidSpec(field, problem) from error
    if coming is None:
        raise InvalidSpec(field, f"{when!r} never comes; write a day that there is")
