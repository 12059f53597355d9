"""docker-compose.yml against the code: no engine runs it here, so each name in it is looked up where it must exist."""

import re
import shlex
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from deploy.make_secrets import PROGRAMS
from gateway.api.http.listening import entrance_of, require_safe_settings
from gateway.api.http.server import route_table
from gateway.cli.main import cli
from gateway.people.permissions import Permission
from gateway.settings import Settings, load_settings, setting_names
from tests.deploy.deployed import COMPOSE, DEPLOY, ROOT, compose, services, variables

SERVICES = services()
SECRETS = "./deploy/secrets/"
OURS = [name for name, service in SERVICES.items() if service["image"] == "gengfu:local"]
WITH_SETTINGS = ["gengfu", "collect-1", "collect-2"]
MOUNTED_SECRETS = {
    "mosquitto": {"ca.crt", "mosquitto/accounts", "mosquitto/certs", "mosquitto/health"},
    "prometheus": {"prometheus"},
    "proxy": {"nginx"},
    **{name: {"ca.crt"} for name in (*WITH_SETTINGS, "simulator")},
}
KNOWN = {f"GENGFU_{section}__{key}".upper() for section, key in setting_names()}
CONF = (DEPLOY / "mosquitto" / "gengfu.conf").read_text(encoding="utf-8")
each_service = pytest.mark.parametrize("name", SERVICES)


def mounts(name: str) -> Iterator[tuple[str, str, str]]:
    """(source, target, mode) of each volume line."""
    for line in SERVICES[name].get("volumes", ()):
        source, target, *mode = line.split(":")
        yield source, target, mode[0] if mode else ""


def environment(name: str, secrets: Path) -> dict[str, str]:
    """What a container's process finds, with new secrets."""
    service = SERVICES[name]
    found: dict[str, str] = {**service.get("environment", {})}
    for file in service.get("env_file", ()):
        found |= variables(secrets / Path(file).relative_to(SECRETS))
    return {key: re.sub(r"\$\{PUBLIC_URL:.*\}", "https://gengfu.example.org", value) for key, value in found.items()}


def settings_of(name: str, secrets: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for key, value in environment(name, secrets).items():
        monkeypatch.setenv(key, value)
    return load_settings()


def networks(name: str) -> set[str]:
    return set(SERVICES[name]["networks"])


def limits(name: str) -> dict[str, str]:
    found: dict[str, str] = SERVICES[name]["deploy"]["resources"]["limits"]
    return found


# -- every container -----------------------------------------------------------------------------------------------


@each_service
def test_a_container_may_do_no_more_than_it_must(name: str) -> None:
    service = SERVICES[name]
    assert service["user"].split(":")[0] not in {"", "0", "root"}
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "devices", "pid"} & set(service)


@each_service
def test_a_container_cannot_take_the_machine_from_the_others(name: str) -> None:
    assert float(limits(name)["cpus"]) > 0
    assert re.fullmatch(r"\d+[mg]", limits(name)["memory"])
    assert SERVICES[name]["pids_limit"] > 0
    assert {"max-size", "max-file"} <= set(SERVICES[name]["logging"]["options"])


@each_service
def test_a_container_says_how_it_is_and_comes_back(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert SERVICES[name]["restart"] == "unless-stopped"
    if check.get("disable"):
        assert SERVICES[name]["profiles"], "only what nobody depends on may say nothing"
    else:
        assert check["test"][0] == "CMD"
        assert {"interval", "timeout", "start_period"} <= set(check)


@each_service
def test_an_image_is_pinned_to_a_version(name: str) -> None:
    _, _, tag = SERVICES[name]["image"].partition(":")
    assert tag
    assert tag != "latest"


@each_service
def test_what_a_container_names_is_there(name: str) -> None:
    service, document = SERVICES[name], compose()
    assert set(service.get("depends_on", {})) <= set(SERVICES)
    assert set(service.get("networks", ())) <= set(document["networks"])
    assert {source for source, _, _ in mounts(name) if not source.startswith(".")} <= set(document["volumes"])


def test_every_volume_and_network_is_used() -> None:
    document = compose()
    used = {source for name in SERVICES for source, _, _ in mounts(name)}
    assert set(document["volumes"]) <= used
    assert set(document["networks"]) == {network for name in SERVICES for network in networks(name)}


@each_service
def test_a_file_from_here_is_there_and_cannot_be_changed_from_inside(name: str, secrets: Path) -> None:
    for source, _, mode in mounts(name):
        if source.startswith("."):
            place = secrets / source.removeprefix(SECRETS) if source.startswith(SECRETS) else ROOT / source
            assert place.exists(), source
            assert mode == "ro", source


# -- secrets -------------------------------------------------------------------------------------------------------


def test_no_password_stands_in_the_file() -> None:
    for name, service in SERVICES.items():
        secret = [key for key in service.get("environment", {}) if re.search("PASSWORD|TOKEN|SECRET|PASSWD", key)]
        assert secret == [], name
    assert re.findall(r"://[^/\s]+:[^/\s]+@", COMPOSE.read_text(encoding="utf-8")) == []


@each_service
def test_a_container_gets_its_own_secrets_only(name: str, secrets: Path) -> None:
    for file in SERVICES[name].get("env_file", ()):
        made = Path(file).relative_to(SECRETS)
        assert (secrets / made).exists()
        assert SERVICES[name].get("environment", {}).get("GENGFU_BROKER__USERNAME", name) == made.stem
    mounted = {source.removeprefix(SECRETS) for source, _, _ in mounts(name) if source.startswith(SECRETS)}
    assert mounted == MOUNTED_SECRETS.get(name, set())


def test_git_and_the_image_know_no_secret() -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"/deploy/secrets/", "/.env"} <= set(ignored)
    let_through = [line[1:] for line in dockerignore() if line.startswith("!")]
    assert dockerignore()[0] == "*"
    assert [path for path in let_through if "deploy/secrets".startswith(path)] == []


