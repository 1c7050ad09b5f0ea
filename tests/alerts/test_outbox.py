from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from modelkeep.alerts.channel import example
from modelkeep.alerts.ledger import Batch, Ledger, Posting
from modelkeep.alerts.outbox import Outbox
from modelkeep.core.clock import DAY, HOUR, SECOND
from modelkeep.core.errors import BadInput, Busy, Denied, Unreachable
from modelkeep.store.entries import Entries

from .servers import http
from .worlds import Memory, drilled

NOW = 2_000_000_000 * SECOND


class Post:
    """An outbox over memory channels and a clock of its own."""

    def __init__(self, folder: Path, **channels):
        self.entries = Entries(folder / "entries.db")
        self.ledger = Ledger(self.entries)
        self.channels = {"a": Memory(), **channels}
        self.now = NOW
        self.box = Outbox(self.entries, self.channels, seed=1)
        self.count = 0

    def put(self, channel="a", alert="alert", at=None) -> str:
        self.count += 1
        made = f"n{self.count:03d}"
        message = replace(example(), id=made, alert=alert)
        created = self.now if at is None else at
        posting = Posting(made, channel, self.count, message, created, (self.count,), next_ns=created)
        with self.entries.begin() as connection:
            self.ledger.write(connection, Batch(postings=[posting]))
        return made

    def deliver(self, after_s: float = 0, wait_s: float = 5) -> int:
        self.now += round(after_s * SECOND)
        return self.box.deliver(self.now, wait_s=wait_s)

    def row(self, made) -> Posting:
        found = self.ledger.posting(made)
        assert found is not None
        return found

    def got(self, channel="a"):
        return [message.id for message in self.channels[channel].messages]


@pytest.fixture
def post(tmp_path):
    return Post(tmp_path)


def test_what_is_due_is_sent_in_order_and_once(post):
    made = [post.put(alert=f"x{n}") for n in range(3)]
    assert post.deliver() == 3
    assert post.deliver(1) == 0
    assert post.got() == made
    row = post.row(made[0])
    assert (row.state, row.attempts, row.error) == ("sent", 1, "")
    assert NOW <= (row.sent_ns or 0) < NOW + 10 * SECOND


def test_failures_back_off_with_jitter_up_to_an_hour(post):
    post.channels["a"].failures += [Unreachable("away")] * 30
    made = post.put()
    waits = []
    while (row := post.row(made)).state == "waiting" and len(waits) < 20:
        post.now = max(post.now, row.next_ns) + 30 * SECOND
        post.deliver()
        row = post.row(made)
        waits.append((row.next_ns - post.now) / SECOND)
    assert 2.4 <= waits[0] <= 6
    assert all(earlier * 0.9 < later for earlier, later in zip(waits, waits[2:8], strict=False))
    assert 1790 < max(waits) <= 3601
    assert post.row(made).error == "away"


def test_a_message_older_than_a_day_is_dead_and_the_other_channel_is_told(tmp_path):
    post = Post(tmp_path, second=Memory())
    post.box = Outbox(post.entries, post.channels, fallback="second")
    post.channels["a"].failures += [Unreachable("away")] * 99
    made = post.put()
    for _ in range(60):
        post.deliver(HOUR / SECOND)
        if post.row(made).state == "dead":
            break
    assert post.row(made).state == "dead"
    assert (post.now - NOW) / HOUR in (24, 25)
    post.deliver(1)
    [told] = post.channels["second"].messages
    assert told.id == f"{made}-second"
    assert told.summary.startswith("a could not deliver this: away\n")


def test_busy_waits_as_long_as_it_is_told(post):
    post.channels["a"].failures.append(Busy("slow down", retry_after_s=600))
    first, second = post.put(), post.put(alert="other")
    assert post.deliver() == 0
    assert post.row(first).next_ns >= NOW + 600 * SECOND
    assert post.deliver(599) == 0, "the whole channel is left alone"
    assert post.row(second).attempts == 0
    assert post.deliver(5) == 2


@pytest.mark.parametrize("error", [BadInput("answered 404"), Denied("not public")])
def test_what_will_never_be_taken_is_dead_at_once_with_its_reason(post, error):
    post.channels["a"].failures.append(error)
    first, second = post.put(), post.put()
    assert post.deliver() == 1
    assert (post.row(first).state, post.row(first).error, post.row(first).attempts) == ("dead", error.message, 1)
    assert post.got() == [second]


