"""Schedules at a moment: what is in force, and until when; on days on which clocks are changed as well."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from kubeembed_api.errors import InvalidSpec
from kubeembed_api.scaling import Schedule
from kubeembed_operator.schedules import NOTHING, Scheduled, check_schedules, scheduled

BERLIN = "Europe/Berlin"
OFFICE = Schedule(start="0 8 * * 1-5", end="0 18 * * 1-5", time_zone=BERLIN, min=2)


def berlin(day: int, hour: int, minute: int = 0, *, month: int = 11, fold: int = 0) -> datetime:
    """In 2026. 2 November is a Monday."""
    zone = ZoneInfo(BERLIN)
    return datetime(2026, month, day, hour, minute, tzinfo=zone, fold=fold).astimezone(UTC)


def test_without_any_nothing_is_asked_for() -> None:
    assert scheduled((), berlin(2, 9)) == NOTHING


@pytest.mark.parametrize(
    ("now", "replicas", "until"),
    [
        (berlin(2, 7, 59), 0, berlin(2, 8)),
        (berlin(2, 8), 2, berlin(2, 18)),
        (berlin(2, 17, 59), 2, berlin(2, 18)),
        (berlin(2, 18), 0, berlin(3, 8)),
        (berlin(6, 18), 0, berlin(9, 8)),
        (berlin(7, 12), 0, berlin(9, 8)),
    ],
    ids=["before", "at its start", "within", "at its end", "Friday evening", "Saturday"],
)
def test_one_is_in_force_from_its_start_to_its_end(
    now: datetime, replicas: int, until: datetime
) -> None:
    assert scheduled([OFFICE], now) == Scheduled(replicas=replicas, until=until)


def test_the_largest_of_several_counts_and_the_first_change() -> None:
    noon = Schedule(start="0 12 * * *", end="0 13 * * *", time_zone=BERLIN, min=5)
    night = Schedule(start="0 22 * * *", end="0 6 * * *", time_zone="Asia/Tokyo", min=1)
    every = [OFFICE, noon, night]
    assert scheduled(every, berlin(2, 11)) == Scheduled(replicas=2, until=berlin(2, 12))
    assert scheduled(every, berlin(2, 12)) == Scheduled(replicas=5, until=berlin(2, 13))
    assert scheduled(every, berlin(2, 15)) == Scheduled(replicas=2, until=berlin(2, 18))
    assert scheduled(every, berlin(2, 19)) == Scheduled(replicas=1, until=berlin(2, 22))
    assert scheduled(every, berlin(2, 22)) == Scheduled(replicas=0, until=berlin(3, 8))


def test_one_that_never_ended_yet_is_in_force() -> None:
    """As 29 February, a Monday, comes each 28 years."""
    rare = Schedule(start="0 0 * * *", end="0 0 */29 2 1", time_zone="Etc/UTC", min=1)
    assert scheduled([rare], berlin(2, 9)).replicas == 1


def test_hours_are_those_of_the_clock_before_and_after_it_is_changed() -> None:
    summer, winter = berlin(23, 8, month=10), berlin(26, 8, month=10)
    assert (summer.hour, winter.hour) == (6, 7)
    assert scheduled([OFFICE], summer).replicas == scheduled([OFFICE], winter).replicas == 2
    assert scheduled([OFFICE], winter - timedelta(minutes=1)).replicas == 0


def test_what_the_change_leaves_out_comes_with_it() -> None:
    """29 March 2026: after 1:59 comes 3:00."""
    skipped = Schedule(start="30 2 * * *", end="0 4 * * *", time_zone=BERLIN, min=1)
    before = berlin(29, 1, 59, month=3)
    assert scheduled([skipped], before) == Scheduled(until=berlin(29, 3, month=3))
    assert scheduled([skipped], before + timedelta(minutes=1)).replicas == 1
    assert scheduled([skipped], berlin(29, 4, month=3)).replicas == 0


def test_what_the_change_repeats_comes_once() -> None:
    """25 October 2026: after 2:59 comes 2:00 again."""
    doubled = Schedule(start="30 2 * * *", end="45 2 * * *", time_zone=BERLIN, min=1)
    first = berlin(25, 2, 30, month=10)
    assert scheduled([doubled], first).replicas == 1
    assert scheduled([doubled], first + timedelta(minutes=15)).replicas == 0
    again = berlin(25, 2, 30, month=10, fold=1)
    assert again - first == timedelta(hours=1)
    assert scheduled([doubled], again) == Scheduled(until=berlin(26, 2, 30, month=10))


def events(when: str, zone: str, begin: datetime, end: datetime) -> Iterator[datetime]:
    """All moments of an expression between two others, in their order."""
    for moment in CronSim(when, begin.astimezone(ZoneInfo(zone))):
        if moment.astimezone(UTC) > end:
            return
        yield moment.astimezone(UTC)


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        (BERLIN, (2026, 3, 28)),
        (BERLIN, (2026, 10, 24)),
        ("Australia/Lord_Howe", (2026, 4, 4)),  # by half an hour
        ("Australia/Lord_Howe", (2026, 10, 3)),
        ("Etc/UTC", (2026, 3, 28)),
    ],
)
@pytest.mark.parametrize(
    ("start", "end"),
    [("30 2 * * *", "45 2 * * *"), ("15 1 * * *", "0 3 * * *"), ("*/20 * * * *", "10 * * * *")],
)
def test_each_moment_is_as_the_events_before_and_after_it_say(
    zone: str, day: tuple[int, int, int], start: str, end: str
) -> None:
    schedule = Schedule(start=start, end=end, time_zone=zone, min=1)
    begin = datetime(*day, tzinfo=UTC)
    close = begin + timedelta(days=2, hours=12)
    long_ago = begin - timedelta(days=1)
    starts = set(events(start, zone, long_ago, close))
    ends = set(events(end, zone, long_ago, close))
    changes = sorted(starts | ends)
    for minute in range(12 * 60, 36 * 60, 5):
        now = begin + timedelta(minutes=minute)
        last = max(each for each in changes if each <= now)
        following = min(each for each in changes if each > now)
        found = scheduled([schedule], now)
        assert found == Scheduled(replicas=int(last in starts - ends), until=following), now


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"time_zone": "Europe/Berln"},
            "timeZone: 'Europe/Berln' is no time zone (did you mean Eur",
        ),
        ({"time_zone": "Europe"}, "as in Europe/Berlin or Etc/UTC"),
        ({"time_zone": "/etc/passwd"}, "timeZone: '/etc/passwd' is no time zone"),
        ({"start": "61 8 * * *"}, "start: '61 8 * * *' is no cron expression (bad minute); write"),
        ({"end": "0 24 * * *"}, "end: '0 24 * * *' is no cron expression (bad hour)"),
        ({"start": "0 8 31 2 *"}, "day of month (1-31)"),
        ({"end": "* * */20 * 1L"}, "end: '* * */20 * 1L' never comes; write a day that there is"),
    ],
)
def test_what_is_no_schedule_is_refused_with_what_to_write(
    change: dict[str, str], words: str
) -> None:
    with pytest.raises(InvalidSpec) as refused:
        check_schedules([OFFICE, OFFICE.model_copy(update=change)])
    assert str(refused.value).startswith("spec.scaling.schedules[1].")
    assert words in str(refused.value)


def test_one_that_can_be_is_let_through() -> None:
    check_schedules([OFFICE, OFFICE.model_copy(update={"end": "0 18 L * MON-FRI"})])
