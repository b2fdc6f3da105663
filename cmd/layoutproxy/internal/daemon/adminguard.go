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

// guardAdmin lets through only requests that may use the admin address. Probes need neither a login
// nor a name: their answers are no secret.
//
// A web page that an operator has open elsewhere may send requests here too. It cannot read the
// answers, as they are of another origin, and must not change anything: a request that is not a
// read is refused if a browser says that it comes from another site (Sec-Fetch-Site, Origin).
// Other programs send neither header.
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

// listensOnLoopback reports whether only this machine reaches an address.
func listensOnLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// refuseForeignNames refuses requests for names that somebody else may own. Whoever owns a name
// can have it mean 127.0.0.1 for a moment (DNS rebinding): their page, in an operator's browser,
// would be of the same origin as this address, and could read it. Nobody can do that with an IP
// address or a name without a dot. With a login the attack fails, because the browser has no
// credentials for that name.
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

// isOwnName reports whether nobody else can own the name in a Host header.
func isOwnName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(host, ".")
	return !strings.Contains(host, ".") || strings.HasSuffix(host, ".localhost") || net.ParseIP(strings.Trim(host, "[]")) != nil
}
