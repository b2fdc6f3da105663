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

// guardAdmin protects next from requests that no operator has intended. Probes (/healthz, /readyz)
// always pass, because their answers are not secret.
//
// A web page of another site can send requests to the admin address through an operator's browser.
// It cannot read the answers, which have another origin, but it must not change anything either. So
// guardAdmin refuses POST and similar requests whose Sec-Fetch-Site or Origin header names another site.
// Programs other than browsers send neither header.
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

// listensOnLoopback reports whether address can be reached only from this machine.
func listensOnLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// refuseForeignNames refuses requests whose Host header is a name that an attacker could own. This
// prevents DNS rebinding: the owner of a name points it at 127.0.0.1. A web page under that name
// then has the same origin as the admin address, and can read it in an operator's browser. IP
// addresses and names without a dot cannot be used in this way. With a login this check is not
// needed, because the browser has no credentials for the attacker's name.
func refuseForeignNames(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if isOwnName(req.Host) {
			next.ServeHTTP(w, req)
			return
		}
		http.Error(w, fmt.Sprintf("%.100q is not accepted as a host name here: to prevent DNS rebinding, this address accepts only IP addresses and names without a dot; "+
			"open http://127.0.0.1:PORT, make the proxy in front of layoutproxy send an accepted Host header, or set --admin-htpasswd", req.Host), http.StatusMisdirectedRequest)
	})
}

// isOwnName reports whether the Host header names something that no attacker can own: an IP
// address, or a name without a dot or below localhost.
func isOwnName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(host, ".")
	return !strings.Contains(host, ".") || strings.HasSuffix(host, ".localhost") || net.ParseIP(strings.Trim(host, "[]")) != nil
}
