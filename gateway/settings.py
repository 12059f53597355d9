"""Every setting of the service, read once and then immutable: `gengfu.toml`, then `GENGFU_*` in the environment.

An environment name joins sections by two underscores: `GENGFU_BROKER__HOST`. Unknown keys are refused.
A test compares `docs/settings.md` and the README's table with this file.
"""

import os
import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel as Model
from pydantic import ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as UnreadableVariable

DEFAULT_FILE = Path("gengfu.toml")


class SettingsError(Exception):
    """The settings cannot be used; the text names each wrong key and what is permitted."""


class _Section(Model):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BrokerSettings(_Section):
    host: str = Field("127.0.0.1", description="Address of the MQTT broker.")
    port: int = Field(1883, ge=1, le=65535, description="Port of the MQTT broker; usually 8883 with TLS.")
    client_id: str = Field("gengfu", min_length=1, description="MQTT client id; the broker keeps the session under it.")
    username: str = Field("", description="User name at the broker; empty: none.")
    password: SecretStr = Field(SecretStr(""), description="Password at the broker.")
    max_packet_kb: int = Field(
        5120,
        ge=64,
        le=262_144,
        description="Largest MQTT packet that is accepted, in KiB; larger ones are not read.",
    )
    protocol: Literal[4, 5] = Field(5, description="MQTT version: 4 (that is 3.1.1) or 5.")
    tls: bool = Field(False, description="Use TLS and verify the broker's certificate.")
    ca_file: str = Field("", description="CA that signed the broker's certificate; empty: the system's.")
    certificate_file: str = Field("", description="Client certificate, if the broker requires one.")
    key_file: str = Field("", description="Key of the client certificate.")

    @field_validator("protocol", mode="before")
    @classmethod
    def _may_come_as_text(cls, version: object) -> object:
        """Environment variables are text, which pydantic does not convert to a literal number."""
        return int(version) if isinstance(version, str) and version.isdecimal() else version


class CollectSettings(_Section):
    mappings: tuple[str, ...] = Field(
        (), description="Mappings of third-party devices in use: names of shipped ones, or paths of YAML files."
    )
    site: str = Field(
        "default", pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="Site of equipment whose mapping names no site."
    )
    name: str = Field(
        "1",
        pattern=r"^[A-Za-z0-9_-]{1,32}$",
        description="Name of a `gengfu collect`, of its session and its folder.",
    )
    messages_per_s: float = Field(
        100, ge=1, description="Messages per second of one equipment above which it is babbling: sampled, and an alarm."
    )
    group: str = Field(
        "gengfu",
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
        description="Shared-subscription group; its collectors share the messages.",
    )
    http_host: str = Field("127.0.0.1", description="Address of the status pages of `gengfu collect`.")
    http_port: int = Field(8081, ge=0, le=65535, description="Port of these status pages; 0: any free port.")


class HttpSettings(_Section):
    host: str = Field(
        "127.0.0.1", description="Address to listen on; beyond this machine only with an administrator's account."
    )
    port: int = Field(8080, ge=0, le=65535, description="Port of the web page and the API; 0: any free port.")
    public_url: str = Field("", description="Public address of the service, if it differs (a reverse proxy).")
    tls_certificate: str = Field("", description="Certificate of the service and its chain (PEM); turns TLS on.")
    tls_key: str = Field("", description="Key of that certificate (PEM).")
    behind_proxy: bool = Field(False, description="The service is only reachable through a reverse proxy with TLS.")
    trusted_proxies: tuple[str, ...] = Field(
        (), description="Addresses or networks of that proxy, if it runs on another machine or in a container."
    )
    connections_per_address: int = Field(
        400, ge=10, le=100_000, description="Concurrent connections allowed per address; a proxy has no limit."
    )
    upload_mb: int = Field(20, ge=1, le=1000, description="Maximum size in megabytes of a file attached to a ticket.")

    @field_validator("trusted_proxies")
    @classmethod
    def _must_be_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ip_network(network, strict=False)
        return networks


class StorageSettings(_Section):
    data_dir: Path = Field(Path("data"), description="Folder of the databases and the lock file.")
    database_url: SecretStr = Field(
        SecretStr(""), description="PostgreSQL: postgresql://USER:PASSWORD@HOST/NAME; empty: SQLite in data_dir."
    )
    attachments_dir: str = Field(
        "", description="Folder of attached files; empty: attachments in data_dir. Several services share one."
    )
    history_days: int = Field(730, ge=1, description="Days for which readings are kept.")
    reserve_mb: int = Field(
        64, ge=1, le=65_536, description="Megabytes of data_dir's disk kept for alarms; history stops at twice as many."
    )

    @property
    def attachments(self) -> Path:
        """Folder of attached files."""
        return Path(self.attachments_dir or self.data_dir / "attachments")

    @field_validator("database_url")
    @classmethod
    def _must_be_postgresql(cls, address: SecretStr) -> SecretStr:
        """The driver is fixed and need not be named in the address."""
        scheme, found, rest = address.get_secret_value().partition("://")
        if not found and not scheme:
            return address
        if scheme not in {"postgresql", "postgresql+asyncpg"} or not rest:
            raise ValueError("write postgresql://USER:PASSWORD@HOST/NAME, or leave it empty for SQLite in data_dir")
        return SecretStr(f"postgresql+asyncpg://{rest}")


