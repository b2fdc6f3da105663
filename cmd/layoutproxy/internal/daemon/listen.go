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

// listening is an HTTP server with the listener that it accepts connections from.
type listening struct {
	name string
	*http.Server
	net.Listener
}

func (s *Daemon) listen(name, address string, h http.Handler) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return exit.WithHint(fmt.Errorf("listening for the %s: %w", name, err), listenHint(name, address))
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
		ErrorLog:          quiet, // receives errors that clients cause, such as failed TLS handshakes
	}, l})
	return nil
}

// listenHint returns advice for a server that cannot listen on its address. The advice names the
// program that usually uses the port, and the flag for another address. Port 5001 is the port of
// Deckhouse's registry agent (module 038-registry, docs/README.md).
func listenHint(name, address string) string {
	flag := map[string]string{"registry": "--listen", "admin": "--admin-listen"}[name]
	_, port, _ := net.SplitHostPort(address)
	owner := map[string]string{
		"5580": "another layoutproxy",
		"5001": "Deckhouse's registry agent, which runs on every node,",
		"5000": "another layoutproxy or registry",
	}[port]
	if owner == "" {
		return fmt.Sprintf("if another program uses the port, choose another address with %s; ss -ltnp names the program", flag)
	}
	return fmt.Sprintf("%s usually uses this port; choose another address with %s; ss -ltnp names the program", owner, flag)
}

// writeAddresses writes the addresses on which the servers listen into a file. Programs that start
// layoutproxy wait for the file.
func (s *Daemon) writeAddresses(file string) error {
	var text string
	for _, l := range s.servers {
		text += fmt.Sprintf("%s=%s\n", l.name, l.Listener.Addr())
	}
	if err := durable.WriteFile(file, []byte(text), 0o644); err != nil {
		return fmt.Errorf("writing the address file: %w", err)
	}
	return nil
}

// announce logs the addresses, what is served, and the problems.
func (s *Daemon) announce(ctx context.Context) {
	snapshot := s.live.tree.Snapshot()
	fields := []zap.Field{
		zap.Strings("sources", s.sources), zap.Strings("roots", snapshot.Roots()),
		zap.Int("repositories", snapshot.RepositoryCount()), zap.Int("tags", snapshot.TagCount()),
	}
	for _, l := range s.servers {
		addr := l.Listener.Addr()
		fields = append(fields, zap.Stringer(l.name, addr))
		if tcp, ok := addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() && l.TLSConfig == nil {
			s.log.Warn("listening beyond loopback without TLS: anyone on the network path can read and change what is pulled",
				zap.String("listener", l.name), zap.Stringer("address", addr))
			if l.name == "registry" && s.flags.Auth.On() || l.name == "admin" && s.flags.Admin.Htpasswd != "" {
				s.log.Warn("credentials are sent unencrypted: everyone on the network path can read them", zap.Stringer("address", addr))
			}
		}
	}
	s.log.Info("serving", fields...)
	switch {
	case snapshot.RepositoryCount() > 0:
	case s.flags.Store.Dir != "" && len(s.sources) == 1:
		s.log.Info("the store is empty: layoutproxy serves what is imported into it", zap.String("store", s.flags.Store.Dir))
	default:
		s.log.Warn("no repositories: check that the sources contain a layout (a directory with index.json) or an archive", zap.Strings("sources", s.sources))
	}
	s.live.logNewProblems(ctx)
}

// serve answers requests until the server is shut down.
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
