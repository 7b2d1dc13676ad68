import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchor.quotas import Allowance, Buckets, Quotas, exempting
from contracts.errors import Refused

S = 1_000_000_000
MS = 1_000_000


def quotas(
    *, client: tuple[float, float] = (10, 5), target: tuple[float, float] = (2, 3), exempt: tuple[str, ...] = ()
) -> Quotas:
    return Quotas(client=Allowance(*client), target=Allowance(*target), exempt=exempting(exempt))


def submit(found: Quotas, now_ns: int, *, client: str = "ann", hosts: tuple[str, ...] = ()) -> Refused | None:
    try:
        found.take(found.accounts(client, hosts), now_ns)
    except Refused as refusal:
        return refusal
    return None


@given(
    st.floats(0.1, 1000),
    st.integers(1, 500),
    st.lists(st.integers(0, 2 * S), min_size=1, max_size=300),
)
def test_never_more_than_the_burst_and_the_rate_are_admitted(rate: float, burst: int, gaps: list[int]) -> None:
    buckets, now, admitted = Buckets(Allowance(rate, burst)), 0, 0
    for gap in gaps:
        now += gap
        if buckets.wait_ns("x", 1, now) == 0:
            buckets.spend("x", 1, now)
            admitted += 1
    assert admitted <= burst + rate * now / S + 1e-3


@given(st.floats(0.1, 1000), st.integers(1, 100), st.integers(0, 100))
def test_whoever_comes_back_when_told_is_admitted_and_no_sooner(rate: float, burst: int, more: int) -> None:
    buckets = Buckets(Allowance(rate, burst))
    for _ in range(burst + more):
        buckets.spend("x", 1, 0)
    wait = buckets.wait_ns("x", 1, 0)
    assert (wait > 0) is (burst + more > burst - 1)
    assert buckets.wait_ns("x", 1, wait) == 0
    assert buckets.wait_ns("x", 1, max(0, wait - 10 * MS)) > 0 or rate * 0.01 >= 1 or wait < 10 * MS


def test_a_bucket_refills_to_its_burst_and_not_above() -> None:
    buckets = Buckets(Allowance(10, 5))
    for _ in range(5):
        buckets.spend("x", 1, 0)
    assert buckets.wait_ns("x", 1, 0) == 100 * MS
    assert buckets.wait_ns("x", 5, 3600 * S) == 0
    assert buckets.wait_ns("x", 6, 3600 * S) == 0, "what costs more than the burst needs a full bucket"
    buckets.spend("x", 5, 3600 * S)
    assert buckets.wait_ns("x", 1, 3600 * S) == 100 * MS


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, S // 4)), max_size=200))
def test_one_client_takes_nothing_from_another(steps: list[tuple[str, int]]) -> None:
    together, now = quotas(target=(0, 1)), 0
    alone = {name: quotas(target=(0, 1)) for name in "abcd"}
    for client, gap in steps:
        now += gap
        assert (submit(together, now, client=client) is None) is (submit(alone[client], now, client=client) is None)


def test_nothing_is_taken_from_one_budget_when_another_refuses() -> None:
    found = quotas(client=(1, 100))
    for _ in range(3):
        assert submit(found, 0, hosts=("192.0.2.1",)) is None
    for _ in range(50):
        refusal = submit(found, 0, hosts=("198.51.100.1", "192.0.2.99"))
        assert refusal is not None
        assert refusal.reason == "target-budget"
    assert found.buckets["client"].level("ann", 0) == 3
    assert found.buckets["target"].level("198.51.100.0/24", 0) == 0


def test_a_refusal_names_whose_budget_the_rate_and_the_time_to_come_back() -> None:
    found = quotas()
    for _ in range(5):
        submit(found, 0)
    refusal = submit(found, 0)
    assert refusal is not None
    assert (refusal.code, refusal.reason, refusal.retry_after) == (429, "client-budget", 0.1)
    assert refusal.message == ("the budget of client 'ann' is spent: 10 jobs a second, 5 at once; try again in 0.1 s")
    for _ in range(3):
        submit(found, 10 * S, client="bob", hosts=("192.0.2.1",))
    refusal = submit(found, 10 * S, client="eve", hosts=("192.0.2.200",))
    assert refusal is not None
    assert (refusal.reason, refusal.retry_after) == ("target-budget", 0.5)
    assert "'192.0.2.0/24'" in refusal.message


