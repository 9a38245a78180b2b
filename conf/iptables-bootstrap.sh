#!/bin/sh
# Loads the packet filter half of a policy into the kernel, next to the rules that are there already.
#
# Of iptables it touches only chains whose names begin with IMH- and the jumps to them, of nftables only the table
# `inet squid_imhelper`. What `squid-imhelper firewall` prints without --chains is the other way: a whole rule set.
set -eu
umask 077
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

usage() {
    cat <<'END'
usage: iptables-bootstrap.sh [ACTION] [OPTIONS]
  --dry-run            print what would be loaded (default)
  --check              let the kernel's tools parse it, load nothing (needs root, as do the next four)
  --apply              load it; what was loaded before comes back unless you --confirm it in time
  --confirm            keep what --apply has loaded
  --revert             take out everything of ours
  --persist            make what is loaded now survive a restart (without --backend: of iptables and of nftables)
  --policy FILE        the policy (default: /etc/squid-imhelper/policy.toml), or the word built-in
  --backend NAME       iptables (IPv4 and IPv6, default) or nftables
  --within SECONDS     how long --apply waits for --confirm (default 60; 0: for ever, nothing comes back)
  --end-connections    after --apply, end what is open of what the policy blocks (needs conntrack)
environment: SQUID_IMHELPER (the program), IPTABLES (iptables, iptables-nft or iptables-legacy),
             IMHELPER_STATE (default /var/lib/squid-imhelper/firewall), IMHELPER_ROOT (where /etc is)
END
}

say() { printf '%s\n' "iptables-bootstrap: $*" >&2 || :; } # the terminal may be gone
die() { say "$*" && exit 1; }
absolute() { case $1 in /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac; }
wrong_usage() { say "$* (--help names what there is)" && exit 2; }

# --- What is loaded, and how that changes, by kind: iptables, ip6tables, nftables ---

tool() { case $1 in ip6tables) echo "ip6${iptables#ip}" ;; *) echo "$iptables" ;; esac; }

installed_kinds() {
    for kind in iptables ${ipv6:+ip6tables} nftables; do
        case $kind in nftables) command=nft ;; *) command=$(tool "$kind")-save ;; esac
        if command -v "$command" >/dev/null; then echo "$kind"; fi
    done
}

# What is loaded now: everything for iptables; for nftables our table, without the state of its rules.
listed() {
    case $1 in
        ip*) "$(tool "$1")-save" ;; ruleset) nft list ruleset ;;
        nftables)
            tables=$(nft list tables) || return 1
            ! echo "$tables" | grep -x "table inet squid_imhelper" >/dev/null || nft -s list table inet squid_imhelper
            ;;
    esac
}

# The same as file $2, as a whole: these tools do not notice when a disk is full, cat does.
saved() {
    { listed "$1" || echo "*"; } | cat >"$2" &&
        awk '/^([*]|table )/ { open++ } /^(COMMIT|[}])$/ { open-- } END { exit open != 0 }' "$2" && return
    say "the $1 rules of now cannot be read as a whole" && return 1
}
save() { saved "$1" "$2" || exit 1; }

# Whether something of ours is loaded in kind $1, or lies in one of the files that follow.
has_ours() {
    case $1 in nftables) ours="^table inet squid_imhelper" ;; *) ours="^:IMH-" ;; esac
    save "$1" "$tmp/now"
    shift
    grep -qs "$ours" "$tmp/now" "$@"
}