def dockerignore() -> list[str]:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


# -- our own containers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_every_setting_is_one_and_its_value_is_permitted(
    name: str, secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = {key for key in environment(name, secrets) if key.startswith("GENGFU_")}
    assert named
    assert named <= KNOWN
    assert settings_of(name, secrets, monkeypatch).broker.tls


@pytest.mark.parametrize("name", OURS)
def test_every_command_and_option_is_one(name: str) -> None:
    command, *words = SERVICES[name]["command"]
    found = typer.main.get_command(cli).commands[command]  # type: ignore[attr-defined]
    options = {option for parameter in found.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


@pytest.mark.parametrize("name", OURS)
def test_our_image_is_never_taken_from_a_registry(name: str) -> None:
    assert SERVICES[name]["pull_policy"] == "never"


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_the_health_check_asks_an_address_that_is_served(
    name: str, secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(name, secrets, monkeypatch)
    (url,) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", " ".join(SERVICES[name]["healthcheck"]["test"]))
    if name == "gengfu":
        assert url[0] == str(settings.http.port)
        assert url[1] in {path for path, _ in route_table()}
    else:
        assert url[0] == str(settings.collect.http_port)
        assert f'add_get("{url[1]}"' in (ROOT / "gateway" / "collect.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_whom_our_containers_call_is_a_container_in_their_network(
    name: str, secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(name, secrets, monkeypatch)
    called = {settings.broker.host, settings.history.url.split("//")[1].split(":")[0]}
    if database := settings.storage.database_url.get_secret_value():
        called.add(database.split("@")[1].split("/")[0])
    for host in called:
        assert networks(host) & networks(name), host


@pytest.mark.parametrize("name", [*OURS])
def test_our_image_runs_as_the_user_that_owns_its_data(name: str) -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    (user,) = re.findall(r"^USER (\S+)$", dockerfile, re.MULTILINE)
    assert SERVICES[name]["user"] == user
    assert f"--uid {user.split(':')[0]} " in dockerfile


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_data_goes_to_a_volume_and_certificates_come_from_a_mount(
    name: str, secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(name, secrets, monkeypatch)
    targets = {target: source for source, target, _ in mounts(name)}
    assert not targets[str(settings.storage.data_dir)].startswith(".")
    assert targets[settings.broker.ca_file] == f"{SECRETS}ca.crt"


def test_the_service_leaves_history_to_collectors_that_exist(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--no-history" in SERVICES["gengfu"]["command"]
    assert [name for name in SERVICES if SERVICES[name].get("command") == ["collect"]] == ["collect-1", "collect-2"]


# -- the broker ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_a_session_has_the_name_of_its_account(name: str, secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mosquitto gives each connection its account's name: two under one would take each other's session away."""
    settings = settings_of(name, secrets, monkeypatch)
    collector = f"{settings.broker.client_id}-collect-{settings.collect.name}"
    assert settings.broker.username == (settings.broker.client_id if name == "gengfu" else collector)
    assert settings.broker.username in PROGRAMS
    assert "use_username_as_clientid true" in CONF


def test_devices_and_our_own_reach_the_same_port_of_the_broker(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = re.findall(r"^listener (\d+)$", CONF, re.MULTILINE)
    assert SERVICES["mosquitto"]["ports"] == [f"{port}:{port}"]
    assert settings_of("gengfu", secrets, monkeypatch).broker.port == int(port)
    words = SERVICES["simulator"]["command"]
    assert words[words.index("--mqtt-port") + 1] == port


def test_the_broker_has_memory_for_what_it_may_keep() -> None:
    """Measured: 291 MiB for 500,000 messages of 205 bytes, close to three times what they say (docs/production.md)."""
    (most,) = re.findall(r"^max_queued_bytes (\d+)$", CONF, re.MULTILINE)
    assert int(limits("mosquitto")["memory"].removesuffix("g")) * 1024**3 >= 3 * int(most)


def test_the_broker_finds_each_file_that_it_names() -> None:
    """Its two configuration files name folders of the container: each is mounted."""
    named = re.findall(r"/(?:etc/mosquitto|mosquitto/data)/[\w./]+", CONF)
    named += re.findall(r" (/\S+)", (DEPLOY / "mosquitto" / "container.conf").read_text(encoding="utf-8"))
    targets = [target for _, target, _ in mounts("mosquitto")]
    assert named
    for path in named:
        assert any(path.startswith(target) or target.startswith(path) for target in targets), path


# -- who is reached from where -------------------------------------------------------------------------------------


def test_nothing_but_the_page_and_the_broker_is_reached_from_outside() -> None:
    open_ports = {(name, port) for name, service in SERVICES.items() for port in service.get("ports", ())}
    assert {pair for pair in open_ports if not pair[1].startswith("127.0.0.1:")} == {
        ("proxy", "443:443"),
        ("mosquitto", "8883:8883"),
    }


def test_the_service_believes_the_proxy_and_nobody_else(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another container, and this machine as the network's first address, reach the port: they are refused."""
    http = settings_of("gengfu", secrets, monkeypatch).http
    require_safe_settings(http)
    entrance, proxy = entrance_of(http, demo=False), SERVICES["proxy"]["networks"]["pages"]["ipv4_address"]
    (pages,) = compose()["networks"]["pages"]["ipam"]["config"]
    assert [str(one) for one in ip_network(pages["subnet"]) if entrance.trusts(str(one))] == [proxy]
    assert proxy != pages["gateway"]
    assert ip_address(proxy) not in ip_network(pages["ip_range"]), "else the service could be given it first"
    assert entrance.secure
    assert not entrance.local


def test_the_proxy_finds_the_service_in_a_network_that_no_other_container_is_in(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [name for name in SERVICES if "pages" in networks(name)] == ["gengfu", "proxy"]
    assert networks("gengfu") & networks("proxy") == {"pages"}
    container = (DEPLOY / "nginx" / "container.conf").read_text(encoding="utf-8")
    port = settings_of("gengfu", secrets, monkeypatch).http.port
    assert f"default gengfu:{port};" in container
    assert "listen 443 ssl;" in (DEPLOY / "nginx" / "gengfu.conf").read_text(encoding="utf-8")


def test_databases_cannot_reach_the_world_nor_be_reached() -> None:
    internal = {name for name, network in compose()["networks"].items() if (network or {}).get("internal")}
    for name in ("postgres", "influxdb"):
        assert networks(name) <= internal


# -- Prometheus and Grafana ----------------------------------------------------------------------------------------


def test_prometheus_asks_containers_that_answer(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in scraped}
    metrics = (DEPLOY / "nginx" / "container.conf").read_text(encoding="utf-8")
    (host, port) = targets["gengfu"][0].split(":")
    assert (host, f"listen {port};" in metrics) == ("proxy", True)
    for target in targets["gengfu-collect"]:
        host, port = target.split(":")
        settings = settings_of(host, secrets, monkeypatch)
        assert (settings.collect.http_host, settings.collect.http_port) == ("0.0.0.0", int(port))  # noqa: S104 - meant
        assert networks(host) & networks("prometheus")
    assert networks("proxy") & networks("prometheus")


def test_prometheus_shows_the_token_that_is_made_for_it() -> None:
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    (file,) = [job["authorization"]["credentials_file"] for job in scraped if job["job_name"] == "gengfu"]
    places = {target: source for source, target, _ in mounts("prometheus")}
    assert places[str(Path(file).parent)] == f"{SECRETS}prometheus"
    told = (ROOT / "docs" / "production.md").read_text(encoding="utf-8")
    assert f"--act {Permission.READ_METRICS} --days 730 > deploy/secrets/prometheus/{Path(file).name}" in told


def test_grafana_reads_from_containers_with_a_password_that_it_is_given(secrets: Path) -> None:
    file = DEPLOY / "grafana" / "provisioning" / "datasources" / "gengfu.yml"
    sources: list[dict[str, Any]] = yaml.safe_load(file.read_text(encoding="utf-8"))["datasources"]
    for source in sources:
        host = source["url"].split("//")[1].split(":")[0]
        assert networks(host) & networks("grafana")
    given = environment("grafana", secrets)
    (reader,) = [source for source in sources if source["type"] == "influxdb"]
    assert reader["secureJsonData"]["password"].removeprefix("$") in given
    assert given["READER_PASSWORD"] == environment("influxdb", secrets)["READER_PASSWORD"]
    script = (DEPLOY / "influxdb" / "make_reader.sh").read_text(encoding="utf-8")
    assert f"--username {reader['user']} " in script
    assert "--write" not in script
    assert reader["jsonData"]["dbName"] == environment("influxdb", secrets)["DOCKER_INFLUXDB_INIT_BUCKET"]


def test_grafana_finds_its_dashboards() -> None:
    file = DEPLOY / "grafana" / "provisioning" / "dashboards" / "gengfu.yml"
    (provider,) = yaml.safe_load(file.read_text(encoding="utf-8"))["providers"]
    targets = {target: source for source, target, _ in mounts("grafana")}
    folder = ROOT / targets[provider["options"]["path"]]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (folder / Path(home).name).is_file()
    assert str(Path(home).parent) == provider["options"]["path"]


# -- the document ---------------------------------------------------------------------------------------------------


def typed() -> list[str]:
    """Every line of the document's shell blocks."""
    text = (ROOT / "docs" / "production.md").read_text(encoding="utf-8")
    return "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)).splitlines()


def test_the_document_types_containers_and_files_that_exist() -> None:
    for line in typed():
        for verbs in re.findall(
            r"docker compose (?:exec -T|restart|stop|kill --signal HUP|run --rm(?: -T)?) ([a-z0-9 -]+)", line
        ):
            words = verbs.split()
            assert words[0] in SERVICES, line
            assert line.startswith("docker compose stop") is False or set(words) <= set(SERVICES), line
        for path in re.findall(r"(?<!\S)deploy/[\w./@-]+", line):
            assert (ROOT / path).exists() or path.startswith(("deploy/secrets", "deploy/site")), line


def test_the_documents_settings_load_and_name_the_account_that_the_scripts_make(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "production.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "gengfu.toml").write_text(block, encoding="utf-8")
    settings = load_settings(tmp_path / "gengfu.toml")
    assert settings.broker.username == settings.broker.client_id in PROGRAMS
    assert settings.http.behind_proxy
    require_safe_settings(settings.http)


# -- the image -----------------------------------------------------------------------------------------------------


def test_the_image_is_built_by_the_script_that_make_uses() -> None:
    (built,) = re.findall(r"^RUN (PREFIX=\S+ )(deploy/set_up_checkout\.sh .*)$", dockerfile(), re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (steps,) = re.findall(r"^install:.*\n\t@PREFIX=\S+ \$\(set_up\) (.*)$", makefile, re.MULTILINE)
    assert shlex.split(built[1]) == ["deploy/set_up_checkout.sh", *steps.split()]
    assert "/bin/gengfu" in (DEPLOY / "set_up_checkout.sh").read_text(encoding="utf-8")


def test_the_build_sees_all_that_it_reads() -> None:
    let_through = {line[1:] for line in dockerignore() if line.startswith("!")}
    read = {"pyproject.toml", "requirements.lock", "requirements-dev.lock", "deploy/set_up_checkout.sh"}
    packed = re.search(
        r"\[tool\.hatch\.build\.targets\.sdist\]\ninclude = \[(.*)\]", (ROOT / "pyproject.toml").read_text()
    )
    assert packed is not None
    read |= {path.lstrip("/") for path in re.findall(r'"([^"]+)"', packed[1])}
    assert read <= let_through
    assert [path for path in let_through if not (ROOT / path).exists()] == []


def test_the_programs_run_on_the_python_that_made_their_environment() -> None:
    assert len(set(re.findall(r"^FROM (\S+)", dockerfile(), re.MULTILINE))) == 1
    assert SERVICES["gengfu"]["build"] == {"context": ".", "dockerfile": "deploy/Dockerfile"}


def test_the_image_can_copy_the_database_before_it_is_changed() -> None:
    """pg_dump refuses a server newer than itself: Debian 12 has 15, and so has the server's image."""
    assert "postgresql-client " in dockerfile()
    assert "-bookworm" in re.findall(r"^FROM (\S+)", dockerfile(), re.MULTILINE)[1]
    assert SERVICES["postgres"]["image"] == "postgres:15-bookworm"


def dockerfile() -> str:
    return (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
