from __future__ import annotations

import email
import json
import ssl
import subprocess
from dataclasses import replace
from email import policy
from pathlib import Path

import pytest

from modelkeep.alerts.channel import Member, Notification, example
from modelkeep.alerts.channels.apprise import Apprise
from modelkeep.alerts.channels.email import Email, page
from modelkeep.alerts.channels.webhook import Webhook, signature
from modelkeep.alerts.outbound import Outbound
from modelkeep.core.errors import BadInput, Denied, Missing, Unreachable
from modelkeep.core.secret import NONE, Secret, mask, resolve

from .servers import http, smtp

# Apprise loads all its services at once; one of them asks for a module that Python gives up.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

LOCAL = Outbound(allow=("127.0.0.1",), timeout_s=3)


def digest() -> Notification:
    members = tuple(Member(alert=f"a{n}", labels={"feature": f"f{n}"}, value=1.5, at_ns=10**18) for n in range(2))
    return replace(example(), members=members)


def test_a_webhook_is_signed():
    with http() as received:
        Webhook(Secret(received.url), Secret("key"), door=LOCAL).send(example())
        [(_, headers, body)] = received.requests
    assert headers["X-Modelkeep-Signature"] == signature("key", headers["X-Modelkeep-Timestamp"], body)
    assert headers["X-Modelkeep-Notification"] == "n-1"
    assert headers["Content-Type"] == "application/json"
    assert signature("key", "1", body) != signature("key", "2", body)
    with http() as received:
        Webhook(Secret(received.url), door=LOCAL).send(example())
        assert "X-Modelkeep-Signature" not in received.requests[0][1]


def test_a_webhook_in_the_form_of_alertmanager():
    with http() as received:
        hook = Webhook(Secret(received.url), form="alertmanager", door=LOCAL)
        hook.send(example("test"))
        hook.send(digest())
        one, many = (json.loads(body) for _, _, body in received.requests)
    keys = {"version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels", "commonLabels"}
    assert set(one) == keys | {"commonAnnotations", "externalURL", "alerts"}
    assert (one["version"], one["status"], len(one["alerts"])) == ("4", "firing", 1)
    assert set(one["alerts"][0]) == {
        "status",
        "labels",
        "annotations",
        "startsAt",
        "endsAt",
        "generatorURL",
        "fingerprint",
    }
    assert [alert["labels"] for alert in many["alerts"]] == [{"feature": "f0"}, {"feature": "f1"}]
    assert len({alert["fingerprint"] for alert in many["alerts"]}) == 2


def mailer(post, **more) -> Email:
    options = {"tls": "none", "recipients": ["a@example.org", "B <b@example.org>"], "door": LOCAL, **more}
    return Email("127.0.0.1", "Keep <keep@example.org>", port=post.port, **options)