# What turns our part of the tables as they are (file $1) into our part of file $2, both in the form of iptables-save.
# Chains are declared, which empties those that exist; then come the jumps, the rules, and the chains that go.
# Only a jump from a built-in chain to ours of the same name is ours; one of others goes if its target goes.
transaction() {
    awk '
        function add(list, line) { lines[list, table, ++size[list, table]] = line }
        function print_all(list, i) { for (i = 1; i <= size[list, table]; i++) print lines[list, table, i] }
        /^\*/ { table = $1; if (!known[table]++) tables[++count] = table }
        /^:IMH-/ && !((table, $1) in chain) {
            add("head", $1 " - [0:0]")
            if (wanted) chain[table, $1]; else add("tail", "-X " substr($1, 2))
        }
        /^-A IMH-/ && wanted { add("rules", $0) }
        /^-A IMH-/ || !/^-A .* -[jg] IMH-[^ "]+$/ { next }
        wanted { jump[table, $0]; add("jumps", $0); next }
        {
            over = here[table, $0]++ || !((table, $0) in jump) # another one of the same kind goes, too
            if (over && $0 == "-A " $2 " -j IMH-" $2 || !((table, ":" $NF) in chain)) add("moved", "-D" substr($0, 3))
        }
        END {
            for (t = 1; t <= count; t++) {
                table = tables[t]
                for (i = size["jumps", table]; i > 0; i--) # the last first, since each goes to the head
                    if (!((table, line = lines["jumps", table, i]) in here)) add("moved", "-I" substr(line, 3))
                if (size["head", table] + size["moved", table] == 0) continue
                print table; print_all("head"); print_all("moved")
                print_all("rules"); print_all("tail"); print "COMMIT"
            }
        }' wanted=1 "$2" wanted=0 "$1"
}

# Writes $tmp/plan: what makes file $2 (empty: nothing) our part of kind $1. Empty if there is nothing to do.
plan() {
    saved "$1" "$tmp/now" && : >"$tmp/plan" || return 1
    if [ "$1" != nftables ]; then
        transaction "$tmp/now" "$2" >"$tmp/plan"
    elif [ -s "$tmp/now" ] || [ -s "$2" ]; then
        printf '%s\n' "table inet squid_imhelper" "delete table inet squid_imhelper" | cat - "$2" >"$tmp/plan"
    fi
}

# Makes file $2 our part of kind $1, as one transaction; with `test` as $3 it is only parsed.
put() {
    plan "$1" "$2" || return 1
    [ -s "$tmp/plan" ] || return 0
    case $1-${3:-load} in
        nftables-test) nft -c -f "$tmp/plan" ;;
        nftables-load) nft -f "$tmp/plan" ;;
        *-test) "$(tool "$1")-restore" --noflush --test <"$tmp/plan" ;;
        *-load) "$(tool "$1")-restore" --noflush -w 10 <"$tmp/plan" ;;
    esac
}

mark="fwmark 0x100/0x100 lookup 3129"
by_hand="ip [-6] route add local default dev lo table 3129; ip [-6] rule add $mark"
routed() { ip "${1:--4}" rule show 2>/dev/null | grep -q "$mark"; }

# What TPROXY has marked is delivered on this machine; file $1/tproxy says whether that is wanted.
# shellcheck disable=SC2086 # the mark is several words
routing() {
    for family in -4 ${ipv6:+-6}; do
        if [ -e "$1/tproxy" ]; then
            [ "$family$(cat /proc/sys/net/ipv6/conf/lo/disable_ipv6 2>/dev/null)" != -61 ] || continue # switched off
            routed $family || ip $family rule add $mark || return 1
            ip $family route replace local default dev lo table 3129 || return 1
        elif routed $family; then
            while ip $family rule del $mark 2>/dev/null; do :; done
            ip $family route flush table 3129 2>/dev/null || : # there may be none
        fi
    done
}

# Makes the files of folder $1 our part of everything: all that can be, even when something cannot.
put_all() {
    failed=0
    for kind in $kinds; do put "$kind" "$1/$kind" || failed=1; done
    routing "$1" || failed=1
    return $failed
}

# --- The rules of the policy: $tmp/new/KIND ---

firewall() {
    "$program" firewall --policy "$policy" --backend "$@" </dev/null ||
        die "$program firewall --backend $* failed (above): nothing is loaded"
}

