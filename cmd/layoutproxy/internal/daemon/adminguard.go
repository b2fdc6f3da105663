package daemon

import (
	"fmt"
	"net"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/registry/auth"
)

// guardAdmin returns a handler that passes only legitimate requests on to next. It passes on all
// probes, because their answers are not secret.
//
// A web page of another site may send requests here through an operator's browser. It cannot read
// the answers, which have another origin, and must not change anything: a request that may change
// something is refused if its Sec-Fetch-Site or Origin header names another site. Programs other
// than browsers send neither header.
func guardAdmin(next http.Handler, flags *settings.Serve, log *zap.Logger) (http.Handler, error) {
	guarded := http.NewCrossOriginProtection().Handler(next)
	if flags.Admin.Htpasswd != "" {
		var err error
		guarded, err = auth.New(guarded, auth.Options{
			Htpasswd: flags.Admin.Htpasswd, Log: log.Named("admin"),
			Scope:  func(*http.Request) (kind, name string) { return "", "" },
			Refuse: func(w http.ResponseWriter, status int, reason string) { http.Error(w, reason, status) },
		})
		if err != nil {
			return nil, fmt.Errorf("--admin-htpasswd: %w", err)
		}
	} else if listensOnLoopback(flags.AdminListen) {
		guarded = refuseForeignNames(guarded)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/healthz" || req.URL.Path == "/readyz" {
			next.ServeHTTP(w, req)
			return
		}
		guarded.ServeHTTP(w, req)
	}), nil
}

// listensOnLoopback reports whether only this machine can reach an address.
func listensOnLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// refuseForeignNames refuses requests whose Host is a name that an attacker may own. The owner of a
// name can point it at 127.0.0.1 for a moment (DNS rebinding): then a page under that name, in an
// operator's browser, has the same origin as this address and can read it. An IP address or a name
// without a dot has no such owner. A login defeats the attack too, because the browser has no
// credentials for the name.
func refuseForeignNames(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if isOwnName(req.Host) {
			next.ServeHTTP(w, req)
			return
		}
		http.Error(w, fmt.Sprintf("%.100q: this address answers only to IP addresses and to names without a dot, so that no web page can read it by DNS rebinding: "+
			"open it as http://127.0.0.1:PORT, let the proxy in front of it send such a Host, or set --admin-htpasswd", req.Host), http.StatusMisdirectedRequest)
	})
}

// isOwnName reports whether the name in a Host header is one that no attacker can own.
func isOwnName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(host, ".")
	return !strings.Contains(host, ".") || strings.HasSuffix(host, ".localhost") || net.ParseIP(strings.Trim(host, "[]")) != nil
}