class HistorySettings(_Section):
    store: Literal["sqlite", "influxdb"] = Field("sqlite", description="Store of the readings.")
    write: bool = Field(True, description="Whether the service writes readings; false if `gengfu collect` does.")
    url: str = Field("http://127.0.0.1:8086", description="Address of InfluxDB.")
    bucket: str = Field("gengfu", pattern=r'^[^"\\\s]+$', description="Bucket of InfluxDB (InfluxDB 1: database).")
    org: str = Field("", description="Organisation (InfluxDB 2).")
    token: SecretStr = Field(SecretStr(""), description="Token (InfluxDB 2 and 3).")
    username: str = Field("", description="User name (InfluxDB 1, without a token).")
    password: SecretStr = Field(SecretStr(""), description="Password of that user.")
    gzip: bool = Field(False, description="Compress requests, for a remote server.")
    spool_mb: int = Field(
        1024, ge=4, description="Megabytes of readings spooled on disk while the store is unavailable."
    )

    @model_validator(mode="after")
    def _must_be_shared_to_be_written_elsewhere(self) -> "HistorySettings":
        if not self.write and self.store == "sqlite":
            raise ValueError(
                'history.write = false needs a store that several processes share: set history.store = "influxdb" '
                "and history.url, here and for gengfu collect"
            )
        return self


