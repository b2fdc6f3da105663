#!/bin/sh
# Arguments of dpkg: "remove"; of rpm: 0 if no version stays. An upgrade does not stop the service.
set -e
[ -d /run/systemd/system ] || exit 0
case "$1" in
remove | 0) systemctl disable --now layoutproxy.service ;;
esac
