#!/bin/sh
# dpkg passes "remove". rpm passes the number of versions that stay installed.
# The service is stopped only if no version stays, so an upgrade does not stop it.
set -e
[ -d /run/systemd/system ] || exit 0
case "$1" in
remove | 0) systemctl disable --now layoutproxy.service ;;
esac
