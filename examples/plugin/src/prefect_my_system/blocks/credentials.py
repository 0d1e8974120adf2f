"""The block with the address of the system and its credentials."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from prefect.blocks.abstract import CredentialsBlock
from pydantic import AfterValidator, ConfigDict, Field, HttpUrl, PositiveFloat, SecretStr

from ..common import http, settings
from . import names


class MySystemCredentials(CredentialsBlock):
    """Address of the system and a token for it; creates HTTP clients.

    Example:
        Load it and send a request:

        ```python
        from prefect_my_system import MySystemCredentials

        credentials = MySystemCredentials.load("BLOCK_NAME")
        with credentials.get_client() as client:
            print(client.get("version").json())
        ```
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    _block_type_name: ClassVar[str | None] = f"{names.SYSTEM} Credentials"
    _block_type_slug: ClassVar[str | None] = f"{names.SLUG}-credentials"
    _logo_url: ClassVar[Any] = names.LOGO_URL
    _documentation_url: ClassVar[Any] = names.DOCUMENTATION_URL

    base_url: Annotated[HttpUrl, AfterValidator(http.base_url)] = Field(
        title="Base URL",
        description="Address such as https://example.com/api, without user or password.",
    )
    token: SecretStr = Field(
        title="Token",
        description="Bearer token, or block:NAME for the Secret block NAME that holds it.",
    )
    timeout_seconds: PositiveFloat = Field(
        default=30,
        title="Timeout in seconds",
        description="How long to wait for the system before a request fails or is retried.",
    )

    @classmethod
    def from_settings(cls) -> Self:
        """Create credentials from `PREFECT_INTEGRATIONS_...`, for work without a saved block.

        Raises:
            PermanentError: A setting is missing, or holds a value that does not fit.
        """
        return settings.read(cls)

    def get_client(self, *_: Any, rate_limit: str = "", **options: Any) -> http.Client:
        """Return a client whose paths begin at the base URL; close it after use.

        Args:
            rate_limit: Name of a global concurrency limit; each attempt takes a slot of it.
            options: Arguments of `httpx.Client`, which override those of the block.

        Raises:
            PermanentError: The token cannot be sent, or its Secret block does not exist.
        """
        return http.Client(self._policy(rate_limit), **(self._options() | options))

    def get_async_client(self, *, rate_limit: str = "", **options: Any) -> http.AsyncClient:
        """Return the same client for asynchronous code."""
        return http.AsyncClient(self._policy(rate_limit), **(self._options() | options))

    def _policy(self, rate_limit: str) -> http.Policy:
        return http.Policy(name=names.SYSTEM, rate_limit=rate_limit)

    def _options(self) -> dict[str, Any]:
        # How requests are authenticated. Others: `http.basic(user, password)`,
        # `http.header("X-API-Key", key)`, or any `auth` of httpx.
        auth = http.bearer(self.token)
        return {"base_url": str(self.base_url), "auth": auth, "timeout": self.timeout_seconds}
