#!/bin/sh
# The service is neither enabled nor started by an installation: its configuration names what to
# serve. An upgrade restarts it if it runs.
set -e
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
# dpkg: "configure" and the version before; rpm: the number of versions that are installed.
case "$1:$2" in
configure:) ;;
configure:* | 2:*) systemctl try-restart layoutproxy.service ;;
esac
