"""Google Cloud Storage, by its XML interface."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec

from modelkeep.core.errors import BadInput, Denied
from modelkeep.store.objectstore import Bucket, settings
from modelkeep.store.options import Options
from modelkeep.store.remote import Remote

if TYPE_CHECKING:
    from obstore.store import GCSConfig

_DEFAULT: Final = "~/.config/gcloud/application_default_credentials.json"
_HINT: Final = (
    "Set GOOGLE_APPLICATION_CREDENTIALS to a key file, or run: gcloud auth application-default login;"
    " for a public bucket: modelkeep remote modify NAME allow_anonymous_login true"
)


class Gcs(Bucket):
    """A folder of a bucket.

    Credentials come from the file that the options, the environment or `gcloud` name, from a token in
    CLOUDSDK_AUTH_ACCESS_TOKEN or the keyring, or, at Google's own address, from the machine, in this order.

    Args:
        url: `gs://bucket/folder`.
        options: DVC's, such as `credentialpath`, `endpointurl`.
    """

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        from obstore.store import GCSStore

        parts = urlsplit(url)
        bucket = parts.netloc
        if not bucket:
            raise BadInput(f"{parts.scheme}:// names no bucket", hint="Write gs://bucket/folder.")
        name = f"gs://{bucket}{parts.path}"
        given = Options(name, options)
        endpoint = given.text("endpointurl", "STORAGE_EMULATOR_HOST").rstrip("/")
        if endpoint and "://" not in endpoint:
            endpoint = f"http://{endpoint}"
        config: GCSConfig = {"bucket": bucket}
        if endpoint:
            config["base_url"] = endpoint
        _identify(config, given, name, own=not endpoint)
        store = GCSStore(config=config, **settings(given, http=endpoint.startswith("http://")))
        super().__init__(store, name, parts.path, given)


class _Key(msgspec.Struct):
    type: str = ""


def _identify(config: GCSConfig, given: Options, name: str, *, own: bool) -> None:
    if given.flag("allow_anonymous_login"):
        config["skip_signature"] = True
        return
    path = given.text("credentialpath", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT")
    token = "" if path else given.secret("access_token", "CLOUDSDK_AUTH_ACCESS_TOKEN", "GOOGLE_BEARER_TOKEN").reveal()
    if token:
        config["bearer_token"] = token
        return
    if not path and Path(_DEFAULT).expanduser().is_file():
        path = _DEFAULT
    if path:
        _key_file(config, path)
    elif not own or os.environ.get("NO_GCE_CHECK", "").lower() == "true":
        raise Denied(f"{name}: no credentials", hint=_HINT)


def _key_file(config: GCSConfig, path: str) -> None:
    """Takes a key file by its kind: a service account's, or what `gcloud` wrote for a person."""
    file = Path(path).expanduser()
    try:
        kind = msgspec.json.decode(file.read_bytes(), type=_Key).type
    except OSError as error:
        raise BadInput(f"credentialpath: {path}: {error.strerror}", hint="Check the path.") from None
    except msgspec.MsgspecError:
        raise BadInput(f"credentialpath: {path} is no key file", hint="Download it again as JSON.") from None
    if kind == "authorized_user":
        config["application_credentials"] = str(file)
    else:
        config["service_account"] = str(file)


plugin: type[Remote] = Gcs
