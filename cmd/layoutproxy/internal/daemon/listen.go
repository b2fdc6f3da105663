package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
	"github.com/layoutproxy/layoutproxy/registry"
)

// listening is an HTTP server and where it listens.
type listening struct {
	name string
	*http.Server
	net.Listener
}

func (s *Daemon) listen(name, address string, h http.Handler) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return exit.WithHint(fmt.Errorf("listening for the %s: %w", name, err),
			fmt.Sprintf("is another program there? choose another address with --%s", map[string]string{"registry": "listen", "admin": "admin-listen"}[name]))
	}
	quiet, err := zap.NewStdLogAt(s.log.Named(name), zap.DebugLevel)
	if err != nil {
		return err
	}
	s.servers = append(s.servers, listening{name, &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ConnContext:       registry.ConnContext,
		ErrorLog:          quiet, // what clients do wrong
	}, l})
	return nil
}

// writeAddresses writes where the servers listen, for whatever waits for the file. It need not
// outlast a crash, as the addresses do not.
func (s *Daemon) writeAddresses(file string) error {
	var text string
	for _, l := range s.servers {
		text += fmt.Sprintf("%s=%s\n", l.name, l.Listener.Addr())
	}
	if err := durable.WriteFile(file, []byte(text), 0o644); err != nil {
		return fmt.Errorf("address file: %w", err)
	}
	return nil
}

// announce logs what is served where.
func (s *Daemon) announce() {
	snapshot := s.live.tree.Snapshot()
	fields := []zap.Field{
		zap.Strings("sources", s.sources), zap.Strings("roots", snapshot.Roots()),
		zap.Int("repositories", snapshot.RepositoryCount()), zap.Int("tags", snapshot.TagCount()),
	}
	for _, l := range s.servers {
		addr := l.Listener.Addr()
		fields = append(fields, zap.Stringer(l.name, addr))
		if tcp, ok := addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() && l.TLSConfig == nil {
			s.log.Warn("listening beyond loopback without TLS: whoever reaches the address can read everything, and change it on the way",
				zap.String("listener", l.name), zap.Stringer("address", addr))
			if l.name == "registry" && s.flags.Auth.On() {
				s.log.Warn("credentials come in the clear, for whoever is on the way to read", zap.Stringer("address", addr))
			}
		}
	}
	s.log.Info("serving", fields...)
	if snapshot.RepositoryCount() == 0 {
		s.log.Warn("no repositories: is there a layout (a directory with index.json) or an archive in the sources?", zap.Strings("sources", s.sources))
	}
	s.live.tellProblems(context.Background())
}

// serve answers until the server is shut down.
func (l listening) serve() error {
	var err error
	if l.TLSConfig != nil {
		err = l.ServeTLS(l.Listener, "", "")
	} else {
		err = l.Serve(l.Listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving the %s: %w", l.name, err)
}
