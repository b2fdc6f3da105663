package daemon

import (
	"net"
	"os"

	"go.uber.org/zap"
)

// notifier reports the state of the program to the service manager. As in sd_notify(3), it sends
// datagrams with NAME=VALUE lines to the socket in $NOTIFY_SOCKET. Without that variable it does
// nothing. A library would save only the method send.
type notifier struct {
	log    *zap.Logger
	socket string
}

func newNotifier(log *zap.Logger) notifier {
	return notifier{log, os.Getenv("NOTIFY_SOCKET")}
}

// send sends one line to the service manager. If that fails, it logs the error.
func (n notifier) send(line string) {
	if n.socket == "" {
		return
	}
	// A name with a leading @ is an abstract socket. systemd and package net agree on that.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err == nil {
		_, err = conn.Write([]byte(line))
		conn.Close()
	}
	if err != nil {
		n.log.Warn("cannot notify the service manager", zap.Error(err))
	}
}

// duringReload calls reload, and reports its beginning and end to the service manager.
func (n notifier) duringReload(reload func()) {
	n.send("RELOADING=1")
	reload()
	n.send("READY=1")
}
