"""The job store, over every database that it runs on."""

import importlib
import pkgutil
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import JSON, Column, DateTime, Double, Integer, MetaData, String, Table
from sqlalchemy.exc import IntegrityError

import backend
from backend.database import Base, open_database
from backend.jobs.job import Job, utc_now
from backend.jobs.store import JobStore, LeaseLost
from contracts.errors import InvalidInput, JobNotFound, NoFaceFound, QueueFull
from contracts.jobs import JobState
from tests.fakes.gpu_host import REPORT

OLD_JOBS = Table(
    "jobs",
    MetaData(),
    Column("id", String, primary_key=True),
    Column("state", String, nullable=False, index=True),
    Column("stage", String, nullable=False),
    Column("progress", Double, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("idempotency_key", String, unique=True),
    Column("created_at", DateTime, nullable=False, index=True),
    Column("started_at", DateTime),
    Column("finished_at", DateTime),
    Column("options", JSON, nullable=False),
    Column("text", String),
    Column("voice_asked", String),
    Column("language", String),
    Column("voice", String),
    Column("engine", String),
    Column("speech_seconds", Double),
    Column("stage_seconds", JSON, nullable=False),
    Column("report", JSON(none_as_null=True)),
    Column("error", JSON(none_as_null=True)),
)
"""The table of jobs before there were migrations."""


@pytest.fixture
def database(database_url):
    database = open_database(database_url)
    yield database
    database.close()


@pytest.fixture
def store(database):
    return JobStore(database, max_queue=9)


def fill(store, *job_ids):
    for job_id in job_ids:
        store.add(Job(id=job_id, options={}))


def claim(store, job_id, owner="worker", seconds=60.0):
    return store.claim(job_id, owner, seconds, "host")


def fail(job):
    job.fail(NoFaceFound("none").body())


def test_the_migrations_make_the_tables_that_the_code_expects(database):
    for module in pkgutil.walk_packages(backend.__path__, "backend."):
        if module.name != "backend.__main__" and ".migrations" not in module.name:
            importlib.import_module(module.name)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_opening_again_changes_nothing(database_url, store):
    fill(store, "a")
    again = open_database(database_url)
    try:
        assert JobStore(again, 9).get("a").state == JobState.QUEUED
    finally:
        again.close()


@pytest.fixture
def old(database_url):
    """A database of the version before migrations, with a job in each state."""
    address = database_url.replace("postgresql:", "postgresql+psycopg:")
    engine = sqlalchemy.create_engine(address)
    OLD_JOBS.metadata.create_all(engine)
    report = REPORT.model_dump(mode="json")
    error = NoFaceFound("there is nobody").body().model_dump(mode="json")
    with engine.begin() as connection:
        for minute, state in enumerate(JobState):
            connection.execute(
                OLD_JOBS.insert().values(
                    id=state,
                    state=state,
                    stage="rendering" if state == "running" else "done",
                    progress=0.5,
                    attempts=2,
                    idempotency_key=f"key of {state}",
                    created_at=datetime(2026, 1, 1, 12, minute),
                    options={"engine": "auto", "max_height": 720},
                    text="Hello.",
                    stage_seconds={"render": 1.5},
                    report=report if state == "succeeded" else None,
                    error=error if state == "failed" else None,
                )
            )
    engine.dispose()
    return database_url


def test_jobs_of_the_version_before_migrations_are_kept_and_go_on(old):
    database = open_database(old)
    try:
        store = JobStore(database, 9)
        jobs, _ = store.page(9)
        assert [job.id for job in jobs] == [state.value for state in reversed(JobState)]
        views = {view.id: view for view in (job.view() for job in jobs)}
        assert all(
            (view.attempts, view.version, view.stream) == ((), 1, 0) for view in views.values()
        )
        assert views["queued"].created_at == datetime(2026, 1, 1, 12, tzinfo=UTC)
        assert (views["succeeded"].report, views["failed"].error.code) == (REPORT, "NO_FACE_FOUND")
        assert views["succeeded"].stage_seconds == {"render": 1.5}
        assert store.foresee("key of cancelled").id == "cancelled"
        assert [job.id for job in store.take_back(lambda owner: False)] == ["running"]
        assert [job.id for job in store.waiting(9)] == ["queued", "running"]
        claim(store, "running")
        store.update("failed", Job.retry)
        assert [job.id for job in store.waiting(9)] == ["queued", "failed"]
    finally:
        database.close()


def test_after_a_migration_a_key_is_still_that_of_one_job(old):
    database = open_database(old)
    try:
        with pytest.raises(IntegrityError), database.writing() as session:
            session.add(Job(id="other", options={}, idempotency_key="key of queued"))
    finally:
        database.close()


def test_changes_are_kept_and_numbered(store, database):
    store.add(Job(id="a", options={}, text="Hello."))
    store.update("a", lambda job: setattr(job, "voice", "fake:en"))
    job = JobStore(database, max_queue=9).get("a")
    assert (job.text, job.voice, job.version) == ("Hello.", "fake:en", 2)


def test_a_change_that_raises_changes_nothing(store):
    fill(store, "a")

    def change(job):
        job.voice = "other"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.update("a", change)
    assert (store.get("a").voice, store.get("a").version) == (None, 1)


def test_what_get_returns_changes_nothing(store):
    fill(store, "a")
    store.get("a").voice = "other"
    assert store.get("a").voice is None


def test_an_unknown_job_is_not_found(store):
    for ask in (store.get, store.delete, lambda job_id: store.update(job_id, Job.cancel)):
        with pytest.raises(JobNotFound):
            ask("nobody")


def test_the_queue_has_an_end_and_running_jobs_do_not_count(database):
    store = JobStore(database, max_queue=2)
    fill(store, "a", "b")
    with pytest.raises(QueueFull) as refusal:
        fill(store, "c")
    assert refusal.value.retry_after_seconds
    with pytest.raises(QueueFull):
        store.foresee(None)
    claim(store, "a")
    fill(store, "c")


def test_ten_at_once_under_one_key_make_one_job(store):
    with ThreadPoolExecutor(10) as pool:
        jobs = list(
            pool.map(
                lambda i: store.add(Job(id=f"job{i}", options={}, idempotency_key="key")), range(10)
            )
        )
    assert len({job.id for job in jobs}) == 1
    assert store.foresee("key").id == jobs[0].id


def test_a_key_that_another_process_takes_first_gives_its_job(database_url, store):
    other = open_database(database_url)
    barrier = threading.Barrier(2)

    def add(store, job_id):
        barrier.wait(10)
        return store.add(Job(id=job_id, options={}, idempotency_key="key")).id

    try:
        for i in range(5):
            with ThreadPoolExecutor(2) as pool:
                first = pool.submit(add, store, f"a{i}")
                second = pool.submit(add, JobStore(other, 9), f"b{i}")
            assert first.result() == second.result()
            store.delete(first.result())
    finally:
        other.close()


def test_waiting_jobs_come_in_the_order_of_the_queue_and_a_retry_goes_to_its_end(store):
    fill(store, "d", "c", "b", "a")
    claim(store, "d")
    store.update("d", fail)
    store.update("c", Job.cancel)
    store.update("d", Job.retry)
    assert [job.id for job in store.waiting(9)] == ["b", "a", "d"]


def test_a_job_is_claimed_by_one_of_many(database_url, store):
    fill(store, "a")
    other = open_database(database_url)
    stores = [store, JobStore(other, 9)]
    try:
        with ThreadPoolExecutor(8) as pool:
            won = [
                job
                for job in pool.map(lambda i: claim(stores[i % 2], "a", f"worker {i}"), range(8))
                if job is not None
            ]
    finally:
        other.close()
    assert len(won) == 1
    assert store.get("a").lease_owner == won[0].lease_owner


def test_only_who_holds_the_lease_changes_a_running_job(store):
    fill(store, "a")
    claim(store, "a", "first")
    store.update("a", lambda job: job.requeue())
    claim(store, "a", "second")
    with pytest.raises(LeaseLost):
        store.update("a", fail, owner="first")
    store.delete("a")
    with pytest.raises(LeaseLost):
        store.update("a", fail, owner="second")


def test_renewing_tells_which_jobs_are_still_ones_own(store):
    fill(store, "a", "b", "c")
    for job_id in "abc":
        claim(store, job_id, seconds=0.0)
    store.update("b", Job.cancel)
    assert store.renew("worker", 60.0) == {"a", "c"}
    assert store.take_back(lambda owner: False) == []


@pytest.mark.parametrize("how", ["lease over", "owner dead"])
def test_a_job_whose_worker_died_goes_back_to_its_place(store, how):
    fill(store, "a", "b")
    claim(store, "a", "dead", -1.0 if how == "lease over" else 60.0)
    taken = store.take_back(lambda owner: how == "owner dead" and owner == "dead")
    assert [job.id for job in taken] == ["a"]
    assert [job.id for job in store.waiting(9)] == ["a", "b"]
    assert store.get("a").deaths == 1


def test_pages_show_every_job_once_newest_first(store):
    ids = [f"{i:02}" for i in range(9)]
    fill(store, *ids)
    moment = utc_now()
    for job_id in ids[3:6]:  # the same moment must not swallow any
        store.update(job_id, lambda job: setattr(job, "created_at", moment))
    seen, cursor = [], None
    while True:
        jobs, cursor = store.page(2, cursor)
        seen += [job.id for job in jobs]
        if cursor is None:
            break
    assert sorted(seen) == ids
    assert len(seen) == 9


def test_pages_can_be_of_some_states(store):
    fill(store, "a", "b")
    claim(store, "a")
    jobs, cursor = store.page(9, states=[JobState.RUNNING])
    assert ([job.id for job in jobs], cursor) == (["a"], None)


@pytest.mark.parametrize("cursor", ["", "!", "YWJj", "é" * 9, "A" * 999, "MjAyNi0wMS0wMSAA"])
def test_a_cursor_of_another_list_is_refused(store, cursor):
    with pytest.raises(InvalidInput):
        store.page(2, cursor)


def test_no_change_is_lost_when_threads_of_two_processes_change_one_job(database_url, store):
    fill(store, "a")
    other = open_database(database_url)
    stores = [store, JobStore(other, 9)]
    try:
        with ThreadPoolExecutor(8) as pool:
            for i in range(40):
                change = lambda job, i=i: job.took(**{f"stage{i}": 1.0})  # noqa: E731
                pool.submit(stores[i % 2].update, "a", change)
    finally:
        other.close()
    assert len(store.get("a").stage_seconds) == 40
    assert store.get("a").version == 41


def test_every_change_is_told_after_it_can_be_read(store):
    seen = []
    store.on_change.append(
        lambda job_id: seen.append((job_id, [job.state for job in store.page(9)[0]]))
    )
    fill(store, "a")
    claim(store, "a")
    store.update("a", Job.cancel)
    store.delete("a")
    assert [states for _, states in seen] == [["queued"], ["running"], ["cancelled"], []]


def test_the_end_of_a_job_is_told_once_and_within_its_transaction(store):
    ended = []

    def hook(session, job):
        ended.append((job.id, job.state))
        if len(ended) == 1:
            raise RuntimeError("the disk is full")

    store.on_end.append(hook)
    fill(store, "a")
    with pytest.raises(RuntimeError):
        store.update("a", Job.cancel)
    assert store.get("a").state == JobState.QUEUED
    store.update("a", Job.cancel)
    store.update("a", Job.expire)
    assert ended == [("a", "cancelled")] * 2


def test_media_are_kept_of_what_has_ended_and_not_expired(store):
    fill(store, "a", "b", "c")
    for job_id in "cba":
        store.update(job_id, Job.cancel)
    store.update("b", Job.expire)
    assert [job.id for job in store.keeping()] == ["c", "a"]
    assert store.known(["a", "x"]) == {"a"}
