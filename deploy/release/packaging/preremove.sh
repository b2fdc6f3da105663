#!/bin/sh
# dpkg: "remove"; rpm: 0 if no version stays. An upgrade leaves the service as it is.
set -e
[ -d /run/systemd/system ] || exit 0
case "$1" in
remove | 0) systemctl disable --now layoutproxy.service ;;
esac
