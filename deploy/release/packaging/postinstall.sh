#!/bin/sh
# An installation neither enables nor starts the service, because its configuration must name the
# sources first. An upgrade restarts a running service.
set -e
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
# Arguments of dpkg: "configure" and the previous version; of rpm: the number of installed versions.
case "$1:$2" in
configure:) ;;
configure:* | 2:*) systemctl try-restart layoutproxy.service ;;
esac
