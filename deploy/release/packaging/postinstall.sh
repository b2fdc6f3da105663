#!/bin/sh
# A first installation neither enables nor starts the service: its sources must be configured first.
# An upgrade restarts the service if it is running.
set -e
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
# Arguments: dpkg passes "configure" and the previous version; rpm passes the number of installed versions.
case "$1:$2" in
configure:) ;;
configure:* | 2:*) systemctl try-restart layoutproxy.service ;;
esac
