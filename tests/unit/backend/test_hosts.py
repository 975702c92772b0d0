"""Which GPU host takes the next job, and what becomes of those that fail."""

import logging
import threading
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from backend.gpu import hosts as hosts_module
from backend.gpu.added import AddedHosts
from backend.gpu.client import HostHealth
from backend.gpu.host import FRESH_SECONDS, MAX_PAUSE_SECONDS
from backend.gpu.hosts import FIXED_ID, GpuHosts, beyond_own_network
from backend.gpu.plain import PlainClient
from backend.gpu.usage import FAR_SECONDS, QUESTIONS_A_DAY, SPARED_QUESTIONS, Usage
from contracts.errors import (
    Conflict,
    GpuAnswerBroken,
    GpuHostNotFound,
    GpuRefused,
    GpuUnreachable,
    InvalidInput,
    NoGpuHost,
    TunnelFailed,
    VersionMismatch,
)
from contracts.hosts import Connection, NewGpuHost
from contracts.lipsync import EngineInfo, EngineStatus
from tests.fakes.gpu_host import gpu_host

CANARY = "canary-9d1e"
FIXED = Connection("http://a", CANARY)


def engine(name="facewarp", *, ready=True, loading=False, needs=(), auto=True, **status):
    info = EngineInfo(
        name=name, title="Draws", version="1", accepts=("photo",), streaming=True,
        look_ahead_seconds=0, needs=needs, licence="none",
    )  # fmt: skip
    return EngineStatus(info=info, ready=ready, loading=loading, auto=auto, **status)


def wav2lip(**status):
    return engine("wav2lip", needs=("a checkpoint",), **status)


class FakeClient:
    """A host that is well unless told otherwise."""

    def __init__(self, url):
        self.url = url
        self.fault = None
        self.answers = [engine()]
        self.max = 1
        self.asked = self.asked_engines = 0
        self.gate = None
        self.plain = False
        self.ready = ()
        self.said = {}

    def health(self):
        self.asked += 1
        if self.gate:
            assert self.gate.wait(20)
        if self.fault:
            raise self.fault
        return HostHealth(device="cpu", engines_ready=self.ready, renders_max=self.max, **self.said)

    def is_plain(self):
        return self.plain

    def engines(self):
        self.asked_engines += 1
        return self.answers


class World:
    """Hosts with fakes behind them, and a clock that only the test moves."""

    def __init__(self, database, fixed=FIXED, far=False, **settings):
        self.now = 1000.0
        self.today = datetime(2026, 1, 2, 12, tzinfo=UTC)
        self.clients = {}
        self.hosts = GpuHosts(
            AddedHosts(database, **settings),
            Usage(database, lambda: self.today),
            fixed,
            clock=lambda: self.now,
            draw=lambda: 0.5,
            far=lambda url: far,
        )

    def client(self, url, *_):
        return self.clients.setdefault(url, FakeClient(url))

    def __getitem__(self, name):
        return self.client(f"http://{name}")

    def add(self, *names):
        for name in names:
            self.hosts.add(NewGpuHost(url=f"http://{name}", name=name))

    def take(self, engine=None, **wishes):
        """The name of the host that a job gets; its room stays taken."""
        self.hosts.look()
        place = self.hosts.take(engine, **wishes)
        return place.name if place else None

    def view(self, name):
        return next(view for view in self.hosts.views() if view.name == name)


@pytest.fixture
def world(database, monkeypatch):
    worlds = []
    monkeypatch.setattr(hosts_module, "GpuClient", lambda *args, **_: worlds[0].client(*args))
    worlds.append(object.__new__(World))
    worlds[0].__init__(database, plain_http=True)
    return worlds[0]


def test_a_host_that_is_well_takes_as_many_jobs_as_it_has_room(world):
    world["a"].max = 2
    assert [world.take() for _ in range(3)] == ["a", "a", None]
    assert world.view("a").running == 2
    assert world.hosts.why() is None


