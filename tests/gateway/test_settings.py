"""Settings: file, then environment, then command line; what is wrong is refused by name."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from gateway.settings import Settings, SettingsError, StorageSettings, load_settings, setting_names


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("GENGFU_BROKER__HOST", "GENGFU_BROKER__PASSWORD"):
        monkeypatch.delenv(name, raising=False)


def write(text: str, name: str = "gengfu.toml") -> Path:
    file = Path(name)
    file.write_text(text, encoding="utf-8")
    return file


def test_without_a_file_the_defaults_hold() -> None:
    settings = load_settings()
    assert settings.broker.host == "127.0.0.1"
    assert settings.http.host == "127.0.0.1"
    assert settings.alarms.late_window_s == 60


def test_the_environment_goes_before_the_file_and_the_command_line_before_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write('[broker]\nhost = "file"\nport = 1001\nclient_id = "file"\n')
    monkeypatch.setenv("GENGFU_BROKER__PORT", "1002")
    monkeypatch.setenv("GENGFU_BROKER__CLIENT_ID", "environment")
    monkeypatch.setenv("GENGFU_BROKER__PROTOCOL", "4")
    broker = load_settings(None, {"broker": {"client_id": "line"}}).broker
    assert (broker.host, broker.port, broker.client_id, broker.protocol) == ("file", 1002, "line", 4)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[broker]\nhots = 'x'\n", "broker.hots: no such setting"),
        ("[mqtt]\n", "mqtt: no such setting"),
        ("[broker]\nport = 0\n", "broker.port: "),
        ("[broker]\nport = 'many'\n", "broker.port: "),
        ("[broker]\nprotocol = 3\n", "broker.protocol: "),
        ("[history]\nwrite = false\n", "several processes share"),  # a file of one process
        ("[collect]\nname = 'a/b'\n", "collect.name: "),  # it becomes a folder and a client id
        ("[collect]\ngroup = 'a+b'\n", "collect.group: "),  # it stands in a subscription
        ("broker = 5\n", "broker: "),
        ("[alarms]\ntick_s = 0\n", "alarms.tick_s: "),
        ("[equipment]\ntime_zone = 'Mars/Olympus'\n", "'Mars/Olympus' is no time zone"),
        ("[equipment]\ntime_zone = ''\n", "is no time zone"),
        ("[equipment]\ntime_zone = '../../etc/passwd'\n", "is no time zone"),
        ("[broker\n", "gengfu.toml: "),  # no TOML
    ],
)
def test_what_is_wrong_in_the_file_is_named(text: str, complaint: str) -> None:
    write(text)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert complaint in str(refused.value)


def test_every_wrong_key_is_named_at_once() -> None:
    write("[broker]\nport = 0\n[http]\nport = -1\n")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert len(str(refused.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("GENGFU_BROKER_HOST", "x", "GENGFU_BROKER_HOST: no such setting"),  # one underscore too few
        ("GENGFU_BROKER__HOTS", "x", "GENGFU_BROKER__HOTS: no such setting"),
        ("GENGFU_HTTP__PORT", "many", "http.port: "),
        ("GENGFU_ALARMS__RULE_FILES", "rules.yaml", "alarms"),  # a list must be JSON; it says so
    ],
)
def test_what_is_wrong_in_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert complaint in str(refused.value)


def test_what_is_wrong_on_the_command_line_is_named() -> None:
    with pytest.raises(SettingsError, match="port"):
        load_settings(None, {"http": {"port": 99_999}})


def test_a_list_in_the_environment_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENGFU_ALARMS__RULE_FILES", '["a.yaml", "b.yaml"]')
    assert load_settings().alarms.rule_files == (Path("a.yaml"), Path("b.yaml"))


def test_a_file_that_was_named_must_be_there() -> None:
    with pytest.raises(SettingsError, match=r"other\.toml: no such file"):
        load_settings(Path("other.toml"))


def test_a_file_that_is_no_utf_8_is_an_error_not_a_trace(tmp_path: Path) -> None:
    (tmp_path / "gengfu.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"gengfu\.toml"):
        load_settings()


def test_a_password_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENGFU_BROKER__PASSWORD", "s3cret")
    settings = load_settings(None, {"broker": {"host": "x"}})
    assert settings.broker.password.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(settings) + str(settings.model_dump(mode="json"))


def test_settings_cannot_change_while_the_service_runs() -> None:
    settings = load_settings()
    changes: list[tuple[Any, str, Any]] = [(settings, "broker", None), (settings.broker, "host", "x")]
    for section, key, value in changes:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, key, value)


def test_every_setting_says_what_it_means() -> None:
    for section, key in setting_names():
        field = type(getattr(Settings(), section)).model_fields[key]
        assert field.description, f"{section}.{key}"
        assert field.description.endswith(".")


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+asyncpg"])
def test_a_postgresql_address_is_taken_with_the_driver_that_comes_along_and_is_not_shown(scheme: str) -> None:
    storage = StorageSettings(database_url=SecretStr(f"{scheme}://gengfu:secret@db.example/gengfu"))
    assert storage.database_url.get_secret_value() == "postgresql+asyncpg://gengfu:secret@db.example/gengfu"
    assert "secret" not in str(storage)


@pytest.mark.parametrize(
    "address", ["mysql://host/name", "postgresql+psycopg://host/name", "host/name", "postgresql://"]
)
def test_an_address_of_another_database_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="write postgresql://USER:PASSWORD@HOST/NAME"):
        StorageSettings(database_url=SecretStr(address))
