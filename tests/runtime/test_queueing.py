from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from kubeembed_runtime.queueing import TURNS_PER_BATCH, Job, Queue, Slot
from kubeembed_runtime.requests import Item, Output

BUDGET = 16
SHARE = BUDGET // TURNS_PER_BATCH


@dataclass(frozen=True)
class Named:
    name: str


def job(*sizes: int, adapter: str | None = None) -> Job:
    """A request of items of so many tokens."""
    loaded = None if adapter is None else Named(adapter)
    items = [Item(ids=[0] * size, adapter=loaded) for size in sizes]
    return Job(items=items, submitted=0.0)


def queue(*jobs: Job) -> Queue:
    made = Queue()
    for one in jobs:
        made.add(one)
    return made


def names(batch: Sequence[Slot], **jobs: Job) -> str:
    """Whose items a batch has, in order."""
    by_job = {one: name for name, one in jobs.items()}
    return "".join(by_job[slot.job] for slot in batch)


def drained(waiting: Queue, **jobs: Job) -> list[str]:
    """The batches until nothing waits."""
    found = []
    while batch := waiting.take(BUDGET):
        found.append(names(batch, **jobs))
    return found


def before(small: Job, waiting: Queue, later: Sequence[tuple[str | None, int]]) -> list[int]:
    """The tokens of each batch before its first. Before each, requests come of these adapters and sizes."""
    found = []
    while small.next is not None:
        for adapter, size in later:
            waiting.add(job(size, adapter=adapter))
        found.append(sum(slot.item.tokens for slot in waiting.take(BUDGET)))
    return found[:-1]


def test_requests_take_turns_of_a_share_of_the_budget_oldest_first() -> None:
    a, b, c = job(*[2] * 6), job(*[2] * 6), job(2)
    assert drained(queue(a, b, c), a=a, b=b, c=c) == ["aabbcaab", "aabbb"]


def test_a_request_alone_has_the_whole_budget() -> None:
    a = job(*[4] * 6)
    assert drained(queue(a), a=a) == ["aaaa", "aa"]


def test_a_small_request_is_in_the_next_batch_behind_a_huge_one() -> None:
    huge, small = job(*[4] * 500), job(3)
    waiting = queue(huge)
    waiting.take(BUDGET)
    waiting.add(small)
    assert names(waiting.take(BUDGET), h=huge, s=small) == "hshh"


def test_a_huge_request_goes_on_with_every_batch_among_ever_more_small_ones() -> None:
    huge = job(*[4] * 10)
    waiting = queue(huge)
    for batch in range(1, 11):
        for _ in range(20):
            waiting.add(job(2))
        waiting.take(BUDGET)
        assert huge.taken == batch


def test_a_huge_request_goes_on_with_every_other_batch_among_ones_too_large_beside_it() -> None:
    huge = job(*[8] * 10)
    waiting = queue(huge)
    for batch in range(1, 21):
        waiting.add(job(9))
        waiting.add(job(9))
        waiting.take(BUDGET)
        assert huge.taken == (batch + 1) // 2


def test_a_huge_request_does_not_take_its_adapters_turns_from_a_small_one() -> None:
    huge, small = job(*[4] * 100), job(1)
    waiting = queue(huge)
    waiting.take(BUDGET)
    waiting.add(small)
    assert before(small, waiting, later=[("x", 4), ("y", 4), ("z", 4)]) == []


def test_what_fits_beside_a_huge_request_does_not_go_before_what_does_not_for_ever() -> None:
    large = job(13)
    assert before(large, queue(job(*[4] * 100), large), later=[("x", 1)]) == [4]


def test_a_request_of_items_over_the_budget_leaves_every_other_batch_to_the_rest() -> None:
    huge, a, b = job(40, 40, 40), job(4), job(4)
    assert drained(queue(huge, a, b), h=huge, a=a, b=b) == ["h", "ab", "h", "h"]


def test_an_adapter_with_one_request_does_not_wait_for_all_those_of_another() -> None:
    busy, rare, plain = [job(4, adapter="busy") for _ in range(50)], job(4, adapter="rare"), job(4)
    waiting = queue(*busy, rare, plain)
    batch = waiting.take(BUDGET)
    assert [slot.job for slot in batch] == [busy[0], rare, plain, busy[1]]


def test_what_does_not_fit_opens_the_next_batch() -> None:
    a, b, c = job(10), job(9), job(5)
    assert drained(queue(a, b, c), a=a, b=b, c=c) == ["a", "bc"]


def test_a_request_that_nobody_wants_any_more_costs_its_adapter_no_turn() -> None:
    gone, kept, other = job(4, adapter="x"), job(4, adapter="x"), job(4, adapter="y")
    waiting = queue(gone, kept, other)
    waiting.drop(gone)
    assert [slot.job for slot in waiting.take(BUDGET)] == [kept, other]
    assert waiting.tokens == 0