def test_room_that_is_left_is_taken_again_and_who_waits_is_told(world):
    heard = []
    world.hosts.look()
    place = world.hosts.take(None)
    world.hosts.on_news.append(lambda: heard.append(world.hosts.take(None)))
    place.leave()
    assert heard[0] is not None


def test_nobody_is_asked_while_nobody_wants_to_know(world):
    assert world["a"].asked == 0
    world.hosts.views()
    world.hosts.views()
    assert world["a"].asked == 1
    world.now += FRESH_SECONDS
    world.hosts.views()
    assert world["a"].asked == 2


def test_a_host_is_asked_before_it_gets_a_job_after_a_long_rest(world):
    assert world.take() == "a"
    world.now += 3600
    world["a"].fault = GpuUnreachable("gone")
    assert world.take() is None


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"answers": [engine(real_time=3.0)]}, {"answers": [engine(real_time=2.0)]}),
        ({"answers": [engine(device="cuda")]}, {"answers": [engine(real_time=4.0)]}),
        ({"answers": [engine(real_time=30.0)]}, {"answers": [engine(device="cuda")]}),
        ({"answers": [wav2lip(), engine()]}, {"answers": [engine(real_time=9.0)]}),
        ({"answers": [engine()]}, {"answers": [engine(ready=False, loading=True)]}),
    ],
    ids=["faster", "cuda", "measured", "a network", "loaded"],
)
def test_the_best_host_gets_the_job(world, better, worse):
    world.add("b")
    vars(world["b"]).update(better)
    vars(world["a"]).update(worse)
    world.now += FRESH_SECONDS
    assert [world.take(), world.take()] == ["b", "a"]


def test_jobs_spread_over_hosts_that_are_alike(world):
    world["a"].max = world["b"].max = 2
    world.add("b")
    assert sorted(world.take() for _ in range(2)) == ["a", "b"]


def test_a_job_goes_to_a_host_that_has_its_engine_and_waits_for_it(world):
    world["b"].answers = [wav2lip(real_time=0.1)]
    world.add("b")
    assert world.take("wav2lip") == "b"
    assert world.take("wav2lip") is None
    assert world.hosts.why("wav2lip") is None
    assert world.take() == "a"


def test_an_engine_that_nobody_has_is_for_a_host_to_refuse(world):
    world["a"].answers = [engine(), wav2lip(ready=False)]
    world.now += FRESH_SECONDS
    assert world.take("perpetuum") == "a"


def test_a_job_waits_for_the_host_that_had_its_engine(world):
    world["b"].answers = [wav2lip()]
    world.add("b")
    world["b"].fault = GpuUnreachable("gone")
    world.now += FRESH_SECONDS
    assert world.take("wav2lip") is None
    assert "has the engine wav2lip" in world.hosts.why("wav2lip").detail
    assert world.take() == "a"


def test_a_job_that_an_engine_has_begun_is_sent_to_no_host_without_it(world):
    assert world.take("wav2lip", begun=True) is None
    assert "wav2lip" in world.hosts.why("wav2lip").detail


def test_a_job_returns_to_the_host_that_holds_what_was_drawn(world):
    world["b"].answers = [engine(real_time=99)]
    world.add("b")
    assert world.take(last="a") == "a"


def test_after_a_failure_another_host_is_tried_first(world):
    world["a"].answers = [engine(real_time=99)]
    world.add("b")
    assert [world.take(avoid={"a"}, last="a"), world.take(avoid={"a"})] == ["b", "a"]


def test_a_job_waits_a_moment_for_a_host_that_may_be_better_but_not_for_long(world):
    world.hosts.look()
    world["b"].gate = threading.Event()
    hosts_module_look = hosts_module.LOOK_SECONDS
    hosts_module.LOOK_SECONDS = 0
    try:
        world.add("b")
        assert world.hosts.take(None) is None
        assert world.hosts.why() is None
        world.now += 1.0
        assert world.hosts.take(None) is not None
    finally:
        hosts_module.LOOK_SECONDS = hosts_module_look
        world["b"].gate.set()
    world.hosts.look()


