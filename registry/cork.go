package registry

import (
	"context"
	"net"
	"net/http"
	"syscall"
)

type connKey struct{}

// ConnContext is the ConnContext hook of an http.Server that serves a registry. With it, the head
// and the body of a response share packets if the body has at most corkedSize bytes. Without it,
// they are sent in separate packets, which costs both sides time.
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

// cork holds back packets that are not full, until uncork is called. ok reports success.
func cork(req *http.Request) (uncork func(), ok bool) {
	conn, ok := req.Context().Value(connKey{}).(syscall.RawConn)
	if !ok || !setCork(conn, 1) {
		return func() {}, false
	}
	return func() { setCork(conn, 0) }, true
}
