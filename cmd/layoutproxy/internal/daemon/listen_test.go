package daemon

import (
	"strings"
	"testing"
)

// The hint for a port that is taken names the program that usually has it.
func TestListenHint(t *testing.T) {
	for _, test := range []struct{ name, address, want string }{
		{"admin", "127.0.0.1:5580", "another layoutproxy usually uses this port; choose another address with --admin-listen"},
		{"admin", "127.0.0.1:5001", "Deckhouse's registry agent, which runs on every node, usually"},
		{"registry", ":5000", "another layoutproxy or registry usually uses this port; choose another address with --listen"},
		{"registry", "[::1]:80", "if another program uses the port"},
	} {
		if got := listenHint(test.name, test.address); !strings.Contains(got, test.want) {
			t.Errorf("%s %s: %s", test.name, test.address, got)
		}
	}
}
