"""Azure Blob Storage."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelkeep.core.errors import BadInput, Denied
from modelkeep.core.secret import Secret
from modelkeep.store.objectstore import Bucket, settings
from modelkeep.store.options import Options
from modelkeep.store.remote import Remote

if TYPE_CHECKING:
    from obstore.store import AzureConfig

_HINT = (
    "Set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_KEY, or AZURE_STORAGE_SAS_TOKEN;"
    " for a public container: modelkeep remote modify NAME allow_anonymous_login true"
)


class Azure(Bucket):
    """A folder of a container.

    Credentials come from the options, the environment, the keyring, or, at Azure's own address, from the machine's
    identity, in this order.

    Args:
        url: `azure://container/folder`.
        options: DVC's, such as `account_name`, `connection_string`.
    """

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        from obstore.store import AzureStore

        parts = urlsplit(url)
        container, _, host = parts.netloc.partition("@")
        if not container:
            raise BadInput(f"{parts.scheme}:// names no container", hint="Write azure://container/folder.")
        name = f"azure://{container}{parts.path}"
        given = Options(name, options)
        said = _connection(given.secret("connection_string", "AZURE_STORAGE_CONNECTION_STRING"))
        account = given.text("account_name") or host.partition(".")[0] or said.get("accountname", "")
        account = account or given.text("", "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT")
        if not account:
            raise BadInput(f"{name}: no storage account", hint="modelkeep remote modify NAME account_name ACCOUNT")
        endpoint = _endpoint(said, account)
        config: AzureConfig = {"container_name": container, "account_name": account}
        if endpoint:
            config["endpoint"] = endpoint
        _identify(config, given, said, name)
        store = AzureStore(config=config, **settings(given, http=endpoint.startswith("http://")))
        super().__init__(store, name, parts.path, given)


def _connection(secret: Secret) -> dict[str, str]:
    """Gives the parts of a connection string, by their names in small letters."""
    pairs = (part.partition("=") for part in secret.reveal().split(";") if part.strip())
    found = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if found and not found.keys() & {"accountname", "blobendpoint"}:
        raise BadInput("connection_string names no account", hint="Copy it whole from the Azure portal.")
    return found


def _endpoint(said: Mapping[str, str], account: str) -> str:
    if said.get("blobendpoint"):
        return said["blobendpoint"].rstrip("/")
    if said.get("endpointsuffix"):
        return f"{said.get('defaultendpointsprotocol', 'https')}://{account}.blob.{said['endpointsuffix']}"
    return ""


def _identify(config: AzureConfig, given: Options, said: Mapping[str, str], name: str) -> None:
    if given.flag("allow_anonymous_login"):
        config["skip_signature"] = True
        return
    key = said.get("accountkey") or given.secret("account_key", *_KEYS).reveal()
    token = said.get("sharedaccesssignature") or given.secret("sas_token", *_TOKENS).reveal()
    client = given.secret("client_secret", "AZURE_CLIENT_SECRET").reveal()
    if key:
        config["account_key"], config["credential_type"] = key, "access_key"
    elif token:
        config["sas_key"], config["credential_type"] = token.removeprefix("?"), "sas_token"
    elif client:
        config["client_secret"], config["credential_type"] = client, "client_secret"
        config["client_id"] = given.text("client_id", "AZURE_CLIENT_ID")
        config["tenant_id"] = given.text("tenant_id", "AZURE_TENANT_ID")
    elif "endpoint" in config or given.flag("exclude_managed_identity_credential"):
        raise Denied(f"{name}: no credentials", hint=_HINT)
    elif os.environ.get("AZURE_FEDERATED_TOKEN_FILE"):
        config["credential_type"] = "workload_identity"
    else:
        config["credential_type"] = "managed_identity"


_KEYS = ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_KEY")
_TOKENS = ("AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY")

plugin: type[Remote] = Azure