def test_messages_about_one_alert_do_not_overtake_each_other(post):
    post.channels["a"].failures.append(Unreachable("away"))
    first, second, other = post.put(), post.put(), post.put(alert="other")
    post.deliver()
    assert post.got() == []
    post.deliver(20)
    assert sorted(post.got()) == sorted([first, second, other])
    assert post.got().index(first) < post.got().index(second)


def test_an_error_of_the_channels_own_is_tried_again(post):
    post.channels["a"].failures.append(KeyError("bug"))
    made = post.put()
    post.deliver()
    assert post.row(made).error == "KeyError: 'bug'"
    assert post.deliver(60) == 1


def test_a_channel_that_hangs_holds_up_nothing_else(tmp_path):
    class Hangs:
        release = threading.Event()
        calls = 0

        def send(self, notification):
            Hangs.calls += 1
            self.release.wait(20)

    post = Post(tmp_path, hung=Hangs(), b=Memory())
    stuck, old = post.put("hung"), post.put("hung", alert="other", at=NOW - 2 * DAY)
    began = time.monotonic()
    post.deliver(wait_s=0.2)
    for n in range(20):
        post.put("a", alert=f"a{n}")
        post.put("b", alert=f"b{n}")
        post.deliver(1, wait_s=0.5)
    assert time.monotonic() - began < 8
    assert len(post.got("a")) == len(post.got("b")) == 20
    assert Hangs.calls == 1, "one thread hangs, not one a round"
    assert post.row(old).state == "waiting"
    post.deliver(DAY / SECOND, wait_s=0.1)
    assert {post.row(old).state, post.row(stuck).state} == {"dead", "waiting"}
    Hangs.release.set()
    post.box.close(wait_s=5)
    post.deliver(1)
    assert post.row(stuck).state == "sent" or post.row(old).state == "sent"


def test_a_channel_that_is_gone_from_the_settings_keeps_its_messages(post):
    made = post.put("gone")
    assert post.deliver() == 0
    assert post.row(made).error == "no channel 'gone' is configured"
    post.channels["gone"] = Memory()
    assert post.deliver(60) == 1


CHILD = """
import sys, time
from pathlib import Path
from modelkeep.alerts.channels.webhook import Webhook
from modelkeep.alerts.outbound import Outbound
from modelkeep.alerts.outbox import Outbox
from modelkeep.core.secret import Secret
from modelkeep.store.entries import Entries
entries = Entries(Path(sys.argv[1]))
channels = {"hook": Webhook(Secret(sys.argv[2]), door=Outbound(allow=("127.0.0.1",)))}
box = Outbox(entries, channels)
print("up", flush=True)
while True:
    box.deliver(time.time_ns(), wait_s=1)
    time.sleep(0.005)
"""


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_in_the_middle_every_message_arrives_and_repeats_carry_its_id(tmp_path, kills):
    post = Post(tmp_path)
    post.now = time.time_ns()
    made = [post.put("hook", alert=f"x{n}") for n in range(25 * kills)]
    with http() as received:
        for round_ in range(kills + 1):
            child = subprocess.Popen(
                [sys.executable, "-c", CHILD, str(post.entries.path), received.url], stdout=subprocess.PIPE
            )
            assert child.stdout is not None
            child.stdout.readline()
            goal, until = 25 * (round_ + 1) - 12, time.monotonic() + 20
            done = goal if round_ < kills else 10**9
            while len(received.requests) < done and time.monotonic() < until and post.ledger.waiting_channels():
                time.sleep(0.002)
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            child.stdout.close()
        ids = [headers["X-Modelkeep-Notification"] for _, headers, _ in received.requests]
    assert set(ids) == set(made)
    assert len(ids) - len(made) <= kills, "at most the one in flight is repeated"
    assert not post.ledger.waiting_channels()


def test_a_drill_goes_the_whole_way_and_says_why_when_it_does_not(tmp_path):
    world = drilled(tmp_path)
    done = world.alerts.drill()
    [message] = world.told.messages
    assert (message.state, message.id, message.headline) == (
        "test",
        done.notification,
        "[DRILL] modelkeep can reach you here",
    )
    assert done.channel == "told"
    assert 0 < done.latency_s < 5
    assert world.alerts.drill("loopback").attempts == 1
    world.told.failures.append(BadInput("answered 404"))
    with pytest.raises(Unreachable, match="channel told: answered 404"):
        world.alerts.drill("told")
    assert [row.state for row in world.alerts.outbox()] == ["dead", "sent", "sent"]
    assert [row.state for row in world.alerts.outbox("dead")] == ["dead"]