def wait_for_answers(world):
    """Those of `ask`, which does not wait."""
    hosts = world.hosts._hosts.values()
    with world.hosts._changed:
        assert world.hosts._changed.wait_for(
            lambda: not any(host.asking_since for host in hosts), 20
        )


def test_no_job_waits_for_a_host_that_failed_before(world):
    world["b"].fault = GpuUnreachable("gone")
    world.add("b")
    world.now += FRESH_SECONDS
    world["b"].gate = threading.Event()
    try:
        world.hosts.ask(also_paused=True)
        until_asked_anew(world, "a")
        assert world.hosts.take(None).name == "a"
        assert world.hosts.best().name == "a"
    finally:
        world["b"].gate.set()


def until_asked_anew(world, name):
    """Its answer, whatever the others do."""
    host = next(host for host in world.hosts._hosts.values() if host.name == name)
    with world.hosts._changed:
        assert world.hosts._changed.wait_for(lambda: host.asking_since is None, 20)


def test_a_host_that_does_not_answer_is_left_alone_for_growing_pauses(world):
    world["a"].fault = GpuUnreachable("no GPU host answers at http://a")
    pauses = []
    for _ in range(7):
        before, began = world["a"].asked, world.now
        while world["a"].asked == before:
            world.now += 0.5
            world.hosts.ask()
            wait_for_answers(world)
        pauses.append(world.now - began)
    assert pauses == [0.5, 2, 4, 8, 16, MAX_PAUSE_SECONDS, MAX_PAUSE_SECONDS]


def test_pauses_are_spread(world):
    world["a"].fault = GpuUnreachable("gone")
    spread = []
    for drawn in (0.0, 0.999):
        world.hosts.draw = lambda drawn=drawn: drawn
        world.now += 100
        world.hosts.look()
        spread.append(world.hosts._hosts[FIXED_ID].paused_until - world.now)
    assert spread == [pytest.approx(2 * 0.75), pytest.approx(4 * 1.25, rel=0.01)]


def test_a_fault_that_nobody_foresaw_is_one_of_the_host(world):
    world["a"].fault = RuntimeError(CANARY)
    view = world.view("a")
    assert (view.healthy, view.error.code) == (False, "GPU_UNREACHABLE")
    assert CANARY not in view.model_dump_json()
    world["a"].fault = None
    world.now += FRESH_SECONDS
    assert world.take() == "a"


def test_what_went_wrong_is_shown_until_the_host_answers_again(world):
    world["a"].fault = GpuUnreachable("no GPU host answers at http://a", hint="Start it.")
    view = world.view("a")
    assert (view.healthy, view.error.code, view.error.hint) == (
        False,
        "GPU_UNREACHABLE",
        "Start it.",
    )
    assert view.next_try_at is not None
    assert world.take() is None
    assert world.hosts.why().detail == "no GPU host answers at http://a"
    world["a"].fault = None
    world.now += FRESH_SECONDS
    view = world.view("a")
    assert (view.healthy, view.error, view.next_try_at) == (True, None, None)
    assert world.take() == "a"


def test_somebody_who_looks_finds_a_host_that_is_back_before_its_pause_ends(world):
    world["a"].fault = GpuUnreachable("gone")
    for _ in range(6):
        world.now += 100
        world.hosts.views()
    world["a"].fault = None
    world.now += FRESH_SECONDS
    world.hosts.ask()
    assert world["a"].asked == 6
    assert world.view("a").healthy


def test_a_host_that_answers_but_breaks_renders_is_left_alone_for_longer_and_longer(world):
    pauses = []
    for _ in range(3):
        world.hosts.look()
        place = world.hosts.take(None)
        place.failed(GpuAnswerBroken("it broke"))
        place.leave()
        began = world.now
        assert world.hosts.why().detail == "it broke"
        while world.take() is None:
            world.now += 0.5
        world.hosts._hosts[FIXED_ID].running = 0
        pauses.append(world.now - began)
    assert pauses == [2, 4, 8]
    world.hosts.look()
    place = world.hosts.take(None)
    place.rendered()
    place.failed(GpuAnswerBroken("it broke"))
    assert world.hosts._hosts[FIXED_ID].paused_until == world.now + 2


