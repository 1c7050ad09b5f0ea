"""Amazon S3 and whatever speaks like it (MinIO, Ceph, R2 …)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from modelkeep.core.errors import BadInput, Denied
from modelkeep.store.objectstore import Bucket, settings
from modelkeep.store.options import Options
from modelkeep.store.remote import Remote

if TYPE_CHECKING:
    from configparser import RawConfigParser

    from obstore.store import S3Config

_AWS: Final = (".amazonaws.com", ".amazonaws.com.cn")
_UNSUPPORTED: Final = ("acl", "grant_read", "grant_read_acp", "grant_write_acp", "grant_full_control")
_HINT: Final = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws/credentials;"
    " for a public bucket: modelkeep remote modify NAME allow_anonymous_login true"
)


class S3(Bucket):
    """A folder of a bucket.

    Credentials come from the options, the environment, a profile, the keyring, or, at Amazon's own address, from the
    role of the machine, in this order.

    Args:
        url: `s3://bucket/folder`.
        options: DVC's, such as `endpointurl`, `region`, `profile`, `sse`.
    """

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        from obstore.store import S3Store

        parts = urlsplit(url)
        bucket = parts.netloc.rpartition("@")[2]
        if not bucket:
            raise BadInput(f"{parts.scheme}:// names no bucket", hint="Write s3://bucket/folder.")
        name = f"s3://{bucket}{parts.path}"
        given = Options(name, options)
        profile = _Profile(given)
        endpoint = (
            given.text("endpointurl", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL") or profile.get("endpoint_url")
        ).rstrip("/")
        if endpoint and "://" not in endpoint:
            endpoint = f"{'https' if given.flag('use_ssl', default=True) else 'http'}://{endpoint}"
        config: S3Config = {
            "bucket": bucket,
            "region": given.text("region", "AWS_REGION", "AWS_DEFAULT_REGION") or profile.get("region") or "us-east-1",
            "virtual_hosted_style_request": False,
        }
        if endpoint:
            config["endpoint"] = config["aws_endpoint_url_s3"] = endpoint
        _encrypt(config, given)
        _identify(config, given, profile, name, own=not endpoint or (urlsplit(endpoint).hostname or "").endswith(_AWS))
        store = S3Store(config=config, **settings(given, http=endpoint.startswith("http://")))
        super().__init__(store, name, parts.path, given)


def _encrypt(config: S3Config, given: Options) -> None:
    for option in _UNSUPPORTED:
        if given.text(option):
            raise BadInput(f"{option} cannot be set by modelkeep", hint="Set a policy on the bucket instead.")
    key = given.secret("sse_customer_key") if given.text("sse_customer_key") else None
    if key is not None:
        config["server_side_encryption"] = "sse-c"
        config["sse_customer_key_base64"] = key.reveal()
    elif given.text("sse"):
        config["server_side_encryption"] = given.text("sse")
    if given.text("sse_kms_key_id"):
        config["sse_kms_key_id"] = given.text("sse_kms_key_id")


def _identify(config: S3Config, given: Options, profile: _Profile, name: str, *, own: bool) -> None:
    if given.flag("allow_anonymous_login"):
        config["skip_signature"] = True
        return
    found = _given(given) or profile.keys() or _ring(given)
    if found:
        config["access_key_id"], config["secret_access_key"], config["session_token"] = found
        return
    profile.explain(name)
    if not own or os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        raise Denied(f"{name}: no credentials", hint=_HINT)


def _given(given: Options) -> tuple[str, str, str] | None:
    """Gives the keys of the options, else of the environment unless a profile is named; the two are never mixed."""
    if given.text("access_key_id") or given.text("secret_access_key"):
        names: tuple[tuple[str, ...], ...] = (("access_key_id",), ("secret_access_key",), ("session_token",))
    elif given.text("profile") or given.text("credentialpath"):
        return None
    else:
        names = (
            ("", "AWS_ACCESS_KEY_ID"),
            ("", "AWS_SECRET_ACCESS_KEY"),
            ("", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"),
        )
    access, secret, token = (given.secret(*one).reveal() if given.text(*one) else "" for one in names)
    return (access, secret, token) if access and secret else None


def _ring(given: Options) -> tuple[str, str, str] | None:
    access = given.keyring("access_key_id").reveal() or given.text("access_key_id", "AWS_ACCESS_KEY_ID")
    secret = given.keyring("secret_access_key").reveal()
    return (access, secret, given.keyring("session_token").reveal()) if access and secret else None


class _Profile:
    """One section of the files `~/.aws/credentials` and `~/.aws/config`."""

    def __init__(self, given: Options) -> None:
        self._named = given.text("profile", "AWS_PROFILE", "AWS_DEFAULT_PROFILE")
        self.name = self._named or "default"
        self._keys = given.text("credentialpath", "AWS_SHARED_CREDENTIALS_FILE", default="~/.aws/credentials")
        self._more = given.text("configpath", "AWS_CONFIG_FILE", default="~/.aws/config")
        self._found: dict[str, str] | None = None

    def get(self, key: str) -> str:
        if self._found is None:
            section = self.name if self.name == "default" else f"profile {self.name}"
            self._found = _section(self._more, section) | _section(self._keys, self.name)
            if self._named and not self._found:
                raise BadInput(f"no profile {self.name!r}", hint=f"Add [{self.name}] to {self._keys}.")
        return self._found.get(key, "")

    def keys(self) -> tuple[str, str, str] | None:
        access, secret = self.get("aws_access_key_id"), self.get("aws_secret_access_key")
        return (access, secret, self.get("aws_session_token")) if access and secret else None

    def explain(self, name: str) -> None:
        """Says what to do when the profile has credentials that only Amazon's own tool can turn into keys."""
        if any(self.get(key) for key in ("sso_session", "sso_start_url", "role_arn", "credential_process")):
            raise Denied(
                f"{name}: profile {self.name!r} holds no keys but a way to get them",
                hint=f'eval "$(aws configure export-credentials --profile {self.name} --format env)"',
            )


def _section(path: str, name: str) -> dict[str, str]:
    import configparser

    parser: RawConfigParser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(Path(path).expanduser().read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise BadInput(f"{path} cannot be read: {type(error).__name__}", hint="Mend or move that file.") from None
    return dict(parser[name]) if parser.has_section(name) else {}


plugin: type[Remote] = S3
