# shellcheck shell=bash
# What trying a package in a Debian of its own takes. Sourced; sets $work, which is removed at the end, and $root in it.

export LC_ALL=C
checks=0
said=
before=

fail() {
  printf '%s: FAILED: %s\n' "${0##*/}" "$*" >&2
  if [[ -n ${CAPCONDUIT_TRY_STAYS:-} && -n ${root:-} ]]; then
    printf '%s: stays as it is until Ctrl-C: %s\n' "${0##*/}" "$root${process:+, booted as process $(pgrep --parent "$process" --oldest || true)}" >&2
    sleep infinity
  fi
  exit 1
}
say() { printf '%s: %s\n' "${0##*/}" "$*"; }
passed() { checks=$((checks + 1)); }

# A Debian with these packages besides the smallest set, kept in the cache folder, copied to $root. What a function `furnish` does to a root is
# kept as well.
lay_root() { # suite name packages…
  local suite=$1 cache=${CAPCONDUIT_CACHE:-/var/cache/capconduit}/debian-$1-$2
  shift 2
  ((EUID == 0)) || fail 'run this as root: it makes a system of its own'
  if [[ ! -e $cache/etc/debian_version ]]; then
    say "getting $suite, once"
    rm -rf "$cache.new"
    bootstrap "$suite" "$cache.new" ${1:+--include="$(IFS=, && printf '%s' "$*")"} >/dev/null
    if declare -F furnish >/dev/null; then furnish "$cache.new"; fi
    mv "$cache.new" "$cache"
  fi
  work=$(mktemp -d)
  root=$work/root
  trap finish EXIT
  chmod 755 "$work"
  cp -a "$cache" "$root"
  mount -t proc proc "$root/proc"
}

bootstrap() { # suite folder options…
  local suite=$1 folder=$2 keys=/usr/share/keyrings/ubuntu-archive-keyring.gpg
  shift 2
  case $suite in
    noble)
      [[ -r $keys ]] || fail "Ubuntu's archive keys are missing: put them into $keys (package ubuntu-keyring)"
      # Debian 12 does not know this one, whose script is that of all Ubuntus.
      debootstrap --variant=minbase --components=main,universe --keyring="$keys" "$@" "$suite" "$folder" \
        http://archive.ubuntu.com/ubuntu /usr/share/debootstrap/scripts/gutsy
      ;;
    # Nor this one, which it makes as it makes sid.
    forky) debootstrap --variant=minbase "$@" "$suite" "$folder" http://deb.debian.org/debian /usr/share/debootstrap/scripts/sid ;;
    *) debootstrap --variant=minbase "$@" "$suite" "$folder" ;;
  esac
}

finish() {
  if [[ -n ${process:-} ]]; then
    kill "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  fi
  ! mountpoint -q "$root/proc" || umount "$root/proc"
  rm -rf --one-file-system "$work"
}

inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive "$@"; }

# What is said is kept, for `says`, and shown where a check fails.
run() { # command: must succeed
  said=$(inside "$@" 2>&1) || fail "$*: $said"
  passed
}
refused() { # command: must fail
  if said=$(inside "$@" 2>&1); then fail "$* should have failed: $said"; fi
  passed
}
says() { # text: of the last command
  [[ $said == *"$1"* ]] || fail "it does not say '$1': $said"
  passed
}
silent() { # text: of the last command
  [[ $said != *"$1"* ]] || fail "it says '$1': $said"
  passed
}
is() { # path "owner:group mode"
  local found
  found=$(inside stat -c '%U:%G %a' "$1") || fail "$1 is missing"
  [[ $found == "$2" ]] || fail "$1 is $found, not $2"
  passed
}
gone() { # path
  [[ ! -e $root$1 && ! -L $root$1 ]] || fail "$1 is still there"
  passed
}
# What no package may touch once it is there.
state() { sha256sum "$root"/etc/capconduit/secrets/ari "$root"/etc/capconduit/capconduit.toml "$root"/var/lib/capconduit/instance 2>/dev/null || true; }
kept() { # what happened
  [[ $(state) == "$before" ]] || fail "$1 has changed secrets, configuration or data"
  passed
}
ended() { printf '%s: %s passed, 0 failed\n' "${0##*/}" "$checks"; }