our_chains='^(#.*|\*(filter|nat|mangle|raw)|:IMH-[^ ]+ - \[0:0\]|-A IMH-.*|-A [A-Z]+ -j IMH-[^ "]+|COMMIT|)$'
our_table='^(#.*|(delete )?table inet squid_imhelper( \{)?|\}|[[:blank:]].*|)$'

generate() {
    PATH="$PATH:/usr/local/bin:/opt/squid-imhelper/bin"
    command -v "$program" >/dev/null || die "there is no $program; say where: SQUID_IMHELPER=/path/to/squid-imhelper"
    [ "$policy" = built-in ] || [ -r "$policy" ] ||
        die "cannot read $policy; name the policy: --policy FILE (or --policy built-in: every messenger, for everybody)"
    for kind in $kinds; do
        new=$tmp/new/$kind
        firewall "$kind" --chains >"$new"
        [ -s "$new" ] || die "$program printed nothing for $kind: nothing is loaded"
        case $kind in nftables) form=$our_table ;; *) form=$our_chains ;; esac
        ! grep -Ev "$form" "$new" >&2 || die "the $kind rules have lines about what is not ours: nothing is loaded"
        if grep -Eiq '^[^#]*[[:blank:]]tproxy[[:blank:]]' "$new"; then : >"$tmp/new/tproxy"; fi
        [ -z "$end_connections" ] || firewall "$kind" --conntrack >>"$tmp/conntrack"
    done
    cat "$tmp/new/"* | grep -Eq '^:IMH-|\{$' || die "$program printed no rules at all: nothing is loaded"
    [ -z "$end_connections" ] || command -v conntrack >/dev/null || die "--end-connections needs conntrack"
}

# What the program says above its rules for kind $1: what it has left out, for one.
head_of() { sed -n '/^#/!q; p' "$tmp/new/$1"; }

dry_run() {
    generate
    for kind in $kinds; do
        echo "# $kind"
        if [ "$(id -u)" != 0 ]; then cat "$tmp/new/$kind" && continue; fi # what is loaded only root may see
        plan "$kind" "$tmp/new/$kind"
        [ "$kind" = nftables ] || head_of "$kind" # there it is part of the plan
        cat "$tmp/plan"
    done
    [ ! -e "$tmp/new/tproxy" ] || echo "# $by_hand"
}

check() {
    generate
    for kind in $kinds; do head_of "$kind"; done | awk '!said[$0]++' >&2 || : # both families say the same
    for kind in $kinds; do
        put "$kind" "$tmp/new/$kind" test || die "the $kind rules are refused (above): nothing is loaded"
    done
}

# --- The way back: $state/before is what was loaded; while $state/waiting is there, somebody waits to put it back ---

lock() {
    (umask 022 && mkdir -p "$(dirname "$state")") # which is not ours alone
    mkdir -p "$state"
    exec 9>"$state/lock"
    flock 9 # one run at a time; the kernel ends the lock with the process
}

boot=$(cat /proc/sys/kernel/random/boot_id) # what waited before a restart of the machine waits no more
waiting() { grep -q "^$boot" "$state/waiting" 2>/dev/null; }
not_while_waiting() { ! waiting || die "an --apply is not confirmed: --confirm it, --revert, or wait for its end"; }

remember() {
    rm -rf "$state/before"
    mkdir "$state/before"
    for kind in $kinds; do save "$kind" "$state/before/$kind"; done
    case $kinds in *nftables*) save ruleset "$state/before/ruleset" ;; esac
    if routed; then : >"$state/before/tproxy"; fi
}

# Before anything is loaded: should this process be killed half-way, what was there comes back.
start_watching() {
    echo "$boot $$" >"$state/waiting"
    mkfifo "$tmp/ready"
    setsid sh "$script" --watch --backend "$backend" --within "$within" \
        </dev/null >"$tmp/ready" 2>"$state/rollback.log" 9>&- &
    read -r _ <"$tmp/ready" || { rm "$state/waiting" && die "nobody can be set to wait: nothing is loaded"; }
}