def test_renders_that_break_together_are_one_failure(world):
    world["a"].max = 3
    world.hosts.look()
    for place in [world.hosts.take(None) for _ in range(3)]:
        place.failed(GpuAnswerBroken("it broke"))
    assert world.hosts._hosts[FIXED_ID].failures == 1


def test_a_host_that_others_keep_busy_is_asked_later_and_has_not_failed(world):
    world.hosts.look()
    place = world.hosts.take(None)
    place.busy(3.0)
    place.leave()
    assert world.take() is None
    assert world.hosts.why() is None
    assert world.view("a").error is None
    world.now += 3
    assert world.take() == "a"


def test_why_names_every_host_that_fails(world):
    world.add("b")
    world["a"].fault = GpuUnreachable("gone")
    world["b"].fault = GpuRefused("refused")
    world.now += FRESH_SECONDS
    assert world.take() is None
    assert world.hosts.why().detail == "no GPU host can be used: a: gone; b: refused"
    with pytest.raises(GpuUnreachable, match="a: gone"):
        world.hosts.engines()


def test_without_any_host_that_is_the_reason(database, world):
    world.__init__(database, fixed=None)
    assert world.take() is None
    assert world.hosts.why().detail == "there is no GPU host"
    assert world.hosts.views() == []


def test_the_engines_of_all_hosts_are_told_once_those_that_are_ready_first(world):
    world["a"].answers = [wav2lip(ready=False, reason="no checkpoint"), engine(real_time=1)]
    world["b"].answers = [engine(real_time=5), engine("other", ready=False)]
    world["c"].answers = [wav2lip(device="cuda")]
    world.add("b", "c")
    world.now += FRESH_SECONDS
    world.hosts.look()
    told = {status.info.name: status for status in world.hosts.engines()}
    assert list(told) == ["wav2lip", "facewarp", "other"]
    assert told["wav2lip"].device == "cuda"
    assert told["facewarp"].real_time == 5
    assert world.hosts.best().name == "c"


def test_added_hosts_are_used_at_once_and_by_every_backend(database, world):
    other = object.__new__(World)
    other.__init__(database)
    other.clients = world.clients
    world["a"].fault = GpuUnreachable("gone")
    world.add("b")
    assert world.take() == "b"
    other.hosts.look()
    assert [view.name for view in other.hosts.views()] == ["a", "b"]


@pytest.mark.parametrize("change", ["add", "remove"])
def test_a_look_that_began_before_a_change_does_not_undo_it(world, monkeypatch, change):
    if change == "remove":
        world.add("b")
    rows, done, changes = AddedHosts.rows, threading.Event(), []

    def changing():
        if change == "add":
            world.add("b")
        else:
            world.hosts.remove(next(iter(world.hosts._hosts.keys() - {FIXED_ID})))
        done.set()

    def rows_of_before(added):
        found = rows(added)
        if not changes:
            changes.append(threading.Thread(target=changing))
            changes[0].start()
            done.wait(0.3)  # only if the look does not keep it from that
        return found

    monkeypatch.setattr(AddedHosts, "rows", rows_of_before)
    world.hosts.ask()
    assert done.wait(20)
    changes[0].join()
    assert [host.name for host in world.hosts._hosts.values()] == (
        ["a", "b"] if change == "add" else ["a"]
    )


def test_a_removed_host_gets_no_more_jobs_and_ends_those_that_it_has(world):
    world["b"].answers = [engine(real_time=9)]
    world["b"].max = 2
    view, _ = world.hosts.add(NewGpuHost(url="http://b"))
    assert (view.name, view.healthy, view.fixed) == ("b", True, False)
    world.hosts.look()
    place = world.hosts.take(None)
    assert place.name == "b"
    world.hosts.remove(view.id)
    assert [world.take(), world.take()] == ["a", None]
    place.rendered()
    place.leave()
    with pytest.raises(GpuHostNotFound):
        world.hosts.remove(view.id)


