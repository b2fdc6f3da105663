package registry

import (
	"context"
	"net"
	"net/http"
	"syscall"
)

type connKey struct{}

// ConnContext returns the ConnContext of an http.Server that serves a registry: the head, the
// body and the checked end of a blob then share packets. Without it each has its own,
// which costs both sides time.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return ctx
	}
	conn, err := tcp.SyscallConn()
	if err != nil {
		return ctx
	}
	return context.WithValue(ctx, connKey{}, conn)
}

// cork holds back packets that are not full until uncork is called, if the system can.
func cork(req *http.Request) (uncork func(), ok bool) {
	conn, ok := req.Context().Value(connKey{}).(syscall.RawConn)
	if !ok || !setCork(conn, 1) {
		return func() {}, false
	}
	return func() { setCork(conn, 0) }, true
}