# In a session of its own, deaf to signals (--apply has seen to that). Somebody may have taken `waiting` away meanwhile.
watch() {
    mine=$(cat "$state/waiting")
    echo ready
    exec >/dev/null
    lock && exec 9>&- # the time runs from when all is loaded: --apply has the lock until then, or until it is dead
    sleep "$within"
    lock
    [ "$mine" = "$(cat "$state/waiting" 2>/dev/null)" ] || return 0
    go_back "not confirmed within $within s"
}

go_back() {
    outcome="what was loaded before is back"
    put_all "$state/before" || outcome="NOT ALL of what was loaded before is back; it is in $state/before"
    rm -f "$state/waiting"
    die "$1: $outcome"
}

# --- Actions ---

apply() {
    check
    [ -f "$script" ] || die "--apply needs this script as a file"
    lock
    not_while_waiting
    remember
    trap '' HUP INT QUIT PIPE TERM # not to be left half-way
    if [ "$within" != 0 ]; then start_watching; fi
    put_all "$tmp/new" || go_back "the rules are refused (above)"
    for kind in $(installed_kinds); do
        case " $kinds " in *" $kind "*) continue ;; esac
        ! (has_ours "$kind") 2>/dev/null || say "note: rules of ours in $kind count, too"
    done
    if [ -e "$tmp/new/tproxy" ] && grep -qsx 1 /proc/sys/net/bridge/bridge-nf-call-iptables; then
        say "note: should the LAN be a bridge, TPROXY gets nothing until net.bridge.bridge-nf-call-iptables is 0"
    fi
    if [ "$within" = 0 ]; then
        say "loaded"
    else
        say "loaded. If a NEW connection to this machine works, type within $within seconds"
        say "    ${IMHELPER_STATE:+IMHELPER_STATE=\"$state\" }sh \"$script\" --confirm"
        say "or else what was loaded before comes back by itself, of which $state/rollback.log tells"
    fi
    exec 9>&- # --confirm need not wait for what follows
    [ -z "$end_connections" ] || end_what_is_open
}

end_what_is_open() {
    failed=0
    while read -r line; do
        case $line in "conntrack -D "*) ;; *) continue ;; esac
        # shellcheck disable=SC2086 # words; conntrack fails, too, if nothing is to be ended
        said=$(set -f && $line 2>&1 </dev/null) || case $said in
            *" 0 flow entries have been deleted"*) ;;
            *) say "$line: $said" && failed=1 ;;
        esac
    done <"$tmp/conntrack"
    [ $failed = 0 ] || die "the rules are loaded, but not every connection could be ended"
}

confirm() {
    lock
    waiting || die "nothing waits for --confirm"
    rm "$state/waiting"
    say "confirmed; after a restart of the machine it is gone, unless you --persist it"
}

revert() {
    lock
    rm -f "$state/waiting"
    kinds=$(installed_kinds)
    for kind in $kinds; do : >"$tmp/nothing/$kind"; done
    put_all "$tmp/nothing" || :
    for iptables in iptables-nft iptables-legacy; do for kind in iptables ${ipv6:+ip6tables}; do
        ! (has_ours "$kind") 2>/dev/null || put "$kind" /dev/null || failed=1 # whichever it was loaded with
    done; done
    [ $failed = 0 ] || die "not everything could be taken out (above)"
    say "taken out; --persist makes that last, too"
}

# Writes stdin to file $1, as a whole or not at all.
replace() { { cat >"$1~" && mv -f "$1~" "$1" && say "written: $1"; } || { rm -f "$1~" && die "cannot write $1"; }; }

persist() {
    lock
    not_while_waiting
    our_file=$root/etc/nftables.d/squid-imhelper.nft
    about=${named:-$(kinds_to_persist)}
    case $about in *nftables) persist_nftables ;; esac
    case $about in ip*) persist_iptables ;; "") say "nothing of ours is loaded or lies in a file: nothing to do" ;; esac
    ! routed || say "TPROXY needs more, at each start of the machine, and this is yours to arrange: $by_hand"
}

