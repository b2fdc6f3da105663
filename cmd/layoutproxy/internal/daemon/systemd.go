package daemon

import (
	"net"
	"os"
	"strings"

	"go.uber.org/zap"
)

// notifier reports the state of the program to the service manager, by the protocol of
// sd_notify(3): datagrams of NAME=VALUE lines to the socket in NOTIFY_SOCKET. Without that
// socket it does nothing. A library would take the place of send alone.
type notifier struct {
	log    *zap.Logger
	socket string
}

func newNotifier(log *zap.Logger) notifier {
	return notifier{log, os.Getenv("NOTIFY_SOCKET")}
}

// tell sends lines as one datagram. It logs a failure, and the server continues.
func (n notifier) tell(lines ...string) {
	if n.socket == "" {
		return
	}
	if err := n.send(strings.Join(lines, "\n")); err != nil {
		n.log.Warn("cannot notify the service manager", zap.Error(err))
	}
}

func (n notifier) send(text string) error {
	// A leading @ means the abstract namespace to systemd, and to net as well.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(text))
	return err
}

// while reports that a reload is in progress until reload returns.
func (n notifier) while(reload func()) {
	n.tell("RELOADING=1")
	reload()
	n.tell("READY=1")
}
