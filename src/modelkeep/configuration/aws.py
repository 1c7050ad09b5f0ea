"""How sources speak to AWS: one client per source, its refusals as our errors."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import BadInput, Busy, Denied, Error, Missing, Unreachable

if TYPE_CHECKING:
    from botocore.client import BaseClient  # type: ignore[import-untyped]
    from botocore.exceptions import ClientError  # type: ignore[import-untyped]

OPTIONS: Final = ("region", "endpoint", "profile", "poll")
_WHO: Final = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION")
_MISSING: Final = frozenset({"ParameterNotFound", "ResourceNotFoundException"})
_DENIED: Final = (
    "AccessDenied",
    "UnrecognizedClient",
    "InvalidClientToken",
    "ExpiredToken",
    "Signature",
    "AuthFailure",
)
_BUSY: Final = ("Throttl", "TooManyRequests", "TooManyUpdates", "RequestLimitExceeded")


class Aws:
    """A client of one service, made when it is first needed.

    Args:
        service: `ssm` or `secretsmanager`.
        name: what people see in errors.
        options: region, endpoint and profile; credentials come from where AWS' own tools find them.
    """

    def __init__(self, service: str, name: str, options: Mapping[str, str]) -> None:
        self._service, self._name = service, name
        self._options = dict(options)
        self._client: BaseClient | None = None
        self._making = threading.Lock()

    @contextmanager
    def told(self) -> Iterator[BaseClient]:
        """Lends the client; what it raises becomes our errors, see `told`."""
        with self._making:
            if self._client is None:
                self._client = client(self._service, self._name, self._options)
        with told(self._name):
            yield self._client

    def close(self) -> None:
        """Closes the client's connections."""
        if self._client is not None:
            self._client.close()


@lru_cache(maxsize=8)
def _shared(name: str, endpoint: str | None, who: tuple[str | None, ...]) -> BaseClient:
    """Gives one client for all references of a process that says who it is; making one takes 50 ms."""
    return client("secretsmanager", name, {"endpoint": endpoint} if endpoint else {})


def secret_text(identity: str, name: str) -> str | None:
    """Gives the text of one secret of Secrets Manager; None when it holds bytes.

    Args:
        identity: its name or ARN.
        name: what people see in errors.

    Raises:
        BadInput, Missing, Denied, Busy, Unreachable: see `client` and `told`.
    """
    endpoint = os.environ.get("AWS_ENDPOINT_URL_SECRETS_MANAGER") or os.environ.get("AWS_ENDPOINT_URL")
    asked = _shared("AWS Secrets Manager", endpoint, tuple(map(os.environ.get, _WHO)))
    with told(name):
        found: str | None = asked.get_secret_value(SecretId=identity).get("SecretString")
    return found


def client(service: str, name: str, options: Mapping[str, str]) -> BaseClient:
    """Gives a client; credentials come from where AWS' own tools find them.

    Args:
        service: `ssm` or `secretsmanager`.
        name: what people see in errors.
        options: region, endpoint and profile.

    Raises:
        BadInput: boto3 is not installed, or there is no such profile, region or endpoint.
    """
    try:
        import boto3  # type: ignore[import-untyped]
        from botocore.config import Config  # type: ignore[import-untyped]
        from botocore.exceptions import BotoCoreError
    except ModuleNotFoundError:
        raise BadInput(f"{name} needs boto3", hint="pip install 'modelkeep[sources]'") from None
    settings = Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 2, "mode": "standard"})
    region = options.get("region") or os.environ.get("AWS_REGION")  # boto3 itself reads AWS_DEFAULT_REGION alone
    try:
        session = boto3.Session(profile_name=options.get("profile"), region_name=region)
        made: BaseClient = session.client(service, endpoint_url=options.get("endpoint"), config=settings)
    except (BotoCoreError, ValueError) as error:
        raise BadInput(f"{name}: {error}", hint="Add ?region=, or set AWS_REGION.") from None
    return made


@contextmanager
def told(name: str) -> Iterator[None]:
    """Turns what boto3 raises into our errors; nothing in them is a credential.

    Raises:
        BadInput: AWS refuses what is asked.
        Missing: there is no such thing.
        Denied: the credentials are missing or wrong, or may not do this.
        Busy: AWS asks to wait.
        Unreachable: nobody answers, or AWS has a fault of its own.
    """
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

    try:
        yield
    except ClientError as error:
        raise _judged(error, name) from None
    except (NoCredentialsError, PartialCredentialsError):
        hint = "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        raise Denied(f"{name}: there are no credentials", hint=hint) from None
    except BotoCoreError as error:
        raise Unreachable(f"{name}: {type(error).__name__}", hint="Is it reachable from here?") from None


def _judged(error: ClientError, name: str) -> Error:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _MISSING:
        return Missing(f"{name}: there is no such thing", hint="Is the name right, and the region?")
    if any(word in code for word in _DENIED) or status in {401, 403}:
        return Denied(f"{name} refuses: {code}", hint="Check the credentials and what they may read.")
    if any(word in code for word in _BUSY) or status == 429:
        return Busy(f"{name} asks to wait: {code}", hint="It is asked again.")
    if 400 <= status < 500:
        return BadInput(f"{name}: {code}", hint="Is the path right?")
    return Unreachable(f"{name}: {code}", hint="It is asked again.")