class AlarmSettings(_Section):
    rule_files: tuple[Path, ...] = Field((), description="YAML files with rules in addition to the shipped ones.")
    late_window_s: float = Field(60, ge=0, description="Seconds within which an out-of-order sample counts for alarms.")
    tick_s: float = Field(1, gt=0, description="Seconds between evaluations of delays and time limits.")
    watchdog_s: float = Field(
        60,
        ge=3,
        description="Seconds in which a synthetic probe must pass the whole pipeline, for `/watchdog`.",
    )
    site_silent_min: float = Field(
        30, ge=0, description="Minutes without any message from a site until an alarm is raised; 0: never."
    )
    max_shelve_critical_hours: float = Field(
        1.0, gt=0, le=24, description="Maximum hours for which a critical alarm may be shelved."
    )
    max_shelve_high_hours: float = Field(8.0, gt=0, le=168, description="Maximum hours for an alarm of high priority.")
    max_shelve_medium_hours: float = Field(
        24.0, gt=0, le=168, description="Maximum hours for an alarm of medium priority."
    )
    max_shelve_low_hours: float = Field(24.0, gt=0, le=168, description="Maximum hours for an alarm of low priority.")
    max_maintenance_hours: float = Field(24, gt=0, le=744, description="Maximum hours of a maintenance window.")

    @property
    def longest_shelves_ms(self) -> dict[str, int]:
        """Priority -> for how many ms an alarm may be shelved."""
        hours = {
            "critical": self.max_shelve_critical_hours,
            "high": self.max_shelve_high_hours,
            "medium": self.max_shelve_medium_hours,
            "low": self.max_shelve_low_hours,
        }
        return {priority: int(longest * 3_600_000) for priority, longest in hours.items()}

    duty_positions: dict[str, tuple[str, ...]] = Field(
        {}, description="Desks that handle alarms, and their sites; all other sites belong to the control room."
    )
    chatter_quiet_s: float = Field(
        300, ge=60, description="Seconds without an activation until a chattering alarm returns to normal."
    )

    @field_validator("duty_positions")
    @classmethod
    def _must_have_one_desk(cls, positions: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        """A site of two desks would be counted twice."""
        sites = [site for of_one in positions.values() for site in of_one]
        twice = sorted({site for site in sites if sites.count(site) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} belongs to more than one position")
        return positions


class TicketSettings(_Section):
    incident_scope: Literal["zone", "room", "floor", "building"] = Field(
        "room", description="Place whose life-safety alarms form one incident, with one emergency ticket."
    )


class EquipmentSettings(_Section):
    time_zone: str = Field("Asia/Shanghai", description="Default time zone of sites, and of times without a zone.")
    unknown_limit: int = Field(1000, ge=0, description="Maximum number of unknown equipment kept until it is adopted.")

    @field_validator("time_zone")
    @classmethod
    def _must_be_known(cls, name: str) -> str:
        """Checked at the start: it is first used when a ticket opens, which is too late to find a misspelling."""
        try:
            ZoneInfo(name)
        except (KeyError, OSError, ValueError) as error:
            raise ValueError(f"{name!r} is no time zone; write one like Asia/Shanghai") from error
        return name


class PeopleSettings(_Section):
    password_length: int = Field(15, ge=8, le=64, description="Minimum length of a password.")
    key_file: str = Field(
        "", description="Key that encrypts second factors; empty: second_factor.key in data_dir, made on first use."
    )


class ApprovalSettings(_Section):
    permissions: tuple[str, ...] = Field(
        (), description="Permissions whose use needs a second person's approval, like adopt_equipment."
    )
    hours: int = Field(24, ge=1, le=720, description="Hours until a request for approval expires.")


class AuditSettings(_Section):
    kept_days: int = Field(730, ge=365, description="Days for which the audit is kept; only whole days are erased.")
    key_file: str = Field(
        "", description="Private key that signs the audit; empty: audit.key in data_dir, made at the first start."
    )
    checkpoints_dir: str = Field(
        "", description="Folder of the signed checkpoints, one a day; empty: checkpoints in data_dir."
    )


class BackupSettings(_Section):
    folder: str = Field("", description="Folder of automatic backups; empty: none are made.")
    every_days: int = Field(7, ge=1, description="Days between two backups.")
    kept: int = Field(8, ge=1, description="Number of backups that are kept.")
    passphrase: SecretStr = Field(SecretStr(""), description="Encrypts backups; empty: not encrypted.")
    with_history: bool = Field(False, description="Include the readings, if they are in SQLite.")


class DeviceSettings(_Section):
    accounts_dir: Path = Field(
        Path("/etc/mosquitto/accounts"), description="Folder of Mosquitto's files `passwords` and `acl`."
    )
    pid_file: Path = Field(
        Path("/run/mosquitto/mosquitto.pid"),
        description="Mosquitto's PID file; if present, Mosquitto reloads on changes.",
    )


class RetentionSettings(_Section):
    alarm_days: int = Field(366, ge=30, description="Days to keep ended alarms, events and emergencies.")
    approval_days: int = Field(731, ge=30, description="Days to keep decided requests for approval.")
    fire_days: int = Field(1827, ge=30, description="Days to keep the same of fire panels: fires, faults, tests.")
    maintenance_days: int = Field(1461, ge=30, description="Days to keep ended repair tickets and planned work.")
    patrol_days: int = Field(731, ge=30, description="Days to keep reports of patrol readers.")
    technical_days: int = Field(30, ge=1, description="Days to keep facts and quarantined messages.")


class LogSettings(_Section):
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Minimum level that is logged.")
    json_lines: bool = Field(False, description="Write JSON lines instead of text.")


class Settings(BaseSettings):
    """All settings; passed to where they are needed, never looked up globally."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="GENGFU_",
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    broker: BrokerSettings = BrokerSettings()
    collect: CollectSettings = CollectSettings()
    http: HttpSettings = HttpSettings()
    storage: StorageSettings = StorageSettings()
    history: HistorySettings = HistorySettings()
    alarms: AlarmSettings = AlarmSettings()
    tickets: TicketSettings = TicketSettings()
    equipment: EquipmentSettings = EquipmentSettings()
    people: PeopleSettings = PeopleSettings()
    approval: ApprovalSettings = ApprovalSettings()
    audit: AuditSettings = AuditSettings()
    backup: BackupSettings = BackupSettings()
    devices: DeviceSettings = DeviceSettings()
    retention: RetentionSettings = RetentionSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (env_settings, init_settings)


def load_settings(file: Path | None = None, overrides: dict[str, Any] | None = None) -> Settings:
    """Read the file, then the environment, then what the command line gave.

    Args:
        file: a TOML file; None takes `gengfu.toml` in the working folder where it exists.
        overrides: section -> key -> value from the command line.

    Raises:
        SettingsError: no such file, no TOML, an unknown key or a value that is not permitted.
    """
    document = _read_toml(file)
    _refuse_unknown_variables()
    try:
        settings = Settings(**document)
        if not overrides:
            return settings
        return settings.model_copy(
            update={
                section: type(getattr(settings, section)).model_validate({**dict(getattr(settings, section)), **values})
                for section, values in overrides.items()
            }
        )
    except ValidationError as error:
        raise SettingsError(_explain(error)) from error
    except UnreadableVariable as error:
        raise SettingsError(f'{error}; a list is written as JSON: ["a", "b"]') from error


def _read_toml(file: Path | None) -> dict[str, Any]:
    path = file or DEFAULT_FILE
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if file is None:
            return {}
        raise SettingsError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from error


def _refuse_unknown_variables() -> None:
    """A misspelt variable would be ignored silently, so it is refused."""
    known = {f"GENGFU_{section}__{key}".upper() for section, key in setting_names()}
    unknown = sorted(name for name in os.environ if name.startswith("GENGFU_") and name not in known)
    if unknown:
        raise SettingsError("\n".join(f"{name}: no such setting" for name in unknown))


def setting_names() -> list[tuple[str, str]]:
    """Every (section, key), in the order of this file."""
    return [
        (section, key)
        for section, field in Settings.model_fields.items()
        for key in field.annotation.model_fields  # type: ignore[union-attr]  # every section is a model
    ]


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        place = ".".join(str(step) for step in problem["loc"])
        message = "no such setting" if problem["type"] == "extra_forbidden" else problem["msg"]
        lines.append(f"{place}: {message}")
    return "\n".join(lines)
