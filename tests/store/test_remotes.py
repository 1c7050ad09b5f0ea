"""What only one kind of remote knows: credentials, host keys, modes, redirects; and what all stand on."""

from __future__ import annotations

import datetime as dt
import errno
import fcntl
import hashlib
import http.server
import ipaddress
import os
import ssl
import stat
import sys
import threading
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core import kinds
from modelkeep.core.errors import BadInput, Busy, Denied, Error, Missing, Unreachable
from modelkeep.store import objectstore
from modelkeep.store.objectstore import Bucket, understood
from modelkeep.store.options import Options
from modelkeep.store.remote import SCHEMES, Download, Remote, Upload, connect
from modelkeep.store.remotes import local
from modelkeep.store.remotes.local import Local
from modelkeep.store.transfers import Mark, Partial, Patience, checked, disk_error, each, many
from tests.store import remote_servers as servers
from tests.store import remote_stand_ins as stand_ins


def send(remote: Remote, blobs: dict[str, bytes]) -> None:
    outcomes = list(remote.upload([Upload(key, data, len(data)) for key, data in blobs.items()], lambda amount: None))
    assert [outcome.error for outcome in outcomes] == [None] * len(blobs)


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials but a test's own."""
    for name in [one for one in os.environ if one.startswith(("AWS_", "AZURE_", "GOOGLE_", "CLOUDSDK_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


class TestConnect:
    @pytest.mark.parametrize("url", ["gdrive://folder", "local:///tmp", "gcs://bucket"])
    def test_an_unknown_scheme_names_the_known_ones(self, url: str) -> None:
        with pytest.raises(BadInput, match="no remote for") as caught:
            connect(url, {})
        assert "s3" in caught.value.hint
        assert "webdavs" in caught.value.hint

    def test_an_installed_plugin_answers_to_its_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        entry = EntryPoint("oss", "modelkeep.store.remotes.local:Local", "modelkeep.store.remotes")
        monkeypatch.setattr(kinds, "_installed", lambda group: {"oss": entry})
        assert isinstance(connect("oss://bucket", {}), Local)

    @pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if scheme not in {"", "file"}])
    def test_an_address_without_a_place_is_refused(self, scheme: str) -> None:
        with pytest.raises(BadInput, match="names no"):
            connect(f"{scheme}:///folder", {})

    def test_a_folder_loads_no_library(self, tmp_path: Path) -> None:
        code = (
            "import sys; from modelkeep.store.remote import connect; connect(sys.argv[1], {}).has(['a/b'] * 3);"
            "print([one for one in sys.modules if one.partition('.')[0] in"
            " {'obstore', 'fsspec', 'asyncio', 'http', 'ssl', 'subprocess', 'tempfile', 'logging'}])"
        )
        import subprocess

        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


class TestTransfers:
    @given(st.text(max_size=30) | st.lists(st.sampled_from(["a", "..", ".", "", "b c", "é"])).map("/".join))
    def test_a_key_stays_below_its_folder(self, key: str) -> None:
        try:
            inside = os.path.normpath(f"/top/{checked(key)}")
        except BadInput:
            return
        assert inside.startswith("/top/")
        assert inside == f"/top/{key}"

    def test_pauses_grow_and_end(self) -> None:
        patience = Patience(tries=4, first_s=0.001, longest_s=0.002)
        asked: list[int] = []

        def work() -> None:
            asked.append(1)
            raise Busy("later", retry_after_s=3600)

        began = time.monotonic()
        with pytest.raises(Busy):
            patience.insist(work)
        assert len(asked) == 4
        assert time.monotonic() - began < 5
        with pytest.raises(Denied):
            patience.insist(lambda: (_ for _ in ()).throw(Denied("no")))

    def test_an_error_of_the_work_ends_it(self) -> None:
        def work(number: int) -> int:
            if number == 5:
                raise ValueError("five")
            return number

        with pytest.raises(ValueError, match="five"):
            list(many(work, range(100), at_once=4))
        with pytest.raises(IndexError):
            list(many(lambda number: [][number], range(100), at_once=4))

    def test_threads_end_when_the_reader_stops(self) -> None:
        before = threading.active_count()
        running = many(lambda number: number, range(1000), at_once=8)
        next(running)
        running.close()  # type: ignore[attr-defined]
        assert threading.active_count() == before

    def test_nobody_is_asked_again_and_again(self) -> None:
        asked: list[str] = []

        def work(item: Upload) -> None:
            asked.append(item.key)
            raise Denied("wrong key")

        items = [Upload(str(at), b"", 0) for at in range(500)]
        outcomes = list(each(work, items, at_once=4))
        assert len(outcomes) == 500
        assert all(isinstance(outcome.error, Denied) for outcome in outcomes)
        assert len(asked) < 50

    def test_one_good_answer_gives_hope_again(self) -> None:
        def work(item: Upload) -> None:
            if int(item.key) % 5:
                raise Unreachable("now and then")

        outcomes = list(each(work, [Upload(str(at), b"", 0) for at in range(100)], at_once=1))
        assert sum(outcome.error is None for outcome in outcomes) == 20

    @pytest.mark.parametrize(
        ("number", "kind"),
        [
            (errno.ENOSPC, Busy),
            (errno.EDQUOT, Busy),
            (errno.EROFS, Denied),
            (errno.EACCES, Denied),
            (errno.EIO, Unreachable),
        ],
    )
    def test_what_the_disk_says_is_understood(self, number: int, kind: type[Error]) -> None:
        assert type(disk_error(OSError(number, os.strerror(number)), "/mnt")) is kind

    @given(st.lists(st.integers(0, 50)))
    def test_a_mark_tells_the_furthest_once(self, reached: list[int]) -> None:
        heard: list[int] = []
        mark = Mark(heard.append)
        for done in reached:
            mark.reach(done)
        assert sum(heard) == max(reached, default=0)

    @given(before=st.binary(max_size=30), pieces=st.lists(st.binary(max_size=10)), size=st.integers(0, 40) | st.none())
    def test_a_partial_file_goes_on_or_begins_again(
        self, tmp_path_factory: pytest.TempPathFactory, before: bytes, pieces: list[bytes], size: int | None
    ) -> None:
        path = tmp_path_factory.mktemp("partial") / "file"
        path.write_bytes(before)
        kept = before if size is None or len(before) <= size else b""
        with Partial(path, size) as file:
            for piece in pieces:
                file.write(piece)
        assert path.read_bytes() == kept + b"".join(pieces)


class TestOptions:
    def test_what_cannot_be_read_names_the_option(self, tmp_path: Path) -> None:
        given = Options("s3://b", {"use_ssl": "maybe", "jobs": "many", "ssl_verify": str(tmp_path / "none.pem")}, {})
        for work in (lambda: given.flag("use_ssl"), lambda: given.number("jobs", 4), given.authority):
            with pytest.raises(BadInput, match=r"use_ssl|jobs|ssl_verify"):
                work()
        assert given.verifies
        assert not Options("s3://b", {"ssl_verify": "False"}, {}).verifies

    def test_a_secret_may_be_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MODELKEEP_SECRET_LAKE", "canary")
        given = Options("s3://b", {"secret_access_key": "secret:LAKE"}, {"OTHER": "from outside"})
        assert given.secret("secret_access_key").reveal() == "canary"
        assert given.secret("password", "OTHER").reveal() == "from outside"
        assert "canary" not in f"{given!r} {given.secret('secret_access_key')}"

    def test_the_keyring_is_asked_last(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ring, errors = types.ModuleType("keyring"), types.ModuleType("keyring.errors")
        errors.KeyringError = type("KeyringError", (Exception,), {})  # type: ignore[attr-defined]
        kept = {("modelkeep:s3://b", "secret_access_key"): "ring"}
        ring.get_password = lambda service, name: kept.get((service, name))  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "keyring", ring)
        monkeypatch.setitem(sys.modules, "keyring.errors", errors)
        assert Options("s3://b", {}, {}).secret("secret_access_key").reveal() == "ring"
        assert Options("s3://b", {"secret_access_key": "own"}, {}).secret("secret_access_key").reveal() == "own"
        assert not Options("s3://c", {}, {}).secret("secret_access_key")
        monkeypatch.delenv("PYTHON_KEYRING_BACKEND")
        remote = connect("s3://b", {"access_key_id": "AKIA", "endpointurl": "http://127.0.0.1:1"})
        assert _keys(remote) == ("AKIA", "ring", None)


def _keys(remote: Remote) -> tuple[str | None, str | None, str | None]:
    assert isinstance(remote, Bucket)
    config = remote._store.config
    return config.get("access_key_id"), config.get("secret_access_key"), config.get("session_token") or None  # type: ignore[return-value, call-overload]


class TestS3:
    LOCAL: ClassVar = {"endpointurl": "http://127.0.0.1:1"}

    def test_without_credentials_nobody_is_asked(self) -> None:
        for options in (self.LOCAL, {}):
            with pytest.raises(Denied, match="no credentials") as caught:
                connect("s3://bucket/folder", options)
            assert "AWS_ACCESS_KEY_ID" in caught.value.hint
        connect("s3://bucket/folder", {**self.LOCAL, "allow_anonymous_login": "true"})

    def test_credentials_are_never_mixed(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        folder = tmp_path / ".aws"
        folder.mkdir()
        (folder / "credentials").write_text(
            "[default]\naws_access_key_id = D\naws_secret_access_key = ds%(x)s\n"
            "[work]\naws_access_key_id=W\naws_secret_access_key=ws\naws_session_token=wt\n"
        )
        (folder / "config").write_text("[profile work]\nregion = eu-west-1\nendpoint_url = http://127.0.0.1:2\n")
        assert _keys(connect("s3://b", self.LOCAL)) == ("D", "ds%(x)s", None)
        assert _keys(connect("s3://b", {**self.LOCAL, "profile": "work"})) == ("W", "ws", "wt")
        remote = connect("s3://b", {"profile": "work"})
        assert isinstance(remote, Bucket)
        assert remote._store.config["region"] == "eu-west-1"  # type: ignore[typeddict-item]
        assert remote._store.config["endpoint"] == "http://127.0.0.1:2"  # type: ignore[typeddict-item]
        for name, value in (("ACCESS_KEY_ID", "E"), ("SECRET_ACCESS_KEY", "es"), ("SESSION_TOKEN", "et")):
            monkeypatch.setenv(f"AWS_{name}", value)
        assert _keys(connect("s3://b", self.LOCAL)) == ("E", "es", "et")
        assert _keys(connect("s3://b", {**self.LOCAL, "access_key_id": "O", "secret_access_key": "os"})) == (
            "O",
            "os",
            None,
        )
        assert _keys(connect("s3://b", {**self.LOCAL, "profile": "work"})) == ("W", "ws", "wt")
        with pytest.raises(BadInput, match="no profile 'play'"):
            connect("s3://b", {**self.LOCAL, "profile": "play"})

    def test_a_profile_that_needs_a_login_says_how(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        config = tmp_path / "config"
        config.write_text("[profile sso]\nsso_session = us\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        with pytest.raises(Denied, match="'sso'") as caught:
            connect("s3://b", {"profile": "sso"})
        assert "aws configure export-credentials --profile sso" in caught.value.hint
        config.write_text("aws_secret_access_key = canary\n")
        with pytest.raises(BadInput) as broken:
            connect("s3://b", {"profile": "sso"})
        assert "canary" not in f"{broken.value} {broken.value.hint}"

    def test_options_that_are_not_honoured_are_refused(self) -> None:
        with pytest.raises(BadInput, match="acl"):
            connect("s3://b", {**self.LOCAL, "access_key_id": "a", "secret_access_key": "b", "acl": "public-read"})

    @pytest.mark.needs("moto_server")
    def test_a_bucket_that_is_not_there(self, tmp_path: Path) -> None:
        with servers.s3(tmp_path) as port:
            options = {
                "endpointurl": f"127.0.0.1:{port}",
                "use_ssl": "false",
                "access_key_id": "a",
                "secret_access_key": "b",
            }
            remote = connect("s3://nowhere", options)
            errors = [outcome.error for outcome in remote.upload([Upload("a/b", b"x", 1)], lambda amount: None)]
            with pytest.raises(Missing, match="NoSuchBucket"):
                list(remote.list())
            with pytest.raises(Missing, match="NoSuchBucket"):
                remote.read("a/b")
            assert isinstance(errors[0], Missing)
            assert "NoSuchBucket" in errors[0].message


class TestBuckets:
    def test_many_are_listed_and_few_are_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with stand_ins.gcs() as (port, kept):
            options = {"endpointurl": f"http://127.0.0.1:{port}", "access_token": servers.SECRET}
            remote = connect(f"gs://{servers.BUCKET}/deep/er", options)
            keys = [f"files/md5/{at % 16:02x}/{at:030x}" for at in range(800)]
            kept.blobs.update({f"deep/er/{key}": b"x" for key in keys[::2]})
            asked: list[str] = []
            plain = Bucket.stat
            monkeypatch.setattr(Bucket, "stat", lambda self, key: asked.append(key) or plain(self, key))
            assert remote.has(keys) == set(keys[::2])
            assert asked == []
            assert remote.has(keys[:10]) == set(keys[:10:2])
            assert sorted(asked) == sorted(keys[:10])
            kept.blobs.update({f"deep/er/files/md5/00/{at:030x}": b"" for at in range(10**6, 10**6 + 9000)})
            asked.clear()
            some = [*(f"files/md5/{at:02x}/x" for at in range(1, 250)), keys[0]]
            assert remote.has(some) == {keys[0]}
            assert kept.faults == []

    def test_more_than_a_page_is_listed(self) -> None:
        with stand_ins.gcs() as (port, kept):
            options = {"endpointurl": f"http://127.0.0.1:{port}", "access_token": servers.SECRET}
            kept.blobs.update({f"a/{at:05}": b"xy" for at in range(2_500)} | {"ab/none": b""})
            remote = connect(f"gs://{servers.BUCKET}", options)
            assert len(list(remote.list("a"))) == 2_500
            assert len(list(remote.list())) == 2_501
            remote.delete([f"a/{at:05}" for at in range(2_000)])
            assert len(kept.blobs) == 501

    @pytest.mark.parametrize(
        ("kind", "text", "code", "expected"),
        [
            ("GenericError", "status code: 503 Service Unavailable: <Code>SlowDown</Code>", "SlowDown", Busy),
            ("GenericError", "status code: 429 Too Many", "", Busy),
            ("GenericError", "status code: 500 Internal", "InternalError", Unreachable),
            ("PermissionDeniedError", "status code: 403", "AccessDenied", Denied),
            ("GenericError", "status code: 400", "ExpiredToken", Denied),
            ("GenericError", "status code: 404", "NoSuchBucket", Missing),
            ("FileNotFoundError", "status code: 404", "NoSuchKey", Missing),
            ("GenericError", "invalid peer certificate: UnknownIssuer", "", Unreachable),
            ("GenericError", "dns error: failed to lookup address", "", Unreachable),
            ("GenericError", "Error getting credentials from instance metadata", "", Denied),
            ("GenericError", "nothing that anybody knows", "", Unreachable),
        ],
    )
    def test_answers_are_understood(self, kind: str, text: str, code: str, expected: type[Error]) -> None:
        error = understood(kind, text, code, "s3://b: k", Missing("k"))
        assert type(error) is expected
        assert error.hint or expected is Missing

    def test_azure_reads_a_connection_string(self) -> None:
        with pytest.raises(BadInput, match="no storage account"):
            connect("azure://data", {})
        with pytest.raises(BadInput, match="names no account") as caught:
            connect("azure://data", {"connection_string": "AccountKey=canary"})
        assert "canary" not in str(caught.value)
        with pytest.raises(Denied, match="no credentials"):
            connect("azure://data", {"account_name": "a", "exclude_managed_identity_credential": "true"})
        said = "DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=a2V5;EndpointSuffix=core.windows.net"
        remote = connect("azure://data/x", {"connection_string": said})
        assert isinstance(remote, Bucket)
        assert remote._store.config["endpoint"] == "https://acc.blob.core.windows.net"  # type: ignore[typeddict-item]
        connect("abfss://data@acc.dfs.core.windows.net/x", {"sas_token": "?sv=1&sig=canary"})

    def test_gcs_reads_a_key_file(self, tmp_path: Path) -> None:
        file = tmp_path / "key.json"
        with pytest.raises(BadInput, match="No such file"):
            connect("gs://data", {"credentialpath": str(file)})
        file.write_text("canary")
        with pytest.raises(BadInput, match="no key file") as caught:
            connect("gs://data", {"credentialpath": str(file)})
        assert "canary" not in str(caught.value)
        with pytest.raises(Denied, match="no credentials"):
            connect("gs://data", {})
        connect("gs://data", {"allow_anonymous_login": "true"})


class TestLocal:
    def test_modes_are_those_of_dvc(self, tmp_path: Path) -> None:
        before = os.umask(0o027)
        try:
            send(connect(str(tmp_path / "plain"), {}), {"files/md5/aa/b": b"x", "files/md5/aa/c": bytes(2 << 20)})
            send(connect(str(tmp_path / "group"), {"shared": "group"}), {"files/md5/aa/b": b"x"})
        finally:
            os.umask(before)
        for name, mode in (("plain", 0o750), ("group", 0o2775)):
            for folder in ("files", "files/md5", "files/md5/aa"):
                assert stat.S_IMODE((tmp_path / name / folder).stat().st_mode) == mode
            assert stat.S_IMODE((tmp_path / name / "files/md5/aa/b").stat().st_mode) == 0o444
        assert stat.S_IMODE((tmp_path / "plain/files/md5/aa/c").stat().st_mode) == 0o444
        assert [path.name for path in (tmp_path / "plain").iterdir()] == ["files"]

    def test_what_a_killed_upload_left_is_swept_unless_it_lives(self, tmp_path: Path) -> None:
        left, living = tmp_path / f"{local.ASIDE}left", tmp_path / f"{local.ASIDE}living"
        for folder in (left, living):
            (folder / "files").mkdir(parents=True)
            (folder / "files" / "half").write_bytes(b"ha")
        lock = os.open(living, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        remote = connect(str(tmp_path), {})
        assert list(remote.list()) == []
        send(remote, {"files/md5/aa/b": b"x"})
        os.close(lock)
        assert not left.exists()
        assert living.exists()
        assert [found.key for found in remote.list()] == ["files/md5/aa/b"]

    def test_a_folder_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        remote = connect(str(tmp_path / "file"), {})
        assert remote.has(["a/b"]) == set()
        assert remote.stat("a/b") is None
        outcomes = list(remote.upload([Upload("a/b", b"x", 1)], lambda amount: None))
        assert isinstance(outcomes[0].error, Error)

    def test_a_full_disk_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        remote = connect(str(tmp_path / "remote"), {})
        send(remote, {"files/md5/00/a": b"x"})

        def full(*arguments: object, **more: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(local, "_write_one", full)
        items = [Upload(f"files/md5/{at:02x}/b", b"x", 1) for at in range(5)]
        outcomes = list(remote.upload(items, lambda amount: None))
        assert [type(outcome.error) for outcome in outcomes] == [Busy] * 5
        assert [found.key for found in remote.list()] == ["files/md5/00/a"]
        assert [path.name for path in (tmp_path / "remote").iterdir()] == ["files"]

    def test_a_crowded_folder_is_not_listed_for_few(self, tmp_path: Path) -> None:
        remote = connect(str(tmp_path), {})
        send(remote, {f"files/md5/{at:02x}/{name}": b"" for at in range(3) for name in range(50)})
        keys = [f"files/md5/{at:02x}/{name}" for at in range(3) for name in ("0", "none")]
        assert remote.has(keys) == {key for key in keys if key.endswith("/0")}

    def test_keys_of_several_depths(self, tmp_path: Path) -> None:
        remote = connect(f"file://{tmp_path}/r", {})
        blobs = {"top": b"1", "files/a": b"2", "files/md5/aa/b": b"3", "files/md5/c": b"4"}
        send(remote, blobs)
        send(remote, {**blobs, "files/md5/aa/d": b"5"})
        assert {found.key for found in remote.list()} == {*blobs, "files/md5/aa/d"}

    def test_two_uploads_at_once_agree(self, tmp_path: Path) -> None:
        blobs = {f"files/md5/{at % 8:02x}/{at}": bytes([at % 256]) * 500 for at in range(400)}
        errors: list[object] = []

        def work() -> None:
            remote = connect(str(tmp_path / "r"), {})
            items = [Upload(key, data, len(data)) for key, data in blobs.items()]
            errors.extend(outcome.error for outcome in remote.upload(items, lambda amount: None))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == [None] * 1600
        remote = connect(str(tmp_path / "r"), {})
        assert {found.key: remote.read(found.key) for found in remote.list()} == blobs


def _certificate(folder: Path) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - dt.timedelta(1)).not_valid_after(now + dt.timedelta(9))
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    done = made.add_extension(alternative, critical=False).sign(key, hashes.SHA256())
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(done.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    return files


@contextmanager
def over_tls(folder: Path) -> Iterator[tuple[int, Path]]:
    """A server that answers every GET with two bytes, with a certificate that nobody signed."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
            self.send_header("ETag", '"x"')
            self.end_headers()
            self.wfile.write(b"hi")

        def log_message(self, *arguments: object) -> None:
            pass

    certificate, key = _certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = stand_ins._Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1], certificate
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class TestWeb:
    OPTIONS: ClassVar = {"auth": "basic", "user": "mk", "password": servers.SECRET, "method": "PUT"}

    def test_it_does_not_go_to_another_host(self) -> None:
        with stand_ins.web() as (port, kept), stand_ins.web() as (other, elsewhere):
            remote = connect(f"http://127.0.0.1:{port}/a", self.OPTIONS)
            kept.elsewhere = f"http://127.0.0.1:{other}"
            elsewhere.blobs["/a/b"] = b"from elsewhere"
            for work in (lambda: remote.read("b"), lambda: remote.stat("b"), lambda: remote.delete(["b"])):
                with pytest.raises(Denied, match="another host"):
                    work()
            outcome = next(iter(remote.upload([Upload("c", b"x", 1)], lambda amount: None)))
            assert isinstance(outcome.error, Denied)
            assert elsewhere.blobs == {"/a/b": b"from elsewhere"}
            kept.elsewhere = f"http://127.0.0.1:{port}"
            with pytest.raises(Unreachable, match="redirected"):
                remote.read("b")
            remote.close()

    def test_passwords_come_from_the_environment_or_the_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with stand_ins.web() as (port, kept):
            kept.blobs["/a/b"] = b"x"
            with pytest.raises(Denied, match="no password") as caught:
                connect(f"http://127.0.0.1:{port}/a", {"auth": "basic", "user": "mk"})
            assert "MODELKEEP_HTTP_PASSWORD" in caught.value.hint
            remote = connect(f"http://mk:canary%2Btests@127.0.0.1:{port}/a", {})
            assert remote.read("b") == b"x"
            assert "canary" not in repr(remote)
            remote.close()
            monkeypatch.setenv("MODELKEEP_HTTP_PASSWORD", servers.SECRET)
            remote = connect(f"http://127.0.0.1:{port}/a", {"user": "mk"})
            assert remote.read("b") == b"x"
            remote.close()

    @pytest.mark.parametrize(
        "options",
        [
            {"auth": "digest"},
            {"bearer_token_command": "touch owned"},
            {"method": "GET"},
            {"password": "a\nb", "auth": "custom", "custom_auth_header": "X-Key"},
        ],
    )
    def test_options_that_are_not_honoured_are_refused(self, options: dict[str, str]) -> None:
        with pytest.raises(BadInput):
            connect("http://127.0.0.1:1/a", options)

    def test_certificates_are_checked(self, tmp_path: Path) -> None:
        with over_tls(tmp_path) as (port, certificate):
            for options in ({}, {"ssl_verify": "true"}):
                with pytest.raises(Denied, match="not trusted") as caught:
                    connect(f"https://127.0.0.1:{port}/a", options).read("b")
                assert "ssl_verify" in caught.value.hint
            for said in (str(certificate), "false"):
                remote = connect(f"https://127.0.0.1:{port}/a", {"ssl_verify": said})
                assert remote.read("b") == b"hi"
                remote.close()
            with pytest.raises(BadInput, match="no PEM"):
                connect(f"https://127.0.0.1:{port}/a", {"ssl_verify": str(tmp_path / "key.pem")})

    def test_certificates_of_buckets_are_checked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(objectstore.RETRY, "tries", 1)
        keys = {"access_key_id": "a", "secret_access_key": "b"}
        with over_tls(tmp_path) as (port, certificate):
            url = f"https://127.0.0.1:{port}"
            with pytest.raises(Unreachable, match="not trusted"):
                connect("s3://bucket", {**keys, "endpointurl": url}).read("b")
            for said in (str(certificate), "false"):
                remote = connect("s3://bucket", {**keys, "endpointurl": url, "ssl_verify": said})
                assert remote.read("b") == b"hi"

    def test_old_leftovers_are_swept(self, tmp_path: Path) -> None:
        with servers.webdav(tmp_path) as port:
            aside = tmp_path / "x" / ".modelkeep-incoming"
            aside.mkdir(parents=True)
            for name, age_s in (("old", 100_000), ("young", 100)):
                (aside / name).write_bytes(b"ha")
                os.utime(aside / name, (time.time() - age_s,) * 2)
            remote = connect(f"webdav://127.0.0.1:{port}/dav/x", {"user": "mk", "password": servers.SECRET})
            send(remote, {"files/md5/aa/b": b"x"})
            assert [path.name for path in aside.iterdir()] == ["young"]
            assert [found.key for found in remote.list()] == ["files/md5/aa/b"]
            remote.close()


@pytest.mark.needs("sshd")
class TestSsh:
    def test_only_known_hosts_are_spoken_to(self, tmp_path: Path) -> None:
        with servers.sshd(tmp_path) as port:
            options = {"keyfile": str(tmp_path / "user"), "port": str(port)}
            url = f"ssh://127.0.0.1{tmp_path}/store"
            known = tmp_path / ".ssh" / "known_hosts"
            known.parent.mkdir()
            for line in ("", f"[127.0.0.1]:{port} {(tmp_path / 'stranger.pub').read_text()}"):
                known.write_text(line)
                with pytest.raises(Denied, match="host key is not known") as caught:
                    connect(url, options).read("a/b")
                assert f"ssh-keyscan -p {port} 127.0.0.1 >> ~/.ssh/known_hosts" in caught.value.hint
            known.write_text(f"[127.0.0.1]:{port} {(tmp_path / 'host.pub').read_text()}")
            remote = connect(url, options)
            (tmp_path / "store/.modelkeep-incoming").mkdir(parents=True)
            (tmp_path / "store/.modelkeep-incoming/old").write_bytes(b"ha")
            os.utime(tmp_path / "store/.modelkeep-incoming/old", (1, 1))
            send(remote, {"a/b": b"x"})
            assert stat.S_IMODE((tmp_path / "store/a/b").stat().st_mode) == 0o444
            assert list((tmp_path / "store/.modelkeep-incoming").iterdir()) == []
            remote.close()

    def test_a_password_that_is_asked_for_comes_from_the_environment(self) -> None:
        with pytest.raises(Denied, match="no password") as caught:
            connect("ssh://127.0.0.1:1/x", {"ask_password": "true"}).read("a")
        assert "MODELKEEP_SSH_PASSWORD" in caught.value.hint


def test_thousands_of_small_blobs_are_sent_at_once_and_each_fault_is_told_by_itself(tmp_path: Path) -> None:
    heard: list[int] = []
    blobs: dict[str, Path] = {}
    for number in range(2300):
        data = b"%04d" % number
        blobs[f"files/md5/{number % 256:02x}/{number:030x}"] = tmp_path / data.decode()
        (tmp_path / data.decode()).write_bytes(data)
    (gone, missing), (short, cut) = list(blobs.items())[7:9]
    missing.unlink()
    cut.write_bytes(b"1")
    remote = Local(str(tmp_path / "remote"), {})
    told = {
        one.key: one.error for one in remote.upload([Upload(key, path, 4) for key, path in blobs.items()], heard.append)
    }
    assert told.keys() == blobs.keys()
    assert {key for key, error in told.items() if error is not None} == {gone, short}
    assert remote.has(list(blobs)) == blobs.keys() - {gone, short}
    assert sum(heard) == 4 * 2298
    assert all(remote.read(key) == path.read_bytes() for key, path in blobs.items() if key not in {gone, short})
    assert not list((tmp_path / "remote").glob(".*"))


def test_many_small_blobs_of_a_folder_are_hashed_on_their_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelkeep.store.remotes.local.MANY", 100)
    monkeypatch.setattr("modelkeep.store.forked.MANY", 100)
    blobs = {f"k{number:03d}": os.urandom(number) for number in range(300)} | {"large": os.urandom(2 << 20)}
    store, here = tmp_path / "store", tmp_path / "here"
    store.mkdir()
    here.mkdir()
    for key, data in blobs.items():
        (store / key).write_bytes(data)
    (here / "k200").write_bytes(blobs["k200"][:50])  # an earlier attempt began with it
    (here / "k201").write_bytes(blobs["k201"])
    moved: list[int] = []
    items = [Download(key, str(here / key), None) for key in [*blobs, "absent"]]
    told = {one.key: one for one in Local(str(store), {}).download(items, moved.append)}
    assert isinstance(told.pop("absent").error, Missing)
    assert told.keys() == blobs.keys()
    for key, data in blobs.items():
        assert (here / key).read_bytes() == data
        digest = told[key].digest
        if key in {"k200", "k201"}:
            assert digest is None  # not all of its bytes passed by
        else:
            assert digest is not None
            assert (digest.md5, digest.size) == (hashlib.md5(data).hexdigest(), len(data))
    assert sum(moved) == sum(map(len, blobs.values())) - 50 - 201
