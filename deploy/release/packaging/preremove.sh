#!/bin/sh
# Argument: dpkg passes "remove"; rpm passes the number of versions that stay installed.
# An upgrade does not stop the service. The service is stopped and disabled only if no version stays installed.
set -e
[ -d /run/systemd/system ] || exit 0
case "$1" in
remove | 0) systemctl disable --now layoutproxy.service ;;
esac
