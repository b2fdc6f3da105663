package daemon

import (
	"strings"
	"testing"
)

// When a port is in use, the hint names the program that usually uses it.
func TestHintForPortInUse(t *testing.T) {
	for _, test := range []struct{ name, address, want string }{
		{"admin", "127.0.0.1:5580", "another layoutproxy usually uses this port; choose another address with --admin-listen"},
		{"admin", "127.0.0.1:5001", "Deckhouse's registry agent, which runs on every node, usually"},
		{"registry", ":5000", "another layoutproxy or registry usually uses this port; choose another address with --listen"},
		{"registry", "[::1]:80", "if another program uses the port"},
	} {
		if got := listenHint(test.name, test.address); !strings.Contains(got, test.want) {
			t.Errorf("listenHint(%q, %q) = %q, want a hint with %q", test.name, test.address, got, test.want)
		}
	}
}
