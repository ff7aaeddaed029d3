# shellcheck shell=bash
# What trying a package under systemd takes: the Debian in $root (common.sh) is booted, in a network of its own. Sourced after common.sh.

# $process boots it; what is said on its console is in $work/log.
boot() { # options of systemd-nspawn…
  umount "$root/proc"
  systemd-nspawn --quiet --directory="$root" --boot --register=no --keep-unit --private-network --console=pipe "$@" </dev/null >"$work/log" 2>&1 &
  process=$!
  until_so 'systemd is up' sh -c 'systemctl is-system-running | grep -qE "running|degraded"'
}
leader() { pgrep --parent "$process" --oldest; }

inside() {
  nsenter --target "$(leader)" --mount --uts --ipc --net --pid --root \
    env -i --chdir=/ PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive "$@"
}

until_so() { # what command…
  local what=$1
  shift
  for _ in {1..300}; do
    if inside "$@" >/dev/null 2>&1; then return; fi
    sleep 0.2
  done
  fail "still not so: $what: $(inside "$@" 2>&1 || true)"
}
pid() { inside systemctl show --property=MainPID --value capconduit; }
service_is() { # word: what systemd says of it
  [[ $(inside systemctl is-active capconduit || true) == "$1" ]] || fail "it is not $1"
  passed
}
same() { # pid: the process that runs
  [[ $(pid) == "$1" ]] || fail "$1 does not run any more"
  passed
}
other() {
  [[ $(pid) != "$1" && $(pid) != 0 ]] || fail "$1 was not replaced: $(pid)"
  passed
}
