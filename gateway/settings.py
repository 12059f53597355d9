"""Every setting of the service, read once and then frozen: `gengfu.toml`, then `GENGFU_*` in the environment.

An environment name joins sections by two underscores: `GENGFU_BROKER__HOST`. Unknown keys are refused.
`docs/settings.md` and the README's table are held against this file by a test.
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
    port: int = Field(1883, ge=1, le=65535, description="Its port; 8883 is usual with TLS.")
    client_id: str = Field("gengfu", min_length=1, description="Our name at the broker; the session is kept under it.")
    username: str = Field("", description="User at the broker, empty for none.")
    password: SecretStr = Field(SecretStr(""), description="Password at the broker.")
    max_packet_kb: int = Field(
        5120,
        ge=64,
        le=262_144,
        description="Largest MQTT packet that is taken, in KiB; larger ones are not read.",
    )
    protocol: Literal[4, 5] = Field(5, description="MQTT version: 4 (that is 3.1.1) or 5.")
    tls: bool = Field(False, description="Encrypt, and check the broker's certificate.")
    ca_file: str = Field("", description="CA that signed the broker's certificate; empty: the system's.")
    certificate_file: str = Field("", description="Our certificate, where the broker asks for one.")
    key_file: str = Field("", description="Key of our certificate.")

    @field_validator("protocol", mode="before")
    @classmethod
    def _may_come_as_text(cls, version: object) -> object:
        """The environment has text only, and a set of numbers is not converted by itself."""
        return int(version) if isinstance(version, str) and version.isdecimal() else version


class CollectSettings(_Section):
    mappings: tuple[str, ...] = Field(
        (), description="Mappings of third-party devices in use: names of shipped ones, or paths of YAML files."
    )
    site: str = Field(
        "default", pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="Site of equipment whose mapping does not name one."
    )
    name: str = Field(
        "1", pattern=r"^[A-Za-z0-9_-]{1,32}$", description="Name of a `gengfu collect`: its session and its folder."
    )
    messages_per_s: float = Field(
        100, ge=1, description="More from one equipment is babbling: its readings are sampled, and it is an alarm."
    )
    group: str = Field(
        "gengfu", pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="Every `gengfu collect` of a group takes its share."
    )
    http_host: str = Field("127.0.0.1", description="Address on which `gengfu collect` says how it is.")
    http_port: int = Field(8081, ge=0, le=65535, description="Port for that; 0 takes a free one.")


class HttpSettings(_Section):
    host: str = Field(
        "127.0.0.1", description="Address to listen on; beyond this machine only with an administrator's account."
    )
    port: int = Field(8080, ge=0, le=65535, description="Port of the web page and the API; 0 takes a free one.")
    public_url: str = Field(
        "", description="Address by which people reach the service, where it differs (a reverse proxy)."
    )
    tls_certificate: str = Field("", description="Certificate of the service and its chain (PEM); turns TLS on.")
    tls_key: str = Field("", description="Key of that certificate (PEM).")
    behind_proxy: bool = Field(False, description="A reverse proxy with TLS stands in front, and nobody goes past it.")
    trusted_proxies: tuple[str, ...] = Field(
        (), description="Addresses or networks of that proxy, where it runs on another machine or in a container."
    )
    connections_per_address: int = Field(
        400, ge=10, le=100_000, description="Connections that one address may have at a time; a proxy has no limit."
    )
    upload_mb: int = Field(20, ge=1, le=1000, description="Megabytes of one file that is attached to a ticket.")

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
        """Where attached files lie."""
        return Path(self.attachments_dir or self.data_dir / "attachments")

    @field_validator("database_url")
    @classmethod
    def _must_be_postgresql(cls, address: SecretStr) -> SecretStr:
        """One driver is tested and comes along; which one it is, nobody needs to write."""
        scheme, found, rest = address.get_secret_value().partition("://")
        if not found and not scheme:
            return address
        if scheme not in {"postgresql", "postgresql+asyncpg"} or not rest:
            raise ValueError("write postgresql://USER:PASSWORD@HOST/NAME, or leave it empty for SQLite in data_dir")
        return SecretStr(f"postgresql+asyncpg://{rest}")


class HistorySettings(_Section):
    store: Literal["sqlite", "influxdb"] = Field("sqlite", description="Where readings are kept.")
    write: bool = Field(True, description="Whether the service writes them; false where `gengfu collect` does.")
    url: str = Field("http://127.0.0.1:8086", description="Address of InfluxDB.")
    bucket: str = Field("gengfu", pattern=r'^[^"\\\s]+$', description="Its bucket (InfluxDB 1: database).")
    org: str = Field("", description="Its organisation (InfluxDB 2).")
    token: SecretStr = Field(SecretStr(""), description="Token for it (InfluxDB 2 and 3).")
    username: str = Field("", description="User at InfluxDB 1, where there is no token.")
    password: SecretStr = Field(SecretStr(""), description="Password of that user.")
    gzip: bool = Field(False, description="Compress what is sent, for a server that is far away.")
    spool_mb: int = Field(
        1024, ge=4, description="Megabytes of readings that may wait on disk while the store does not take them."
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
    rule_files: tuple[Path, ...] = Field((), description="YAML files with rules beside the ones that ship.")
    late_window_s: float = Field(60, ge=0, description="Seconds within which a disordered sample may change an alarm.")
    tick_s: float = Field(1, gt=0, description="Seconds between checks of what events should have done.")
    watchdog_s: float = Field(
        60, ge=3, description="Seconds within which a made-up alarm must have gone its whole way, for `/watchdog`."
    )
    site_silent_min: float = Field(
        30, ge=0, description="Minutes without any message from a site until that is an alarm; 0: never."
    )
    max_shelve_critical_hours: float = Field(
        1.0, gt=0, le=24, description="Most hours for which a critical alarm may be shelved."
    )
    max_shelve_high_hours: float = Field(
        8.0, gt=0, le=168, description="Most hours for which an alarm of high priority may be shelved."
    )
    max_shelve_medium_hours: float = Field(
        24.0, gt=0, le=168, description="Most hours for which one of medium priority may be."
    )
    max_shelve_low_hours: float = Field(
        24.0, gt=0, le=168, description="Most hours for which one of low priority may be."
    )
    max_maintenance_hours: float = Field(
        24, gt=0, le=744, description="Hours that a maintenance window may last at most."
    )

    @property
    def longest_shelves_ms(self) -> dict[str, int]:
        """Priority -> for how many ms an alarm may be shelved."""
        hours = {"critical": self.max_shelve_critical_hours, "high": self.max_shelve_high_hours, "medium": self.max_shelve_medium_hours,
                 "low": self.max_shelve_low_hours}  # fmt: skip
        return {priority: int(longest * 3_600_000) for priority, longest in hours.items()}

    duty_positions: dict[str, tuple[str, ...]] = Field(
        {}, description="Desks that answer alarms, and the sites of each; all other sites are the control room's."
    )
    chatter_quiet_s: float = Field(
        300, ge=60, description="Seconds for which a chattering alarm must be quiet until it returns."
    )

    @field_validator("duty_positions")
    @classmethod
    def _must_have_one_desk(cls, positions: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        """A site that two desks answer for would be counted twice, and answered by neither."""
        sites = [site for of_one in positions.values() for site in of_one]
        twice = sorted({site for site in sites if sites.count(site) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} belongs to more than one position")
        return positions


class TicketSettings(_Section):
    incident_scope: Literal["zone", "room", "floor", "building"] = Field(
        "room", description="How large a place is whose life-safety alarms are one incident, with one emergency ticket."
    )


class EquipmentSettings(_Section):
    time_zone: str = Field(
        "Asia/Shanghai", description="Time zone of a site that nobody has entered yet, and of times without one."
    )
    unknown_limit: int = Field(1000, ge=0, description="Unknown equipment that is kept until someone adopts it.")

    @field_validator("time_zone")
    @classmethod
    def _must_be_known(cls, name: str) -> str:
        """Days are counted by it when a ticket opens, which is too late to find it misspelt."""
        try:
            ZoneInfo(name)
        except (KeyError, OSError, ValueError) as error:
            raise ValueError(f"{name!r} is no time zone; write one like Asia/Shanghai") from error
        return name


class PeopleSettings(_Section):
    password_length: int = Field(15, ge=8, le=64, description="Fewest characters of a password.")
    key_file: str = Field(
        "", description="Key that seals second factors; empty: second_factor.key in data_dir, made with the first one."
    )


class ApprovalSettings(_Section):
    permissions: tuple[str, ...] = Field(
        (), description="Permissions whose use needs a second person's approval, like adopt_equipment."
    )
    hours: int = Field(24, ge=1, le=720, description="Hours for which a request waits for its second person.")


class AuditSettings(_Section):
    kept_days: int = Field(
        730, ge=365, description="Days for which the audit is kept; whole days go, never single rows."
    )
    key_file: str = Field(
        "", description="Private key that signs the audit; empty: audit.key in data_dir, made at the first start."
    )
    checkpoints_dir: str = Field(
        "", description="Folder of the signed checkpoints, one a day; empty: checkpoints in data_dir."
    )


class BackupSettings(_Section):
    folder: str = Field("", description="Folder in which backups are made by themselves; empty: none are made.")
    every_days: int = Field(7, ge=1, description="Days between two of them.")
    kept: int = Field(8, ge=1, description="How many are kept.")
    passphrase: SecretStr = Field(SecretStr(""), description="Encrypts backups; empty: not encrypted.")
    with_history: bool = Field(False, description="Put the readings in as well, where they are in SQLite.")


class DeviceSettings(_Section):
    accounts_dir: Path = Field(
        Path("/etc/mosquitto/accounts"), description="Folder of Mosquitto's files `passwords` and `acl`."
    )
    pid_file: Path = Field(
        Path("/run/mosquitto/mosquitto.pid"), description="Mosquitto's own; where it is, Mosquitto is told of changes."
    )


class RetentionSettings(_Section):
    alarm_days: int = Field(366, ge=30, description="Days for alarms, events and emergencies, once they are over.")
    approval_days: int = Field(731, ge=30, description="Days for requests that needed two people, once decided.")
    fire_days: int = Field(1827, ge=30, description="Days for those of fire panels: fires, faults, tests.")
    maintenance_days: int = Field(1461, ge=30, description="Days for repair tickets and planned work, once over.")
    patrol_days: int = Field(731, ge=30, description="Days for what patrol readers report.")
    technical_days: int = Field(30, ge=1, description="Days for facts, and for messages that could not be read.")


class LogSettings(_Section):
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is written.")
    json_lines: bool = Field(False, description="Write JSON lines instead of text.")


class Settings(BaseSettings):
    """The whole tree; passed in where it is needed, never looked up."""

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
    """A misspelt variable is as silent as none at all, so it is refused."""
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
