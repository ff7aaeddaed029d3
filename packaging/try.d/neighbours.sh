# shellcheck shell=bash
# Who lives around the Debian that is tried: a carrier, a trunk and a phone of the site's own, a call centre, on a network between the two; and the
# Asterisk that is there before CapConduit. Sourced after booted.sh.

# shellcheck disable=SC2034  # try-calls reads some
MACHINE=192.0.2.1 CARRIER=198.51.100.10 TRUNK=198.51.100.30 PHONE=203.0.113.90
# The README's plan names these two.
CENTRE=203.0.113.7 DID=+442071234567
world=capconduit-$$
beneath=(etc/asterisk var/spool/asterisk var/lib/asterisk var/log/asterisk)
binds=()
phones=()

# A Debian with an Asterisk of its own, kept in the cache folder, copied to $root.
lay_site() { # suite
  case $1 in
    trixie) furnish() { asterisk_of_testing "$1"; } ;;
    bookworm) furnish() { asterisk_beneath "$1"; } ;;
    noble) furnish() { chroot "$1" env DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends asterisk >/dev/null 2>&1; } ;;
    *) fail "SUITE is '$1': trixie, bookworm or noble" ;;
  esac
  lay_root "$1" calls systemd systemd-sysv dbus procps iproute2 ca-certificates strace
  if [[ $1 == bookworm ]]; then
    local folder
    for folder in "${beneath[@]}" var/lib/capconduit; do binds+=(--bind="$root/$folder:/srv/asterisk/$folder"); done
    binds+=(--bind="$root/srv/run:/srv/asterisk/run/asterisk")
  fi
  # What the distribution does by itself once a day holds dpkg's lock.
  local timer
  for timer in apt-daily apt-daily-upgrade; do ln -sf /dev/null "$root/etc/systemd/system/$timer.timer"; done
  site_files
}

forky() { # root
  local keys=/usr/share/keyrings/debian-archive-keyring
  [[ -e $1$keys.gpg ]] && keys=$keys.gpg || keys=$keys.pgp
  printf 'deb [signed-by=%s] http://deb.debian.org/debian forky main\n' "$keys" >"$1/etc/apt/sources.list.d/forky.list"
  printf 'Acquire::Check-Valid-Until "false";\n' >"$1/etc/apt/apt.conf.d/90-old-lists"
}

asterisk_of_testing() { # root: packages of testing in a Debian 13
  forky "$1"
  printf 'Package: *\nPin: release n=forky\nPin-Priority: 100\n' >"$1/etc/apt/preferences.d/forky"
  chroot "$1" sh -ec 'export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    apt-get -qq install --yes --no-install-recommends --target-release forky asterisk' >/dev/null 2>&1
}

# Asterisk with all its libraries in /srv/asterisk, as a unit whose root that is; its folders are those of the whole.
asterisk_beneath() { # root
  bootstrap forky "$1/srv/asterisk" >/dev/null
  # One user in both, which the package finds.
  local base
  for base in "$1" "$1/srv/asterisk"; do
    chroot "$base" sh -ec 'groupadd --system --gid 970 asterisk
      useradd --system --uid 970 --gid asterisk --home-dir /var/lib/asterisk --shell /usr/sbin/nologin asterisk'
  done
  asterisk_of_testing "$1/srv/asterisk"
  local folder
  for folder in "${beneath[@]}"; do
    mkdir -p "$1/${folder%/*}"
    cp -a "$1/srv/asterisk/$folder" "$1/$folder"
  done
  # Both roots' /run are empty at the start.
  install -d -o 970 -g 970 "$1/srv/run"
  install -d "$1/srv/asterisk/run/asterisk" "$1/srv/asterisk/var/lib/capconduit" "$1/var/lib/capconduit"
  printf 'L /run/asterisk - - - - /srv/run\n' >"$1/usr/lib/tmpfiles.d/asterisk.conf"
  printf '#!/bin/sh\nexec chroot /srv/asterisk /usr/sbin/asterisk "$@"\n' >"$1/usr/sbin/asterisk"
  chmod 755 "$1/usr/sbin/asterisk"
  cat >"$1/etc/systemd/system/asterisk.service" <<'UNIT'
[Unit]
Description=Asterisk in a root of its own
After=network.target

[Service]
RootDirectory=/srv/asterisk
MountAPIVFS=yes
BindPaths=/srv/run:/run/asterisk
ExecStart=/usr/sbin/asterisk -f -p -U asterisk -G asterisk
Restart=always

[Install]
WantedBy=multi-user.target
UNIT
  ln -s /etc/systemd/system/asterisk.service "$1/etc/systemd/system/multi-user.target.wants/asterisk.service"
}