def test_a_mail_has_text_and_html_and_threads_with_the_first():
    with smtp() as post:
        channel = mailer(post)
        evil = replace(example(), title="<script>alert(1)</script>\r\nBcc: all@example.org", link="https://mk.example/")
        channel.send(evil)
        channel.send(replace(example("resolved"), id="n-2"))
        first, second = (email.message_from_bytes(mail, policy=policy.default) for mail in post.mails)
    assert first["Message-ID"] == "<n-1@example.org>"
    assert (second["Message-ID"], second["In-Reply-To"], second["References"]) == (
        "<n-2@example.org>",
        "<n-1@example.org>",
        "<n-1@example.org>",
    )
    assert first["In-Reply-To"] is None
    assert first["Bcc"] is None
    assert first["Subject"] == "[FIRING] <script>alert(1)</script> Bcc: all@example.org"
    assert first["To"] == "a@example.org, B <b@example.org>"
    text = first.get_body(("plain",)).get_content()
    html = first.get_body(("html",)).get_content()
    assert "Every eighth call fails." in text
    assert "<script>" not in html
    assert 'href="https://mk.example/"' in html
    assert 'href="javascript' not in page(replace(example(), link="javascript:alert(1)"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    made = folder / "both.pem"
    what = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    more = f"-addext subjectAltName=IP:127.0.0.1 -keyout {made} -out {folder / 'c'}"
    subprocess.run(["openssl", *what.split(), *more.split()], check=True, capture_output=True)
    made.write_text(made.read_text() + (folder / "c").read_text())
    return made


def test_mail_by_starttls_with_a_login(certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with smtp(tls_context=context, require_starttls=True, auth_required=True) as post:
        options = {"tls": "starttls", "user": "me", "ca": str(certificate)}
        mailer(post, **options, password=Secret("right")).send(example())
        assert len(post.mails) == 1
        assert post.logins == [(b"me", b"right")]
        with pytest.raises(Denied, match="535"):
            mailer(post, **options, password=Secret("wrong")).send(example())
        with pytest.raises(Unreachable, match="certificate"):
            mailer(post, tls="starttls").send(example())
        with pytest.raises(Denied, match="530"):
            mailer(post).send(example())
        assert len(post.mails) == 1


def test_mail_by_tls_from_the_first_byte(certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with smtp(ssl_context=context) as post:
        mailer(post, tls="tls", ca=str(certificate)).send(example())
        assert len(post.mails) == 1


def test_mail_settings_that_cannot_work():
    with pytest.raises(BadInput, match="not a mail address"):
        Email("h", "nobody", ["a@b"])
    with pytest.raises(BadInput, match="not a mail address"):
        Email("h", "a@b", ["a@b\r\nBcc: c@d"])
    with pytest.raises(BadInput, match="nobody to send"):
        Email("h", "a@b")
    with pytest.raises(BadInput, match="in clear"):
        Email("mail.example.org", "a@b", ["a@b"], tls="none", user="me")
    with pytest.raises(Denied):
        Email("127.0.0.1", "a@b", ["a@b"]).send(example())


def test_nobody_takes_mail():
    with smtp() as post:
        pass
    with pytest.raises(Unreachable):
        mailer(post).send(example())


def test_apprise_knows_the_url_or_says_so():
    with pytest.raises(BadInput, match="does not know"):
        Apprise(Secret("nope://x"), door=LOCAL).send(example())
    with http() as received:
        received.answers.append((302, {"Location": f"{received.url}/elsewhere"}))
        with pytest.raises(Unreachable):
            Apprise(Secret(f"json://127.0.0.1:{received.port}/"), door=LOCAL).send(example())
        assert len(received.requests) == 1, "redirects are not followed"


def test_apprise_services_without_a_host_of_their_own_are_not_looked_up():
    asked = []

    def resolve(host, port):
        asked.append(host)
        return ["127.0.0.1"]

    with pytest.raises(Denied):
        Apprise(Secret("json://inside.example/"), door=Outbound(resolve=resolve)).send(example())
    assert asked == ["inside.example"]


def test_secrets_come_from_the_environment_or_a_file(tmp_path, monkeypatch):
    (tmp_path / "HOOK").write_text("from a file\n")
    assert resolve("secret:HOOK", folder=tmp_path).reveal() == "from a file"
    monkeypatch.setenv("MODELKEEP_SECRET_HOOK", "from the environment")
    assert resolve("secret:HOOK", folder=tmp_path).reveal() == "from the environment"
    assert resolve("plain").reveal() == "plain"
    for name in ("secret:../HOOK", "secret:", "secret:a/b", "secret:..", "secret:a\n"):
        with pytest.raises(BadInput):
            resolve(name, folder=tmp_path)
    with pytest.raises(Missing, match="'NONE' is not set"):
        resolve("secret:NONE", folder=tmp_path)
    assert mask("a from b", Secret("from"), NONE) == "a *** b"
    assert f"{Secret('x')}{Secret('x')!r}{NONE}" == "***Secret(***)"
