#!/bin/sh
# sh dev.sh run     starts a Squid that asks squid-imhelper, on 127.0.0.1:3128 or the next free port, until Ctrl-C
# sh dev.sh test    runs ruff, mypy and every test; further words go to pytest
# sh dev.sh bench   runs the benchmarks and refreshes benchmarks/README.md; bench-check only looks whether answers are right
#
# All of them install what is missing first: with root from Debian's packages, and the package with its dependencies into a
# virtual environment: below /opt with root, so that the user `proxy`, as whom Squid starts helpers, can read it; .venv else.
set -eu
umask 022
cd "$(dirname "$0")"

say() { printf '%s\n' "$*" >&2; }
give_up() { say "$*"; exit 1; }
is_root() { [ "$(id -u)" = 0 ]; }

# Debian starts a service as soon as its package is installed, unless policy-rc.d says no. Squid's own service is then
# switched off for good: it was not there before, and nobody has asked for it.
install_packages() {
    is_root || give_up "missing: $*. Install them as root: apt-get install $*"
    say "installing $*"
    guard=/usr/sbin/policy-rc.d
    guarded=
    if [ ! -e "$guard" ]; then
        guarded=yes
        printf '#!/bin/sh\nexit 101\n' > "$guard"
        chmod 755 "$guard"
    fi
    status=0
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"; } >&2 || status=$?
    [ -z "$guarded" ] || rm -f "$guard"
    case " $* " in *" squid"*) update-rc.d squid disable > /dev/null 2>&1 || : ;; esac
    [ "$status" = 0 ] || give_up "apt-get could not install $*"
}

# An interpreter below somebody's home is out of reach for the user `proxy`; Debian's own is not.
find_python() {
    for python in /usr/bin/python3 /usr/local/bin/python3 python3; do
        if "$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
            return
        fi
    done
    install_packages python3 python3-venv
    python=/usr/bin/python3
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || give_up "Python 3.11 or newer is needed"
}

find_squid() {
    squid=$(PATH="$PATH:/usr/sbin:/usr/local/sbin:/usr/local/squid/sbin" command -v squid) || squid=
}

# install_package ENVIRONMENT WHAT: again whenever a file of the package is newer than what is installed.
install_package() {
    environment=$1
    stamp=$environment/.installed
    if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$PWD $2" ] &&
        [ -z "$(find setup.cfg pyproject.toml squid_imhelper conf -type f ! -name '*.pyc' -newer "$stamp" | head -n 1)" ]; then
        return
    fi
    say "installing squid-imhelper into $environment"
    [ -x "$environment/bin/python" ] || "$python" -m venv "$environment"
    rm -rf build
    "$environment/bin/python" -m pip install -q --disable-pip-version-check --force-reinstall --no-deps .
    "$environment/bin/python" -m pip install -q --disable-pip-version-check "$2"
    rm -rf build
    printf '%s' "$PWD $2" > "$stamp"
}

free_port() {
    "$1/bin/python" - << 'EOT'
import socket
for port in range(3128, 3228):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        print(port)
        break
EOT
}

show_decisions() {
    say "The same decisions, without a Squid:"
    for words in "http://www.meebo.com/" "--method CONNECT web.whatsapp.com:443" "--user-agent MSMSGS http://example.com/" \
        "http://notmeebo.com/"; do
        say "\$ squid-imhelper check --policy conf/policy.toml $words"
        # shellcheck disable=SC2086  # words are words
        "$environment/bin/squid-imhelper" check --policy conf/policy.toml $words
    done
}

