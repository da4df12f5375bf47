"""Every setting of the service: one class, read from the environment (prefix ``DD_``).

A secret may also be given as the path of a file that holds it (``DD_PEPPER_FILE``), as container
orchestrators do.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit, urlunsplit

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "DD_"
FROM_FILE = ("database_url", "broker_url", "storage_url", "pepper", "oidc_client_secret")


class SecretFiles(PydanticBaseSettingsSource):
    """Settings whose value stands in a file named by ``DD_<NAME>_FILE``."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - pydantic's signature
        """The value of one field, or ``None`` where no file is named.

        Raises:
            ValueError: the value is given both directly and as a file, or the file cannot be read.
        """
        variable = f"{PREFIX}{field_name.upper()}"
        path = os.environ.get(f"{variable}_FILE")
        if field_name not in FROM_FILE or path is None:
            return None, field_name, False
        if variable in os.environ:
            raise ValueError(f"give {variable} or {variable}_FILE, not both")
        try:
            return Path(path).read_text("utf-8").strip(), field_name, False
        except OSError as error:
            raise ValueError(f"{variable}_FILE names {path}, which cannot be read: {error.strerror}") from error

    def __call__(self) -> dict[str, Any]:
        """The values of all settings that are given as files."""
        found = {name: self.get_field_value(None, name)[0] for name in FROM_FILE}
        return {name: value for name, value in found.items() if value is not None}