def test_the_host_of_the_settings_stays(world):
    assert world.view("a").fixed
    with pytest.raises(Conflict, match="BACKEND_GPU_URL"):
        world.hosts.remove(FIXED_ID)


@pytest.mark.parametrize("again", ["http://b/", "HTTP://B:80"])
def test_a_host_that_is_added_once_more_takes_its_new_token(world, monkeypatch, again):
    tokens = []
    monkeypatch.setattr(
        hosts_module, "GpuClient", lambda url, token, *_, **__: tokens.append(token) or world["b"]
    )
    first, is_new = world.hosts.add(NewGpuHost(url="http://b", name="Colab"))
    assert is_new
    world["b"].fault = GpuRefused("refused")
    world.now += FRESH_SECONDS
    assert world.view("Colab").next_try_at
    world["b"].fault = None
    asked = world["b"].asked
    second, is_new = world.hosts.add(NewGpuHost(url=again, token=SecretStr(CANARY)))
    assert (second.id, is_new) == (first.id, False)
    assert (second.name, second.healthy, second.error) == ("Colab", True, None)
    assert tokens[-1] == CANARY
    assert world["b"].asked == asked + 1
    assert len(world.hosts.views()) == 2


def test_a_host_gets_another_name_and_keeps_its_token_where_none_is_given(world, database):
    world.hosts.add(NewGpuHost(url="http://b", token=SecretStr(CANARY)))
    view, _ = world.hosts.add(NewGpuHost(url="http://b", token=SecretStr(CANARY), name="New"))
    assert view.name == "New"
    with pytest.raises(Conflict, match="there already") as refusal:
        world.hosts.add(NewGpuHost(url="http://b"))
    assert "token" in refusal.value.hint
    (row,) = AddedHosts(database).rows()
    assert (row.name, row.token) == ("New", CANARY)


def test_the_token_of_the_host_of_the_settings_is_a_setting(world):
    with pytest.raises(Conflict, match="BACKEND_GPU_URL") as refusal:
        world.hosts.add(NewGpuHost(url="http://a", token=SecretStr(CANARY)))
    assert "BACKEND_GPU_TOKEN" in refusal.value.hint


def test_a_new_token_that_another_backend_was_given_counts_here_too(database, world, monkeypatch):
    other = object.__new__(World)
    other.__init__(database, plain_http=True)
    other.clients = world.clients
    world.add("b")
    other.hosts.look()
    tokens = []
    monkeypatch.setattr(
        hosts_module, "GpuClient", lambda url, token, *_, **__: tokens.append(token) or world["b"]
    )
    world.hosts.add(NewGpuHost(url="http://b", token=SecretStr(CANARY)))
    del tokens[:]
    other.hosts.look()
    assert tokens == [CANARY]


