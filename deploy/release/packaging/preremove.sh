#!/bin/sh
# Argument: dpkg passes "remove", or "upgrade" before an upgrade; rpm passes the number of versions that stay installed.
# Only the removal of the last version stops and disables the service. For an upgrade, postinstall.sh restarts it.
set -e
[ -d /run/systemd/system ] || exit 0
case "$1" in
remove | 0) systemctl disable --now layoutproxy.service ;;
esac