run() {
    if is_root; then environment=/opt/squid-imhelper-demo; else environment=.venv; fi
    find_squid
    if [ -z "$squid" ] && is_root; then
        install_packages squid
        find_squid
    fi
    find_python
    install_package "$environment" .
    if [ -z "$squid" ]; then
        say "Squid is not installed; with root, this command installs it (or: apt-get install squid)."
        show_decisions
        return
    fi
    port=$(free_port "$environment")
    [ "$port" = 3128 ] || say "127.0.0.1:3128 is taken; this Squid listens on port $port instead."
    folder=$(mktemp -d /tmp/squid-imhelper.XXXXXX)
    trap 'kill $(cat "$folder/tail.pid" 2> /dev/null) 2> /dev/null || :; rm -rf "$folder"' EXIT
    chmod 755 "$folder"
    "$environment/bin/squid-imhelper" squid-conf --policy "$environment/share/squid-imhelper/policy.toml" \
        > "$folder/imhelper.conf" || give_up "No Squid was started."
    write_squid_conf > "$folder/squid.conf"
    : > "$folder/access.log"
    ! is_root || chown proxy:proxy "$folder" "$folder/access.log"
    cat >&2 << EOT

Squid listens on 127.0.0.1:$port, with the policy $environment/share/squid-imhelper/policy.toml. Try, from another terminal:

  curl -x 127.0.0.1:$port http://www.meebo.com/                    # a web messenger: the error page names it
  curl -x 127.0.0.1:$port -A MSMSGS http://example.com/            # MSN's user agent, wherever it goes
  curl -x 127.0.0.1:$port https://web.whatsapp.com/                # CONNECT: refused with 403
  curl -x 127.0.0.1:$port http://notmeebo.com/                     # no messenger: goes out (an error page of Squid without an Internet)

Its log follows; the last two fields are service and rule. Ctrl-C ends it.

EOT
    (trap '' INT; exec tail -n 0 -F "$folder/access.log" 2> /dev/null) &
    printf '%s' $! > "$folder/tail.pid"
    "$squid" -N -n "imhelper$$" -f "$folder/squid.conf" &
    pid=$!
    trap 'kill "$pid" 2> /dev/null || :' INT TERM HUP
    trap '' PIPE
    status=0
    wait "$pid" || status=$?
    while kill -0 "$pid" 2> /dev/null; do # a signal ends the first wait
        status=0
        wait "$pid" || status=$?
    done
    if [ "$status" != 0 ] && [ -e "$folder/cache.log" ]; then tail -n 20 "$folder/cache.log" >&2; fi
    say "Squid has ended."
}

write_squid_conf() {
    cat << EOT
http_port 127.0.0.1:$port
pid_filename $folder/squid.pid
cache_log $folder/cache.log
coredump_dir $folder
visible_hostname localhost
cache deny all
pinger_enable off
shutdown_lifetime 0 seconds
EOT
    sed "s|/var/log/squid/imhelper.log|$folder/access.log|; /^access_log daemon/d" "$folder/imhelper.conf"
    cat << EOT
http_access allow localhost
http_access deny all
EOT
}

run_tests() {
    if is_root; then environment=/opt/squid-imhelper-test; else environment=.venv; fi
    find_squid
    missing=
    [ -n "$squid" ] || missing="$missing squid-openssl"
    command -v curl > /dev/null || missing="$missing curl"
    command -v ip > /dev/null || missing="$missing iproute2"
    for pair in iptables:iptables nft:nftables conntrack:conntrack sysctl:procps openssl:openssl; do
        PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%:*}" > /dev/null || missing="$missing ${pair#*:}"
    done
    if [ -n "${CI-}" ]; then # large, and the tests that need them are skipped without them
        command -v chromium > /dev/null || missing="$missing chromium"
        command -v shellcheck > /dev/null || missing="$missing shellcheck"
        command -v busybox > /dev/null || missing="$missing busybox"
        [ -n "$(find /usr/lib -name 'libfaketime.so.1' 2> /dev/null)" ] || missing="$missing libfaketime"
    fi
    # shellcheck disable=SC2086  # words are words
    if [ -n "$missing" ] && is_root; then install_packages $missing; fi
    find_python
    install_package "$environment" ".[test]"
    "$environment/bin/ruff" check .
    "$environment/bin/ruff" format --check .
    "$environment/bin/mypy" --python-executable "$environment/bin/python"
    "$environment/bin/pytest" "$@"
}

run_benchmarks() {
    if is_root; then environment=/opt/squid-imhelper-bench; else environment=.venv; fi
    find_squid
    missing=
    [ -n "$squid" ] || missing="$missing squid-openssl"
    for pair in squidGuard:squidguard gcc:gcc ip:iproute2; do
        PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%:*}" > /dev/null || missing="$missing ${pair#*:}"
    done
    [ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"
    [ -n "$(find /usr/lib -name 'libfaketime.so.1' 2> /dev/null)" ] || missing="$missing libfaketime"
    # shellcheck disable=SC2086  # words are words
    if [ -n "$missing" ] && is_root; then install_packages $missing; fi
    find_python
    install_package "$environment" .
    "$environment/bin/python" -m benchmarks "$@"
}

case "${1-}" in
    run) run ;;
    bench) shift; run_benchmarks "$@" ;;
    bench-check) shift; run_benchmarks --check "$@" ;;
    test) shift; run_tests "$@" ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
