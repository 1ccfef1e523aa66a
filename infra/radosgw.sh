#!/usr/bin/env bash
# Start a real S3 server for the tests: Ceph's radosgw over one monitor and one OSD in memory, in a container made of
# Debian's packages (580 MB). Nothing is kept when it stops.
# Usage: infra/radosgw.sh start [PORT] | stop        needs root, mmdebstrap, curl, and a Docker engine that answers.
set -euo pipefail

image=trimtab-radosgw:16
name=trimtab-radosgw
suite=bookworm

fail() { echo "radosgw: $*" >&2; exit 1; }
docker info >/dev/null 2>&1 || fail "no Docker engine answers; start one, or set DOCKER_HOST"

make_image() {
    [ "$(id -u)" -eq 0 ] || fail "mmdebstrap needs root here; run this as root"
    command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing; apt-get install mmdebstrap"
    local folder sources=() file
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do
        if [ -s "$file" ] && grep -q "$suite" "$file"; then sources+=("$file"); fi
    done
    folder=$(mktemp -d)
    mmdebstrap --quiet --variant=minbase --include=ceph-mon,ceph-osd,ceph-common,radosgw "$suite" "$folder/ceph.tar" \
        ${sources[@]+"${sources[@]}"} 2>"$folder/log" || { tail -n 20 "$folder/log" >&2; fail "mmdebstrap failed"; }
    docker import "$folder/ceph.tar" "$image" >/dev/null
    rm -rf "$folder"
}

# Runs in the container. A pool of one copy in memory: this is a server to test against, not one to keep data in.
inside=$(cat <<'INSIDE'
set -eu
new_id() { cat /proc/sys/kernel/random/uuid; }
cluster=$(new_id) osd=$(new_id) admin=/etc/ceph/ceph.client.admin.keyring
mkdir -p /etc/ceph /var/lib/ceph/mon/ceph-a /var/lib/ceph/osd/ceph-0 /var/run/ceph
cat > /etc/ceph/ceph.conf <<CONFIG
[global]
fsid = $cluster
mon host = 127.0.0.1
public addr = 127.0.0.1
ms bind ipv6 = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail crit = 1
osd objectstore = memstore
memstore device bytes = 2147483648
rgw frontends = beast endpoint=0.0.0.0:7480
CONFIG
ceph-authtool --create-keyring /tmp/mon.keyring --gen-key -n mon. --cap mon 'allow *'
ceph-authtool --create-keyring $admin --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
ceph-authtool /tmp/mon.keyring --import-keyring $admin
monmaptool --create --add a 127.0.0.1 --fsid "$cluster" /tmp/monmap
ceph-mon --mkfs -i a --monmap /tmp/monmap --keyring /tmp/mon.keyring
ceph-mon -i a
ceph osd new "$osd" 0
ceph auth get-or-create osd.0 mon 'allow profile osd' osd 'allow *' > /var/lib/ceph/osd/ceph-0/keyring
ceph-osd -i 0 --mkfs --osd-uuid "$osd"
ceph-osd -i 0
radosgw-admin user create --uid=trimtab --display-name=trimtab --access-key=testing --secret-key=testing
exec radosgw -n client.admin --keyring $admin -f
INSIDE
)

case "${1:-}" in
start)
    port=${2:-7480}
    docker image inspect "$image" >/dev/null 2>&1 || make_image
    docker rm -f "$name" >/dev/null 2>&1 || true
    docker run -d --name "$name" -p "127.0.0.1:$port:7480" "$image" sh -c "$inside" >/dev/null
    for _ in $(seq 120); do
        if curl --noproxy '*' -sf -m 2 "http://127.0.0.1:$port/" >/dev/null; then
            echo "export TRIMTAB_TEST_S3_URL=http://127.0.0.1:$port AWS_ACCESS_KEY_ID=testing AWS_SECRET_ACCESS_KEY=testing AWS_DEFAULT_REGION=us-east-1"
            exit 0
        fi
        sleep 1
    done
    docker logs --tail 20 "$name" >&2
    fail "no answer within two minutes"
    ;;
stop) docker rm -f "$name" >/dev/null ;;
*) fail "say start [PORT] or stop" ;;
esac