class Settings(BaseSettings):
    """Settings of the API and the workers; the defaults are the embedded service on one machine."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    home: Path = Field(
        default_factory=lambda: user_data_path("ddservice"),
        description="State folder: database, broker, artifacts, caches, key.",
    )
    data_root: Path = Field(
        default_factory=lambda data: data["home"] / "data", description="Where named datasets are looked for."
    )
    data_root_s: float = Field(
        10, ge=0, description="Seconds between a worker's looks at what lies in the data root; 0 for none."
    )
    runs_dir: Path = Field(
        default_factory=lambda data: data["home"] / "runs", description="Working folders of running jobs."
    )
    cache_dir: Path = Field(
        default_factory=lambda data: data["home"] / "cache",
        description="Trained networks, decoded datasets and compiled code that jobs share.",
    )
    backbones_dir: Path = Field(
        default_factory=lambda data: data["home"] / "backbones",
        description="Weights of networks that others trained (`.safetensors`), which jobs name. API and workers look "
        "there.",
    )
    cache_limit_gb: float = Field(
        100, ge=0, description="Gigabytes that a worker leaves in its cache after a job, the last hours' use apart."
    )
    database_url: str = Field(
        default_factory=lambda data: f"sqlite:///{data['home'] / 'ddservice.sqlite3'}",
        description="SQLAlchemy URL: sqlite:///… or postgresql+psycopg://….",
        repr=False,
    )
    row_security: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether PostgreSQL itself shows a request its tenant's rows alone; auto: where its user may.",
    )
    broker_url: str = Field("filesystem://", description="Celery broker: filesystem:// or redis://….", repr=False)
    storage_url: str = Field(
        default_factory=lambda data: str(data["home"] / "artifacts"),
        description="Artifacts: a folder, or s3://bucket/prefix.",
        repr=False,
    )

    host: str = Field("127.0.0.1", description="Address that the API binds.")
    port: int = Field(8000, ge=0, le=65_535, description="Port of the API; 0 takes a free one.")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        ("127.0.0.1", "localhost", "::1"),
        description="Host names that requests may use, comma-separated; * allows any (behind a proxy that checks).",
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Addresses or networks of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed, "
        "comma-separated. Behind TLS, name the proxy here: cookies are `Secure` and links are https then.",
    )
    auth: bool = Field(True, description="Whether requests need an API key; off is refused beyond loopback.")
    environment: str = Field("local", pattern=r"^[a-z0-9]{1,16}$", description="Name inside the API keys made here.")
    pepper: SecretStr | None = Field(
        None,
        description="Secret that API keys, cookies and cursors are signed with. Default: made in the state folder.",
    )
    session_s: int = Field(43_200, ge=60, description="Seconds a dashboard session lasts.")
    login_link_s: int = Field(300, ge=10, description="Seconds a login link can be used.")
    oidc_issuer: str | None = Field(
        None,
        max_length=255,
        description="Address of an OpenID Connect provider at which members sign in. Default: API keys alone.",
    )
    oidc_client_id: str | None = Field(None, description="What the provider calls this service.")
    oidc_client_secret: SecretStr | None = Field(
        None, description="Secret that the provider gave this service. Default: none, as for a public client."
    )
    oidc_scopes: str = Field(
        "openid email", description="What is asked of the provider, separated by blanks; `openid` is needed."
    )
    oidc_name: str = Field(
        "OpenID Connect", min_length=1, max_length=60, description="What the sign-in page calls the provider."
    )
    oidc_contact: str | None = Field(
        None, max_length=200, description="Contact for users who are a member of no tenant, such as an address."
    )
    oidc_timeout_s: float = Field(5, gt=0, le=60, description="Seconds that the provider has for an answer.")
    body_limit: int = Field(1 << 20, ge=1024, description="Largest request body in bytes.")
    idempotency_s: int = Field(86_400, ge=60, description="Seconds an Idempotency-Key is remembered.")
    publish_limit_s: float = Field(0.25, gt=0, description="Seconds a submission may spend on waking a worker.")
    shutdown_s: int = Field(10, ge=1, description="Seconds the API waits for open requests when it stops.")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="Log lines for people or machines; auto: console on a terminal."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe level logged.")

    upload_limit_gb: float = Field(50, gt=0, description="Largest upload, in gigabytes.")
    upload_keep_s: int = Field(
        604_800, ge=60, description="Seconds an upload is kept that is not complete or was not taken in."
    )
    dataset_quota_gb: float = Field(
        200, gt=0, description="Gigabytes that a tenant's own sets and uploads may have together."
    )
    ingest_memory_gb: float = Field(8, gt=0, description="Memory that reading uploaded files may use, in gigabytes.")
    ingest_runtime_s: int = Field(21_600, ge=1, description="Seconds that taking images in may run.")

    require_if_match: bool = Field(
        False, description="Whether a job is changed only by requests that name its version (`If-Match`)."
    )
    rate_requests: int = Field(6000, ge=0, description="Requests a minute of an API key; 0 for any number.")
    rate_submissions: int = Field(
        1200, ge=0, description="Submissions of jobs and studies a minute of an API key; 0 for any number."
    )
    rate_uploads: int = Field(3000, ge=0, description="Requests a minute that send images; 0 for any number.")
    rate_failures: int = Field(60, ge=0, description="Wrong keys and links a minute from an address; 0 for any number.")
    max_streams: int = Field(20, ge=0, description="Event streams of a key at once, in each process; 0 for any number.")
    header_timeout_s: float = Field(20, gt=0, description="Seconds that a client has to send the head of a request.")
    body_timeout_s: float = Field(
        60, gt=0, description="Seconds that a body may keep the service waiting; each KiB of it gives one more."
    )

    max_queued: int = Field(1000, ge=1, description="Unfinished jobs a tenant may have.")
    max_work_hours: float = Field(
        0, ge=0, description="Hours of workers that a tenant's unfinished jobs may still need, as estimated; 0 for any."
    )
    max_attempts: int = Field(3, ge=1, le=100, description="Failures after which a job is given up.")
    max_runtime_s: int = Field(86_400, ge=1, description="Default and largest `limits.max_runtime_s` of a job.")
    max_queue_s: int = Field(604_800, ge=1, description="Default and largest `limits.max_queue_s` of a job.")

    keep_jobs_days: float = Field(
        0, ge=0, description="Days after its end that a job is kept, its results included; 0 for ever."
    )
    keep_checkpoints_days: float = Field(
        30, ge=0, description="Days after its end that a job can be extended or retried; 0 for ever."
    )
    keep_details_days: float = Field(
        0,
        ge=0,
        description="Days after its end that all readings and events of a job without a saved state are kept; 0 for "
        "ever.",
    )
    keep_snapshots_days: float = Field(
        0, ge=0, description="Days after its end that the pictures on the way of a job are kept; 0 for ever."
    )

    webhook_networks: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Networks beside the public internet that webhooks may reach, by http and on any port too, such "
        "as 10.1.0.0/16, comma-separated.",
    )
    webhook_timeout_s: float = Field(10, gt=0, le=60, description="Seconds that a receiver of webhooks has to answer.")
    webhook_retries_s: Annotated[tuple[float, ...], NoDecode] = Field(
        (5, 300, 1800, 7200, 18_000, 36_000, 50_400),
        description="Seconds before each new attempt to deliver a message, give or take a tenth, comma-separated.",
    )
    webhook_disable_days: float = Field(
        5, gt=0, description="Days of nothing but failures after which a webhook is disabled."
    )
    webhook_keep_days: float = Field(30, ge=2, description="Days that messages to webhooks are kept.")
    max_webhooks: int = Field(20, ge=0, description="Webhooks that a tenant may have.")

    device_class: Literal["auto", "cpu", "cuda"] = Field("auto", description="Kind of device that a worker offers.")
    reconciler: Literal["embedded", "external"] = Field(
        "embedded", description="Whether workers run the reconciler themselves."
    )
    engine_module: str = Field("worker.engine_main", description="Module that a worker runs as the engine process.")
    engine_preload: bool = Field(
        True,
        description="Whether workers on Linux keep a process that has imported the engine, and fork engines from it.",
    )
    engine_threads: int | None = Field(None, ge=1, description="CPU threads of an engine. Default: the library's own.")
    engine_memory_gb: float | None = Field(
        None, gt=0, description="Main memory of an engine, in gigabytes. Default: nine tenths of what the machine has."
    )
    lease_s: float = Field(60, gt=0, description="Seconds a claim lasts without a heartbeat.")
    heartbeat_s: float = Field(10, gt=0, description="Seconds between two heartbeats of a running job.")
    poll_s: float = Field(1, gt=0, description="Seconds between two looks at what the user wants of a running job.")
    reconcile_s: float = Field(5, gt=0, description="Seconds between two rounds of the reconciler.")
    stop_grace_s: float = Field(60, gt=0, description="Seconds an engine gets to save its state before it is killed.")
    log_limit_mb: float = Field(
        32, gt=0, description="Megabytes that the log of a job may have; of more, the end of each attempt is kept."
    )
    stall_s: float = Field(
        600, gt=0, description="Seconds of an engine's silence before a warning; twelve times that ends it."
    )
    backoff_s: float = Field(30, ge=0, description="First pause before a failed job is tried again; it doubles.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then files that hold secrets."""
        return init_settings, env_settings, SecretFiles(settings_cls)

    @field_validator("allowed_hosts", "trusted_proxies", "webhook_networks", "webhook_retries_s", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("webhook_networks")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ipaddress.ip_network(network)
        return value

    @field_validator("webhook_retries_s")
    @classmethod
    def _pauses(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 <= pause <= 604_800 for pause in value):
            raise ValueError("each pause must be from 0 to 604800 seconds, such as 5,300,1800")
        return value

    @field_validator("home", "data_root", "runs_dir", "cache_dir", "backbones_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @model_validator(mode="after")
    def _safe(self) -> Settings:
        if not self.auth and not self.loopback:
            raise ValueError(
                f"DD_AUTH is off and DD_HOST is {self.host}: without API keys the service only binds to loopback; "
                "set DD_AUTH=true, or DD_HOST=127.0.0.1"
            )
        if self.heartbeat_s * 2 > self.lease_s:
            raise ValueError(
                f"DD_HEARTBEAT_S is {self.heartbeat_s:g} and DD_LEASE_S {self.lease_s:g}: "
                "a lease must outlast two heartbeats"
            )
        return self

    @model_validator(mode="after")
    def _provider(self) -> Settings:
        if self.oidc_issuer is None:
            return self
        fault = _fault_of_issuer(self.oidc_issuer)
        if fault is not None:
            raise ValueError(f"DD_OIDC_ISSUER is {self.oidc_issuer}: {fault}")
        if self.oidc_client_id is None:
            raise ValueError(
                "DD_OIDC_ISSUER is set and DD_OIDC_CLIENT_ID is not: set it to what the provider calls this service"
            )
        if "openid" not in self.oidc_scopes.split():
            raise ValueError(f"DD_OIDC_SCOPES is {self.oidc_scopes!r}: it must hold `openid`, as in `openid email`")
        if not self.auth:
            raise ValueError("DD_OIDC_ISSUER is set and DD_AUTH is off: nobody signs in then; leave one of them out")
        return self

    @property
    def loopback(self) -> bool:
        """Whether the API can be reached from this machine only."""
        return is_loopback(self.host)

    @property
    def embedded(self) -> bool:
        """Whether the database is SQLite, so that the API migrates it at its start."""
        return self.database_url.startswith("sqlite")

    @property
    def broker_dir(self) -> Path:
        """Folder of the ``filesystem://`` broker."""
        return self.home / "broker"

    @property
    def api_key_file(self) -> Path:
        """Where the first start leaves an API key for the clients of this machine."""
        return self.home / "api-key"

    def describe(self) -> Mapping[str, object]:
        """Every setting and its value, passwords masked, for people to read."""
        return {name: _mask(getattr(self, name)) for name in type(self).model_fields}


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name alone: nothing is looked up.

    >>> [is_loopback(host) for host in ("localhost", "127.0.0.1", "::1", "example.org")]
    [True, True, True, False]
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _fault_of_issuer(issuer: str) -> str | None:
    parts = urlsplit(issuer)
    if parts.query or parts.fragment or not parts.hostname:
        return "it must look like https://login.example.org, without ? and #"
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname)):
        return None
    return "it must begin with https://, or passwords and sessions could be read on the way; http:// is for loopback"


def explain(error: ValidationError) -> str:
    """What is wrong with the settings, one line each, without the value of any secret."""
    lines = []
    for fault in error.errors():
        name = str(fault["loc"][0]) if fault["loc"] else ""
        message = str(fault["msg"]).removeprefix("Value error, ")
        value = "" if name in FROM_FILE else f" is {fault['input']!r}"
        lines.append(f"{PREFIX}{name.upper()}{value}: {message}" if name else message)
    return "\n".join(lines)


def _mask(value: object) -> object:
    if isinstance(value, SecretStr):
        return "********"
    if not isinstance(value, str) or "://" not in value:
        return value
    parts = urlsplit(value)
    if parts.password is None:
        return value
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":********@")))