def test_the_longer_wait_is_the_one_that_is_told() -> None:
    found = quotas(client=(1, 1), target=(100, 1))
    submit(found, 0, hosts=("192.0.2.1",))
    refusal = submit(found, 0, hosts=("192.0.2.1",))
    assert refusal is not None
    assert (refusal.reason, refusal.retry_after) == ("client-budget", 1.0)


def test_a_name_in_a_refusal_cannot_break_a_header() -> None:
    found = quotas(client=(1, 1))
    submit(found, 0, client="a\r\nb")
    refusal = submit(found, 0, client="a\r\nb")
    assert refusal is not None
    assert refusal.message.isprintable()


def test_a_rate_of_zero_switches_a_budget_off() -> None:
    found = quotas(client=(0, 1), target=(0, 1))
    assert all(submit(found, 0, hosts=("192.0.2.1",)) is None for _ in range(1000))
    assert not found.pending


def test_exempt_networks_and_names_have_no_budget_in_any_spelling() -> None:
    found = quotas(client=(0, 1), target=(1, 1), exempt=("127.0.0.0/8", "::1", "LocalHost", "192.0.2.1"))
    for host in ("127.0.0.1", "127.1", "127.200.3.4", "::ffff:127.0.0.1", "::1", "localhost", "192.0.2.1"):
        assert all(submit(found, 0, hosts=(host,)) is None for _ in range(10)), host
    assert submit(found, 0, hosts=("192.0.2.2",)) is None
    assert submit(found, 0, hosts=("192.0.2.2",)) is not None


@pytest.mark.parametrize("entry", ["10.0.0.1/8", "10.0.0.0/33", "a/b", "10.0.0.0/x"])
def test_an_exemption_that_is_no_network_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        exempting([entry])


def test_a_job_that_was_not_stored_costs_nothing_but_what_others_were_told() -> None:
    found = quotas(client=(1, 2))
    accounts = found.accounts("ann", ["192.0.2.1"])
    found.take(accounts, 0)
    found.give_back(accounts, 0)
    assert found.buckets["client"].level("ann", 0) == 0
    found.take(accounts, 0)
    found.pending.clear()
    found.give_back(accounts, 0)
    assert found.buckets["client"].level("ann", 0) == 1


@given(st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 1e9)), max_size=50))
def test_what_others_tell_never_locks_anybody_out_for_long(told: list[tuple[float, float]]) -> None:
    found = quotas()
    for spent, level in told:
        found.charge(("client", "ann"), spent, level, 0)
    assert found.buckets["client"].wait_ns("ann", 1, 0) <= (5 + 1) / 10 * S


def test_spending_of_others_counts_also_beyond_the_burst() -> None:
    found = quotas()
    for _ in range(5):
        submit(found, 0)
    found.charge(("client", "ann"), 5, 5, 0)
    assert found.buckets["client"].wait_ns("ann", 1, 0) == 600 * MS


def test_a_level_that_another_knows_is_taken_over_and_a_lower_one_is_not() -> None:
    found = quotas()
    found.charge(("client", "ann"), 0, 4, 0)
    found.charge(("client", "ann"), 0, 1, 0)
    assert found.buckets["client"].level("ann", 0) == 4


def test_the_fullest_buckets_are_forgotten_first() -> None:
    buckets = Buckets(Allowance(1, 100), most=10)
    for _ in range(50):
        buckets.spend("abuser", 1, 0)
    for number in range(1000):
        buckets.spend(f"k{number}", 1, 0)
        assert len(buckets) <= 10
    assert buckets.level("abuser", 0) == 50


def test_what_is_spent_in_a_hurry_is_told_in_a_hurry() -> None:
    hurried: list[int] = []
    found = quotas(client=(1, 100), target=(0, 1))
    found.hurry = lambda: hurried.append(1)
    for _ in range(4):
        submit(found, 0)
    assert not hurried
    submit(found, 0)
    assert hurried
