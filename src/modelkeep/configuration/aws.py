"""How sources speak to AWS: one client per service, its refusals as our errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from modelkeep.core.errors import BadInput, Busy, Denied, Missing, Unreachable

if TYPE_CHECKING:
    from botocore.client import BaseClient  # type: ignore[import-untyped]

OPTIONS: Final = ("region", "endpoint", "profile", "poll")
_MISSING: Final = frozenset({"ParameterNotFound", "ResourceNotFoundException"})
_DENIED: Final = frozenset(
    {"AccessDeniedException", "UnrecognizedClientException", "ExpiredTokenException", "InvalidSignatureException"}
)
_BUSY: Final = frozenset({"ThrottlingException", "TooManyUpdates", "RequestLimitExceeded"})


def client(service: str, name: str, options: Mapping[str, str]) -> BaseClient:
    """Gives a client; credentials come from where AWS' own tools find them.

    Args:
        service: `ssm` or `secretsmanager`.
        name: what people see in errors.
        options: region, endpoint and profile.

    Raises:
        BadInput: boto3 is not installed, or there is no such profile.
    """
    try:
        import boto3  # type: ignore[import-untyped]
        from botocore.config import Config  # type: ignore[import-untyped]
        from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise BadInput(f"{name} needs boto3", hint="pip install 'modelkeep[sources]'") from None
    settings = Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 3, "mode": "standard"})
    try:
        session = boto3.Session(profile_name=options.get("profile"), region_name=options.get("region"))
        made: BaseClient = session.client(service, endpoint_url=options.get("endpoint"), config=settings)
    except (BotoCoreError, ValueError) as error:
        raise BadInput(f"{name}: {error}", hint="Add ?region=, or set AWS_REGION.") from None
    return made


@contextmanager
def told(name: str) -> Iterator[None]:
    """Turns what boto3 raises into our errors; nothing in them is a credential."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _MISSING:
            raise Missing(f"{name}: there is no such thing", hint="Is the name right, and the region?") from None
        if code in _DENIED or "AccessDenied" in code:
            raise Denied(f"{name} refuses: {code}", hint="Check the credentials and what they may read.") from None
        if code in _BUSY:
            raise Busy(f"{name} asks to wait: {code}") from None
        raise Unreachable(f"{name}: {code}", hint="It is asked again.") from None
    except NoCredentialsError:
        raise Denied(f"{name}: there are no credentials", hint="Set AWS_PROFILE or AWS_ACCESS_KEY_ID.") from None
    except BotoCoreError as error:
        raise Unreachable(f"{name}: {type(error).__name__}", hint="Is it reachable from here?") from None
