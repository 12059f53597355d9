#!/usr/bin/env python3
"""Makes every password of a new set-up: `deploy/make_secrets.py`, then `gengfu device certificates NAME`.

Needs Python and the checkout only, so that it runs before anything is installed. What is there already is never
overwritten: the folder appears whole or not at all. It is open to its owner alone; the files inside that a container's
own user must read are readable for everybody who gets that far.

    deploy/secrets/
      first-logins.txt            for people: Grafana; Gengfu's accounts are made by `gengfu user add`
      *.env                       one for each service: what that service may know
      mosquitto/accounts/         passwords and acl, as Mosquitto reads them
      mosquitto/health/           login of the health check
      prometheus/token            empty until `gengfu user token add` has made one
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # nothing is installed yet
from gateway.devices.mosquitto_passwords import mosquitto_line, new_password  # noqa: E402 - see the line above

PROGRAMS = ("gengfu", "gengfu-collect-1", "gengfu-collect-2", "health", "simulator")
"""Accounts at the broker that are not devices; the acl file says what each may."""
_FOR_OWNER = 0o600
_FOR_CONTAINERS = 0o644


def make_files(acl: str) -> dict[str, tuple[str, int]]:
    """Path in the folder -> text and mode; every password in it is new."""
    broker = {user: new_password() for user in PROGRAMS}
    grafana, reader, database, influxdb, token = (new_password() for _ in range(5))
    collectors = {
        f"{user}.env": _environment(GENGFU_BROKER__PASSWORD=broker[user], GENGFU_HISTORY__TOKEN=token)
        for user in PROGRAMS
        if user.startswith("gengfu-collect-")
    }
    environments = {
        "gengfu.env": _environment(
            GENGFU_BROKER__PASSWORD=broker["gengfu"], GENGFU_HISTORY__TOKEN=token, PGPASSWORD=database
        ),
        **collectors,
        "simulator.env": _environment(GENGFU_BROKER__PASSWORD=broker["simulator"]),
        "postgres.env": _environment(POSTGRES_PASSWORD=database),
        "influxdb.env": _environment(
            DOCKER_INFLUXDB_INIT_PASSWORD=influxdb, DOCKER_INFLUXDB_INIT_ADMIN_TOKEN=token, READER_PASSWORD=reader
        ),
        "grafana.env": _environment(GF_SECURITY_ADMIN_PASSWORD=grafana, READER_PASSWORD=reader),
        "first-logins.txt": f"Grafana: admin {grafana}\n",
    }
    mounted = {
        "mosquitto/accounts/passwords": "".join(mosquitto_line(*account) for account in broker.items()),
        "mosquitto/accounts/acl": acl,
        "mosquitto/health/mosquitto_sub": f"-u health\n-P {broker['health']}\n",
        "prometheus/token": "",
    }
    return {name: (text, _FOR_OWNER) for name, text in environments.items()} | {
        name: (text, _FOR_CONTAINERS) for name, text in mounted.items()
    }


def _environment(**values: str) -> str:
    return "".join(f"{name}={value}\n" for name, value in values.items())


def write(folder: Path, files: dict[str, tuple[str, int]]) -> None:
    """Write the folder beside its place and move it there when it is complete."""
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700, parents=True)
    for name, (text, mode) in files.items():
        file = unfinished / name
        file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as writing:
            writing.write(text)
    unfinished.rename(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description="Make every password of a new set-up.")
    parser.add_argument("--folder", type=Path, default=HERE / "secrets", help="default: %(default)s")
    folder: Path = parser.parse_args().folder
    if folder.exists():
        print(f"{folder} is there already: nothing was changed. To begin anew, move it away first;", file=sys.stderr)
        print("every device then needs a new password.", file=sys.stderr)
        return 1
    os.umask(0o022)  # the modes above are meant as they stand
    write(folder, make_files((HERE / "mosquitto" / "acl").read_text(encoding="utf-8")))
    print(f"Made {folder}. Grafana's first login is in {folder / 'first-logins.txt'}.")
    print(f"Now the certificates: gengfu device certificates --folder {folder} NAME-OF-THIS-SERVER")
    return 0


if __name__ == "__main__":
    sys.exit(main())
