"""What passes to GPU hosts is counted on every database, by several backends at once."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from backend.database import open_database
from backend.gpu.traffic import Traffic
from backend.gpu.usage import FAR_SECONDS, QUESTIONS_A_DAY, SPARED_QUESTIONS, Usage

URL = "https://name.ngrok-free.app"
OTHER = "https://other.example"


@pytest.fixture
def database(database_url):
    database = open_database(database_url)
    yield database
    database.close()


class Clock:
    def __init__(self):
        self.now = datetime(2026, 1, 31, 12, tzinfo=UTC)

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def usage(database, clock):
    return Usage(database, clock)


def test_a_month_is_added_up_and_the_next_begins_at_nothing(usage, clock):
    assert usage.all() == {}
    usage.passed(URL, Traffic(1, 300, 3_000_000_000))
    usage.passed(URL, Traffic(2, 30, 3))
    usage.passed(OTHER, Traffic(1, 1, 1))
    month = usage.all()[URL]
    assert (month.month, month.requests) == ("2026-01", 3)
    assert (month.sent_bytes, month.received_bytes) == (330, 3_000_000_003)
    assert usage.all()[OTHER].requests == 1
    clock.now += timedelta(days=1)
    assert usage.all() == {}
    usage.passed(URL, Traffic(1, 2, 3))
    assert usage.all()[URL].requests == 1


def test_a_host_may_be_asked_so_often_a_day_and_no_more(usage, clock):
    for _ in range(QUESTIONS_A_DAY):
        assert usage.may_ask(URL)
    assert not usage.may_ask(URL)
    assert usage.all()[URL].questions_today == QUESTIONS_A_DAY
    assert usage.may_ask(OTHER)
    clock.now += timedelta(hours=12)
    assert usage.may_ask(URL)
    assert usage.all()[URL].questions_today == 1


def test_questions_of_yesterday_do_not_count_today(usage, clock):
    clock.now = datetime(2026, 1, 2, 23, tzinfo=UTC)
    usage.may_ask(URL)
    clock.now += timedelta(hours=2)
    assert usage.all()[URL].questions_today == 0


def test_backends_that_count_at_the_same_time_lose_nothing(database_url, clock):
    databases = [open_database(database_url) for _ in range(3)]
    allowed = []

    def count(usage):
        for _ in range(QUESTIONS_A_DAY // 2):
            usage.passed(URL, Traffic(1, 10, 100))
            allowed.append(usage.may_ask(URL))

    threads = [threading.Thread(target=count, args=[Usage(each, clock)]) for each in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    month = Usage(databases[0], clock).all()[URL]
    assert month.requests == 3 * (QUESTIONS_A_DAY // 2)
    assert month.received_bytes == 100 * month.requests
    assert sum(allowed) == QUESTIONS_A_DAY
    for each in databases:
        each.close()


def test_the_last_questions_are_spread_over_the_rest_of_the_day(usage, clock):
    first = QUESTIONS_A_DAY - SPARED_QUESTIONS
    assert usage.question_seconds(0) == usage.question_seconds(first - 1) == FAR_SECONDS
    assert usage.question_seconds(first) == 12 * 3600 / SPARED_QUESTIONS
    assert usage.question_seconds(QUESTIONS_A_DAY - 1) == 12 * 3600
    assert usage.question_seconds(QUESTIONS_A_DAY) == float("inf")
    clock.now = clock.now.replace(hour=23, minute=59)
    assert usage.question_seconds(first) == FAR_SECONDS