booted() { until_so 'Asterisk is up' sh -c "asterisk -rx 'core waitfullybooted' | grep -q 'fully booted'"; }

# Names the machine, as an installer does.
named() {
  local base
  for base in "$root" "$root/srv/asterisk"; do
    [[ ! -d $base/etc ]] || echo "127.0.1.1 $(inside uname -n)" >>"$base/etc/hosts"
  done
}

# What the site has itself: a transport, a phone, a trunk whose calls ring it, and one number of the trunk's that it gives to CapConduit.
site_files() {
  cat >>"$root/etc/asterisk/pjsip.conf" <<FILE

[transport-udp]
type = transport
protocol = udp
bind = 0.0.0.0:5060

[100]
type = endpoint
context = site
disallow = all
allow = ulaw
direct_media = no
aors = 100
[100]
type = aor
contact = sip:100@$PHONE:5060

[trunk]
type = endpoint
context = site
disallow = all
allow = ulaw
direct_media = no
[trunk]
type = identify
endpoint = trunk
match = $TRUNK
FILE
  cat >>"$root/etc/asterisk/extensions.conf" <<FILE

[site]
exten => 100,1,Dial(PJSIP/100,20)
exten => $DID,1,Goto(capconduit-inbound,\${EXTEN},1)
FILE
}

# A cable between the booted Debian and everybody else.
connect() {
  local inner
  inner=$(leader)
  trap leave EXIT
  ip netns add "$world"
  ip link add world netns "$world" type veth peer name eth0 netns "$inner"
  inside ip link set eth0 up
  inside ip address add "$MACHINE/24" dev eth0
  inside ip route add default via 192.0.2.2
  ip -netns "$world" link set lo up
  ip -netns "$world" link set world up
  local address
  for address in 192.0.2.2/24 "$CARRIER/32" "$TRUNK/32" "$CENTRE/32" "$PHONE/32"; do
    ip -netns "$world" address add "$address" dev world
  done
}

leave() {
  local phone
  for phone in "${phones[@]}"; do kill "$phone" 2>/dev/null || true; done
  ip netns delete "$world" 2>/dev/null || true
  finish
}

# Somebody who answers, from now on.
phone() { # name address
  ip netns exec "$world" sipp -sn uas -i "$2" -p 5060 -nostdin >"$work/$1.log" 2>&1 &
  phones+=($!)
}

# Calls at a rate; all must be answered. Their set-up times are in $work/NAME.ms.
call() { # name from number calls per-second talk-ms
  local folder=$work/sipp-$1
  mkdir -p "$folder"
  (cd "$folder" && exec ip netns exec "$world" sipp -sn uac -i "$2" -s "$3" "$MACHINE:5060" -m "$4" -r "$5" -d "$6" -l 1000 \
    -nostdin -trace_err -trace_rtt -rtt_freq 1 >"$folder/out" 2>&1)
}
answered() { # name from number calls per-second talk-ms
  call "$@" || fail "calls '$1' were not all answered: $(tail -n 25 "$work/sipp-$1/out"; cat "$work/sipp-$1"/*errors* 2>/dev/null | head -n 40)"
  passed
}
longest() { # name: the longest time from INVITE to 200, in whole milliseconds
  cat "$work/sipp-$1"/*rtt*.csv | awk -F';' '$2 + 0 > longest { longest = $2 + 0 } END { printf "%d", longest }'
}

site_kept() {
  [[ $(site_state) == "$site_before" ]] || fail "Asterisk's files are others: $(diff <(echo "$site_before") <(site_state))"
  passed
}

# Names, owners, modes and contents of Asterisk's files.
site_state() { inside sh -c 'cd /etc/asterisk && find . -printf "%p %U:%G %m %l\n" | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum'; }
