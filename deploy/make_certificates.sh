#!/usr/bin/env bash
# Makes the certificates of a first set-up: an authority of your own, and a certificate for the broker and the proxy.
#
#   deploy/make_certificates.sh gengfu.example.org 192.0.2.10     names and addresses by which devices and people come
#   deploy/make_certificates.sh --renew gengfu.example.org …      the same authority, new certificates
#
# FOLDER says where (default: deploy/secrets, which deploy/make_secrets.py makes). Devices and browsers are given
# ca.crt. ca.key signs new certificates and nothing else: keep it elsewhere between renewals.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
folder=${FOLDER:-$PWD/secrets}

die() {
    printf 'certificates: %s\n' "$*" >&2
    exit 1
}

# openssl draws its progress on stderr; it is shown only when something went wrong.
quietly() {
    local said
    said=$("$@" 2>&1) || die "$said"
}

renew=
if [[ ${1:-} == --renew ]]; then
    renew=yes
    shift
fi
(($#)) || die "give the name of this server, as devices and people call it: ${BASH_SOURCE[0]##*/} gengfu.example.org"
[[ -d $folder ]] || die "$folder is not there; deploy/make_secrets.py makes it"
umask 077

if [[ $renew ]]; then
    [[ -f $folder/ca.key && -f $folder/ca.crt ]] || die "$folder has no ca.key and ca.crt to renew with"
else
    [[ ! -e $folder/ca.crt ]] || die "$folder has certificates already; --renew makes new ones with the same authority"
    # Ten years: an authority that ends takes every device with it.
    quietly openssl req -x509 -newkey rsa:3072 -nodes -days 3650 -subj "/CN=Gengfu of $1" -sha256 \
        -addext "basicConstraints=critical,CA:TRUE,pathlen:0" -addext "keyUsage=critical,keyCertSign,cRLSign" \
        -keyout "$folder/ca.key" -out "$folder/ca.crt"
fi

# alternative_names NAME…: as openssl wants them; a number with dots or colons is an address.
alternative_names() {
    local name list=()
    for name in "$@"; do
        if [[ $name =~ ^[0-9.]+$ || $name == *:* ]]; then list+=("IP:$name"); else list+=("DNS:$name"); fi
    done
    (IFS=, && printf '%s' "${list[*]}")
}

# make_certificate FOLDER NAME…: RSA, because devices in the field may know nothing newer; 825 days, because some
# browsers accept no longer life from any authority.
make_certificate() {
    local target=$1 work
    shift
    mkdir -p "$target"
    work=$(mktemp -d "$target/.unfinished.XXXXXX")
    quietly openssl req -new -newkey rsa:2048 -nodes -subj "/CN=$1" -sha256 \
        -keyout "$work/server.key" -out "$work/server.csr"
    quietly openssl x509 -req -in "$work/server.csr" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -days 825 -sha256 \
        -set_serial "0x$(openssl rand -hex 16)" -out "$work/server.crt" -extfile <(
            printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature,keyEncipherment\n'
            printf 'extendedKeyUsage=serverAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\nsubjectAltName=%s\n' "$(alternative_names "$@")"
        )
    # Read by the containers' own users; the folder around them is its owner's alone.
    chmod 644 "$work/server.key" "$work/server.crt"
    mv "$work/server.key" "$work/server.crt" "$target/"
    rm -r "$work"
    chmod 755 "$target"
}

# Inside, the broker is called by its container's name and, by the health check, localhost.
make_certificate "$folder/mosquitto/certs" "$@" mosquitto localhost 127.0.0.1
make_certificate "$folder/nginx" "$@" localhost 127.0.0.1
chmod 644 "$folder/ca.crt"
printf 'Made in %s: ca.crt for devices and browsers; certificates for %s, good for 825 days.\n' "$folder" "$*"
