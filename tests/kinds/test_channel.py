"""The contract of every alert channel: what it says reaches a real receiver, what that answers is understood."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.alerts.channel import CHANNELS, Channel, Member, Notification, example, open_channels
from modelkeep.alerts.channels.loopback import Loopback
from modelkeep.alerts.outbound import Outbound
from modelkeep.core.errors import BadInput, Busy, Denied, Error, Missing, Unreachable
from modelkeep.core.secret import Secret
from tests.alerts.servers import http, smtp

# Apprise loads all its services at once; one of them asks for a module that Python gives up.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

LOCAL = Outbound(allow=("127.0.0.1",), timeout_s=3)


@dataclass
class Rig:
    """A channel with its receiver.

    Args:
        settings: of the channel, pointing at the receiver.
        said: everything that arrived, as text.
        refuse: makes the receiver give an answer to the next message: `later`, `busy` or `never`.
        kinds: the errors that each answer must become; a channel that cannot tell has fewer.
    """

    settings: dict[str, object]
    said: Callable[[], list[str]]
    refuse: Callable[[str], None]
    kinds: dict[str, type[Error]] = field(default_factory=dict)


@contextmanager
def webhook(**more: object) -> Iterator[Rig]:
    answers = {"later": (500, {}), "busy": (429, {"Retry-After": "30"}), "never": (404, {})}
    with http() as received:
        yield Rig(
            {"url": received.url + "/hook", **more},
            lambda: [body.decode() for _, _, body in received.requests],
            lambda what: received.answers.append(answers[what]),
            {"later": Unreachable, "busy": Busy, "never": BadInput},
        )


@contextmanager
def alertmanager() -> Iterator[Rig]:
    with webhook(form="alertmanager", secret="key") as rig:
        yield rig


@contextmanager
def email() -> Iterator[Rig]:
    answers = {"later": "451 try later", "never": "550 no such user"}
    with smtp() as post:
        yield Rig(
            {
                "host": "127.0.0.1",
                "port": post.port,
                "tls": "none",
                "sender": "mk@example.org",
                "recipients": ["a@example.org"],
            },
            lambda: [mail.decode() for mail in post.mails],
            lambda what: post.answers.append(answers[what]),
            {"later": Unreachable, "never": BadInput},
        )


@contextmanager
def apprise() -> Iterator[Rig]:
    with http() as received:
        yield Rig(
            {"url": f"json://127.0.0.1:{received.port}/hook"},
            lambda: [body.decode() for _, _, body in received.requests],
            lambda what: received.answers.append((500, {})),
            {"later": Unreachable},
        )


@contextmanager
def loopback() -> Iterator[Rig]:
    yield Rig({}, list, lambda what: None)


RIGS = {"webhook": webhook, "alertmanager": alertmanager, "email": email, "apprise": apprise, "loopback": loopback}
KIND = {"alertmanager": "webhook"}


def made(name: str, rig: Rig, door: Outbound = LOCAL) -> Channel:
    return open_channels([{"name": "it", "kind": KIND.get(name, name), **rig.settings}], door)["it"]  # type: ignore[dict-item]


@pytest.fixture(params=sorted(RIGS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def rig(name: str) -> Iterator[Rig]:
    with RIGS[name]() as rig:
        yield rig


def test_every_channel_has_a_rig() -> None:
    assert set(CHANNELS.names()) == {KIND.get(name, name) for name in RIGS}


def test_what_it_says_arrives(name: str, rig: Rig) -> None:
    channel = made(name, rig)
    for state in ("firing", "resolved", "test"):
        channel.send(example(state))
    if isinstance(channel, Loopback):
        assert [message.state for message in channel.messages] == ["firing", "resolved", "test"]
        return
    said = rig.said()
    assert len(said) == 3
    assert all("flights: error rate 12" in text for text in said)


def test_what_the_receiver_answers_is_understood(name: str, rig: Rig) -> None:
    channel = made(name, rig)
    for what, error in rig.kinds.items():
        rig.refuse(what)
        with pytest.raises(error) as caught:
            channel.send(example())
        assert type(caught.value) is error
        if isinstance(caught.value, Busy):
            assert caught.value.retry_after_s == 30
    channel.send(example())


def test_an_address_that_is_not_public_is_refused(name: str, rig: Rig) -> None:
    channel = made(name, rig, Outbound())
    if "door" not in {field.name for field in dataclasses.fields(channel)}:  # type: ignore[arg-type]
        return
    with pytest.raises(Denied, match="not a public address"):
        channel.send(example())
    assert rig.said() == []


def test_secrets_show_nowhere(name: str, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = made(name, rig)
    for one in dataclasses.fields(channel):  # type: ignore[arg-type]
        value = getattr(channel, one.name)
        if isinstance(value, Secret) and value:
            assert value.reveal() not in repr(channel) + str(channel)
            monkeypatch.setenv("MODELKEEP_SECRET_IT", value.reveal())
            named = made(name, Rig({**rig.settings, one.name: "secret:IT"}, rig.said, rig.refuse))
            assert getattr(named, one.name) == value
            with pytest.raises(Missing, match="NOT_SET"):
                made(name, Rig({**rig.settings, one.name: "secret:NOT_SET"}, rig.said, rig.refuse))


def test_unknown_keys_and_wrong_types_are_named(name: str, rig: Rig) -> None:
    with pytest.raises(BadInput, match=r"alerts.channels\[0\] \(it\): unknown key 'nonsense'"):
        made(name, Rig({**rig.settings, "nonsense": 1}, rig.said, rig.refuse))
    with pytest.raises(BadInput, match="unknown key 'door'"):
        made(name, Rig({**rig.settings, "door": "x"}, rig.said, rig.refuse))
    for key in rig.settings:
        with pytest.raises(BadInput, match=key):
            made(name, Rig({**rig.settings, key: {"a": 1}}, rig.said, rig.refuse))


texts = st.text(max_size=60)
labels = st.dictionaries(
    st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=8), texts, max_size=4
)
notifications = st.builds(
    Notification,
    id=st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=32),
    alert=texts,
    thread=st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=32),
    state=st.sampled_from(["firing", "resolved", "test"]),
    title=texts,
    summary=texts,
    rule=texts,
    labels=labels,
    annotations=labels,
    value=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    since_ns=st.integers(0, 2**62),
    at_ns=st.integers(0, 2**62),
    link=st.sampled_from(["", "http://127.0.0.1:7300/", "javascript:alert(1)"]),
    members=st.lists(
        st.builds(Member, alert=texts, labels=labels, value=st.none() | st.just(1.5), at_ns=st.just(1)), max_size=3
    ).map(tuple),
)


def test_any_notification_can_be_said(name: str) -> None:
    with ExitStack() as stack:
        channel = made(name, stack.enter_context(RIGS[name]()))

        @given(notifications)
        def say(notification: Notification) -> None:
            channel.send(notification)

        began = time.monotonic()
        say()
        assert time.monotonic() - began < 20


def test_settings_of_channels() -> None:
    for entry in ({}, {"name": "a"}, {"kind": "loopback"}, {"name": "", "kind": "loopback"}):
        with pytest.raises(BadInput, match="needs a name and a kind"):
            open_channels([entry], LOCAL)
    with pytest.raises(BadInput, match="is taken"):
        open_channels([{"name": "a", "kind": "loopback"}] * 2, LOCAL)
    with pytest.raises(Missing, match="no plugin 'pigeon'"):
        open_channels([{"name": "a", "kind": "pigeon"}], LOCAL)
    with pytest.raises(BadInput, match="url"):
        open_channels([{"name": "a", "kind": "webhook"}], LOCAL)