def test_one_that_has_left_already_is_dropped_without_a_word() -> None:
    taken, cleared = job(4), job(4)
    waiting = queue(taken)
    waiting.take(BUDGET)
    waiting.drop(taken)
    waiting.add(cleared)
    assert waiting.clear() == [cleared]
    waiting.drop(cleared)
    assert (waiting.tokens, waiting.take(BUDGET)) == (0, [])


class Compared(Job):
    """Counts how often it is held against another: what a search does."""

    times = 0

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return self is other

    __hash__ = Job.__hash__


def test_what_a_request_costs_does_not_grow_with_those_that_wait() -> None:
    jobs = [Compared(items=[Item(ids=[0])], submitted=0.0) for _ in range(300)]
    waiting = queue(*jobs)
    Compared.times = 0
    for one in reversed(jobs[200:]):  # the latest leaves first, as from a search that gives up
        waiting.drop(one)
    while waiting.take(BUDGET):
        pass
    assert waiting.tokens == 0
    assert Compared.times < len(jobs)


def test_a_request_without_items_is_finished_at_once() -> None:
    empty = job()
    assert queue(empty).take(BUDGET) == []
    assert empty.future.result(0) == []


@dataclass
class Arrival:
    """When a request comes (in batches), whose it is, and the tokens of its items."""

    batch: int
    adapter: str | None
    sizes: list[int]
    job: Job


ADAPTERS = st.sampled_from([None, "a", "b"])
ARRIVALS = st.lists(
    st.builds(
        lambda batch, adapter, sizes: Arrival(batch, adapter, sizes, job(*sizes, adapter=adapter)),
        st.integers(0, 12),
        ADAPTERS,
        st.lists(st.integers(1, 40), max_size=12) | st.lists(st.integers(1, 4), max_size=40),
    ),
    max_size=25,
)


@given(ARRIVALS)
def test_every_item_runs_once_in_its_requests_order_and_no_batch_is_over_the_budget(
    arrivals: list[Arrival],
) -> None:
    waiting, ran, number = Queue(), list[Slot](), 0
    while number <= 12 or waiting.tokens:
        for arrival in arrivals:
            if arrival.batch == number:
                waiting.add(arrival.job)
        expected = waiting.tokens
        batch = waiting.take(BUDGET)
        tokens = sum(slot.item.tokens for slot in batch)
        assert waiting.tokens == expected - tokens
        assert tokens <= BUDGET or len(batch) == 1
        assert bool(batch) == bool(expected)
        ran += batch
        number += 1
    for arrival in arrivals:
        mine = [slot.place for slot in ran if slot.job is arrival.job]
        assert mine == list(range(len(arrival.sizes)))
    for slot in reversed(ran):
        slot.job.put(slot.place, Output())
    assert all(len(arrival.job.future.result(0)) == len(arrival.sizes) for arrival in arrivals)


@given(ARRIVALS, st.integers(1, SHARE))
def test_a_small_request_waits_for_two_turns_at_most_of_each_that_came_before(
    arrivals: list[Arrival], size: int
) -> None:
    """In tokens. A turn is a share, or one item that is larger; the oldest opens batches besides."""
    jobs = [job(*arrival.sizes) for arrival in arrivals if arrival.sizes]
    small = job(size)
    waited = sum(before(small, queue(*jobs, small), later=[]))
    longest = max((max(arrival.sizes) for arrival in arrivals if arrival.sizes), default=0)
    assert waited <= 2 * len(jobs) * max(SHARE, longest)


ONE_ITEM = st.tuples(ADAPTERS, st.integers(1, BUDGET))


@settings(deadline=None)
@given(ONE_ITEM, ARRIVALS, ONE_ITEM, st.lists(ONE_ITEM, max_size=6))
def test_a_request_waits_for_two_turns_at_most_of_each_before_it_and_the_others_between(
    huge: tuple[str | None, int],
    arrivals: list[Arrival],
    small: tuple[str | None, int],
    later: list[tuple[str | None, int]],
) -> None:
    """In tokens. A turn is a share, or one item that is larger. The first request is of many like items."""
    first, last = job(*[huge[1]] * 500, adapter=huge[0]), job(small[1], adapter=small[0])
    jobs = [first, *(arrival.job for arrival in arrivals if arrival.sizes)]
    sizes = [item.tokens for one in jobs for item in one.items] + [size for _, size in later]
    others = {*(one.adapter for one in jobs), *(name for name, _ in later)} - {last.adapter}
    mine = 2 * sum(one.adapter == last.adapter for one in jobs)
    theirs = len(others) * (mine + 1)
    opened = theirs + 1 if others else 0  # by age
    waited = sum(before(last, queue(*jobs, last), later))
    assert waited <= (mine + theirs + opened) * max(SHARE, *sizes)
