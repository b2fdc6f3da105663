package daemon

import (
	"net"
	"os"

	"go.uber.org/zap"
)

// notifier reports the state of the program to the service manager, by the protocol of
// sd_notify(3): datagrams of NAME=VALUE lines to the socket in NOTIFY_SOCKET. Without that
// socket it does nothing. A library would replace only send.
type notifier struct {
	log    *zap.Logger
	socket string
}

func newNotifier(log *zap.Logger) notifier {
	return notifier{log, os.Getenv("NOTIFY_SOCKET")}
}

// send sends a line as a datagram. It only logs a failure.
func (n notifier) send(line string) {
	if n.socket == "" {
		return
	}
	// A leading @ means the abstract namespace to systemd, and to net as well.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err == nil {
		_, err = conn.Write([]byte(line))
		conn.Close()
	}
	if err != nil {
		n.log.Warn("cannot notify the service manager", zap.Error(err))
	}
}

// duringReload reports a reload until reload returns.
func (n notifier) duringReload(reload func()) {
	n.send("RELOADING=1")
	reload()
	n.send("READY=1")
}