kinds_to_persist() {
    for kind in $(installed_kinds); do
        ! has_ours "$kind" "$our_file" "$root/etc/iptables/rules.v"[46] "$root/etc/sysconfig/ip"*tables || echo "$kind"
    done
}

persist_iptables() {
    if [ -e "$root/usr/share/netfilter-persistent/plugins.d/15-ip4tables" ]; then
        netfilter-persistent save || die "netfilter-persistent could not save"
    elif [ -d "$root/etc/sysconfig" ]; then
        for kind in $kinds; do save "$kind" "$tmp/now" && replace "$root/etc/sysconfig/$kind" <"$tmp/now"; done
        say "iptables.service and ip6tables.service load that at a start, if they are enabled"
    else
        die "neither netfilter-persistent (apt-get install iptables-persistent) nor /etc/sysconfig is there"
    fi
}

persist_nftables() {
    for conf in "$root/etc/sysconfig/nftables.conf" "$root/etc/nftables.conf" "$root/etc/nftables.nft" ""; do
        if [ -e "$conf" ]; then break; fi
    done
    [ -n "$conf" ] || die "there is no /etc/nftables.conf"
    mkdir -p "${our_file%/*}"
    save nftables "$tmp/loaded"
    plan nftables "$tmp/loaded"
    replace "$our_file" <"$tmp/plan"
    grep -qxF "include \"$our_file\"" "$conf" || printf '\ninclude "%s"\n' "$our_file" >>"$conf"
    say "nftables.service loads that from $conf at a start, if it is enabled"
}

main() {
    action="" backend=iptables named="" within=60 end_connections="" ipv6=""
    state=${IMHELPER_STATE:-/var/lib/squid-imhelper/firewall} root=${IMHELPER_ROOT:-}
    policy=$root/etc/squid-imhelper/policy.toml
    iptables=${IPTABLES:-iptables} program=${SQUID_IMHELPER:-squid-imhelper}
    while [ $# -gt 0 ]; do
        case $1 in --policy | --backend | --within) [ $# -gt 1 ] || wrong_usage "$1 needs a value" ;; esac
        case $1 in
            --dry-run | --check | --apply | --confirm | --revert | --persist | --watch)
                [ -z "$action" ] || wrong_usage "$action and $1: one at a time"
                action=$1
                ;;
            --policy) policy=$2 && shift ;;
            --backend) backend=$2 named=$2 && shift ;;
            --within) within=$2 && shift ;;
            --end-connections) end_connections=yes ;;
            -h | --help) usage && exit ;;
            *) wrong_usage "unknown: $1" ;;
        esac
        shift
    done
    if [ -d /proc/sys/net/ipv6 ]; then ipv6=yes; fi
    case $backend in
        iptables) kinds="iptables ${ipv6:+ip6tables}" ;;
        nftables) kinds=nftables ;;
        *) wrong_usage "--backend $backend: iptables or nftables" ;;
    esac
    case $within in "" | *[!0-9]* | ?????*) wrong_usage "--within $within: whole seconds, up to 9999" ;; esac
    case $action in "" | --dry-run) ;; *) [ "$(id -u)" = 0 ] || die "$action must run as root" ;; esac
    for command in awk flock setsid; do command -v $command >/dev/null || die "$command is not installed"; done
    script=$(absolute "$0") state=$(absolute "$state")
    tmp=$(mktemp -d)
    trap 'rm -rf "$tmp"' EXIT
    trap 'exit 1' HUP INT TERM
    mkdir "$tmp/new" "$tmp/nothing"
    case $action in
        "" | --dry-run) dry_run ;; --check) check; say "accepted" ;;
        --apply) apply ;; --confirm) confirm ;; --revert) revert ;; --persist) persist ;; --watch) watch ;;
    esac
}

main "$@"
exit