def test_an_answer_to_the_old_token_says_nothing_of_the_new_one(world):
    world.add("b")
    world.now += FRESH_SECONDS
    world["b"].gate, world["b"].fault = threading.Event(), GpuRefused("refused")
    world.hosts.ask(also_paused=True)
    until_asked_anew(world, "a")
    old, world.clients["http://b"] = world["b"], FakeClient("http://b")
    view, _ = world.hosts.add(NewGpuHost(url="http://b", token=SecretStr(CANARY)))
    assert view.healthy
    old.gate.set()
    for thread in threading.enumerate():
        if thread.name == "ask-b":
            thread.join(20)
    assert world.view("b").error is None


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "connection"),
        ({"url": "http://b", "connection": "lipsync://b"}, "connection"),
        ({"connection": "lipsync:/b"}, "connection"),
        ({"url": "ftp://b"}, "url"),
        ({"url": "b:9000"}, "url"),
        ({"url": f"https://me:{CANARY}@b"}, "url"),
        ({"url": f"https://b/?token={CANARY}"}, "url"),
        ({"url": "https://b/#x"}, "url"),
        ({"url": "https://b:99999"}, "url"),
        ({"url": "https://b:0"}, "url"),
        ({"url": "https://b c"}, "url"),
        ({"url": "https://b/a\r\nHost: c"}, "url"),
        ({"url": "https://"}, "url"),
        ({"url": "https://[::1"}, "url"),
        ({"url": "https://b", "token": f"{CANARY}\r\nX: y"}, "token"),
        ({"url": "https://b", "token": f"{CANARY}ä"}, "token"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_by_its_field(world, given, field):
    with pytest.raises(InvalidInput) as refusal:
        world.hosts.add(NewGpuHost(**given))
    assert refusal.value.field == field
    assert CANARY not in repr(refusal.value) + refusal.value.hint
    assert len(world.hosts.views()) == 1


@pytest.mark.parametrize("url", ["http://gpu.example", "http://192.168.1.5:9000"])
def test_a_token_travels_in_the_clear_only_where_that_is_allowed(database, world, url):
    world.__init__(database)
    with pytest.raises(InvalidInput, match="could be read") as refusal:
        world.hosts.add(NewGpuHost(url=url, token=SecretStr(CANARY)))
    assert "BACKEND_GPU_PLAIN_HTTP" in refusal.value.hint
    for fine in ("http://localhost:9001", "http://[::1]:9000", "https://gpu.example"):
        assert world.hosts.add(NewGpuHost(url=fine))[0].url == fine
    world.__init__(database, plain_http=True)
    assert world.hosts.add(NewGpuHost(url=url))[0].url == url


def test_a_connection_string_says_it_all(world, monkeypatch):
    given = []
    monkeypatch.setattr(
        hosts_module,
        "GpuClient",
        lambda url, token, *_, **__: given.append((url, token)) or world["b"],
    )
    view, _ = world.hosts.add(NewGpuHost(connection=f"lipsync://{CANARY}@gpu.example:8443"))
    assert given == [("https://gpu.example:8443", CANARY)]
    assert (view.url, view.name) == ("https://gpu.example:8443", "gpu.example:8443")
    assert CANARY not in view.model_dump_json()


FAR = "http://far"


@pytest.fixture
def far(database, world):
    """A world whose only host is beyond this machine."""
    world.__init__(database, fixed=Connection(FAR, CANARY), far=True)
    return world


def hours(world, number, look):
    """What happens in so many hours, looked at or not, every 15 seconds."""
    for _ in range(round(number * 3600 / 15)):
        world.now += 15
        world.today += timedelta(seconds=15)
        world.hosts.ask(also_paused=look)
        wait_for_answers(world)


def test_a_far_host_is_asked_at_most_300_times_a_day_also_by_an_open_page(far):
    far.today = datetime(2026, 1, 2, tzinfo=UTC)
    hours(far, 23.9, look=True)
    assert 250 < far["far"].asked <= QUESTIONS_A_DAY
    hours(far, 1, look=True)
    assert far["far"].asked <= QUESTIONS_A_DAY + 120


def test_a_far_host_that_is_away_is_looked_for_all_day_while_a_job_waits(far):
    far.today = datetime(2026, 1, 2, tzinfo=UTC)
    far["far"].fault = GpuUnreachable("gone")
    hours(far, 23, look=False)
    assert far["far"].asked <= QUESTIONS_A_DAY
    far["far"].fault = None
    hours(far, 0.5, look=False)
    assert far.hosts.take(None) is not None


def test_a_far_host_is_asked_seldom_and_says_so_once_most_of_its_questions_are_used_up(far):
    far["far"].max = 2
    far.take()
    assert not far.view("far").asked_seldom
    for _ in range(QUESTIONS_A_DAY - SPARED_QUESTIONS):
        Usage(far.hosts._usage._database, lambda: far.today).may_ask(FAR)
    view = far.view("far")
    assert (view.asked_seldom, view.usage.questions_today) == (True, 201)
    asked = far["far"].asked
    far.now += 4 * FAR_SECONDS
    assert far.take() == "far"  # as well as it was when last heard
    assert far["far"].asked == asked


def test_a_far_host_whose_questions_are_used_up_counts_as_well_as_its_last_render(far):
    far["far"].max = 2
    far.hosts.look()
    place = far.hosts.take(None)
    for _ in range(QUESTIONS_A_DAY):
        far.hosts._usage.may_ask(FAR)
    place.rendered()
    place.leave()
    far.now += 10_000
    asked = far["far"].asked
    far.hosts.ask()
    place = far.hosts.take(None)
    assert place is not None
    far.hosts.look()
    assert far["far"].asked == asked
    place.failed(GpuUnreachable("gone"))
    far.now += 10_000
    assert far.take() is None
    assert far.hosts.why().detail.startswith("it was asked 300 times")
    far.today += timedelta(days=1)
    far.now += 86_400
    assert far.take() == "far"


def test_engines_of_a_far_host_are_asked_for_when_its_health_says_something_new(far):
    client = far["far"]
    client.answers = [engine(real_time=2.0)]

    def asked_after(seconds):
        before = client.asked_engines
        far.now += seconds
        far.hosts.look()
        return client.asked_engines - before

    assert asked_after(0) == 1
    assert asked_after(FAR_SECONDS) == 0
    client.ready = ("facewarp", "wav2lip")
    assert asked_after(FAR_SECONDS) == 1
    assert asked_after(FAR_SECONDS) == 0
    client.fault = GpuUnreachable("gone")
    asked_after(FAR_SECONDS)
    client.fault = None
    assert asked_after(FAR_SECONDS) == 1  # it may have been restarted with another token


def test_a_render_that_may_have_measured_a_far_hosts_engine_has_it_asked_for(far):
    client = far["far"]
    far.hosts.look()
    far.hosts.take(None).rendered()
    client.answers = [engine(real_time=2.0)]
    far.now += FAR_SECONDS
    far.hosts.look()
    assert client.asked_engines == 2
    far.hosts.take(None)
    far.hosts._hosts[FIXED_ID].rendered(far.now)
    far.now += FAR_SECONDS
    far.hosts.look()
    assert client.asked_engines == 2


def test_a_near_host_is_asked_for_all_each_time(world):
    for number in (1, 2, 3):
        world.now += FRESH_SECONDS
        world.hosts.look()
        assert world["a"].asked_engines == number


def test_a_tunnel_that_has_reached_a_limit_is_left_alone_by_lookers_too(far):
    client = far["far"]
    client.fault = TunnelFailed(
        "bandwidth (ERR_NGROK_725)", hint="Wait.", retry_after_seconds=900.0
    )
    view = far.view("far")
    assert (view.error.code, view.error.hint) == ("TUNNEL_FAILED", "Wait.")
    far.now += 899
    far.hosts.views()
    assert client.asked == 1
    far.now += 2
    far.hosts.views()
    assert client.asked == 2


def test_a_host_that_speaks_another_version_keeps_the_hint_who_must_update(world):
    world["b"].fault = VersionMismatch("it speaks 2.0", hint="Update the backend.")
    world.add("b")
    view = world.view("b")
    assert (view.error.code, view.error.hint) == ("VERSION_MISMATCH", "Update the backend.")


def test_what_a_host_says_of_its_versions_is_shown(world):
    world["a"].said = {"api": "1.0", "version": "0.0.9"}
    view = world.view("a")
    assert (view.api, view.version, view.kind) == ("1.0", "0.0.9", "lipsync")


def test_a_host_that_is_being_stopped_gets_no_new_jobs_and_says_why(world):
    world["a"].said = {"draining": True}
    world["a"].max = 2
    assert world.take() is None
    assert "being stopped" in world.hosts.why().detail
    assert world.view("a").draining
    world["a"].said = {}
    world.now += FRESH_SECONDS
    assert world.take() == "a"


def test_a_plain_host_is_recognised_and_comes_after_all_others(world):
    world["b"].fault = NoGpuHost("no GPU host")
    world["b"].plain = True
    world.add("b")
    view = world.view("b")
    assert (view.kind, view.healthy, view.error) == ("plain", True, None)
    assert [status.info.name for status in view.engines] == ["wav2lip"]
    assert [world.take(), world.take()] == ["a", "b"]
    assert isinstance(world.hosts._hosts[view.id].renderer, PlainClient)
    world.hosts._hosts[view.id].running = 0
    assert world.take("wav2lip") == "b"
    world["b"].plain = False
    asked = world["b"].asked
    world.hosts._hosts[view.id].running = 1
    world.now += FRESH_SECONDS
    world.hosts.look()
    assert world["b"].asked == asked  # it may serve one request at a time
    world.hosts._hosts[view.id].running = 0
    assert world.view("b").error.code == "NO_GPU_HOST"


def test_a_plain_host_that_becomes_one_of_ours_is_used_as_such(world):
    world["b"].fault, world["b"].plain = NoGpuHost("no GPU host"), True
    world.add("b")
    world["b"].fault, world["b"].plain = None, False
    world.now += FRESH_SECONDS
    view = world.view("b")
    assert (view.kind, view.engines[0].info.name) == ("lipsync", "facewarp")


def test_one_of_ours_that_is_added_where_a_plain_host_was_is_used_as_such(world):
    world["b"].fault, world["b"].plain = NoGpuHost("no GPU host"), True
    world.add("b")
    world["b"].fault = None  # it offers /run-wav2lip as well
    view, _ = world.hosts.add(NewGpuHost(url="http://b", token=SecretStr(CANARY)))
    assert view.kind == "lipsync"


@pytest.mark.parametrize("token", [CANARY, "wrong"])
def test_real_hosts_say_how_they_do_and_keep_their_tokens_secret(database, caplog, token):
    caplog.set_level(logging.DEBUG)
    with gpu_host(token=CANARY) as host:
        hosts = GpuHosts(AddedHosts(database), Usage(database), Connection(host.url, token))
        (view,) = hosts.views()
    with database.reading() as session:
        assert session.execute(text("SELECT count(*) FROM gpu_hosts")).scalar() == 0
    if token == CANARY:
        assert (view.healthy, view.device, view.capacity) == (True, "cpu", 1)
        assert [status.info.name for status in view.engines] == ["counting"]
    else:
        assert (view.healthy, view.error.code) == (False, "GPU_REFUSED")
        assert "BACKEND_GPU_TOKEN" in view.error.hint
    assert CANARY not in view.model_dump_json() + caplog.text


def test_an_added_host_with_a_wrong_token_says_how_to_mend_it(database):
    with gpu_host(token=CANARY) as host:
        hosts = GpuHosts(AddedHosts(database), Usage(database), None)
        view, _ = hosts.add(NewGpuHost(url=host.url, token=SecretStr("wrong")))
        assert view.error.code == "GPU_REFUSED"
        assert "BACKEND" not in view.error.hint
        hosts.look()
        assert hosts.take(None) is None
        assert isinstance(hosts.why(), GpuRefused)


@pytest.mark.parametrize(
    ("url", "counted"),
    [
        ("https://kind-otter.ngrok-free.app", True),
        ("https://203.0.113.7:9000", True),
        ("http://gpu_service:9000", False),
        ("http://192.168.1.20:9000", False),
        ("https://localhost:9443", False),
        ("http://127.0.0.1:9000", False),
    ],
)
def test_questions_are_counted_where_a_tunnel_may_count_them(url, counted):
    assert beyond_own_network(url) is counted


@pytest.mark.parametrize("forwarded", [False, True])
def test_what_is_sent_through_forwarded_ports_is_packed(database, forwarded):
    with gpu_host() as host:
        added, usage = AddedHosts(database), Usage(database)
        hosts = GpuHosts(added, usage, Connection(host.url, ""), forwarded=forwarded)
        hosts.look()
        place = hosts.take(None)
        assert place
        assert place.client.far is forwarded
