package client_test

import (
	"net/url"
	"testing"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// A login is sent only to its own host: not to another port, and not over plain HTTP if the host
// uses TLS. A redirect from plain HTTP to TLS keeps the login only if both ports are default ports.
func TestSameHost(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"https://r.example/v2/", "https://r.example/x", true},
		{"https://r.example", "https://R.Example:443", true},
		{"https://r.example:443", "https://r.example", true},
		{"http://r.example", "http://r.example:80", true},
		{"https://r.example:5000", "https://r.example:5000", true},
		{"https://r.example", "https://r.example:80", false},
		{"https://r.example:5000", "https://r.example:5001", false},
		{"https://r.example", "https://r.example.evil", false},
		{"https://r.example", "https://evil/r.example", false},
		{"https://r.example", "https://r.example@evil", false},
		{"https://r.example", "http://r.example", false},
		{"https://r.example:80", "http://r.example:80", false},
		{"https://r.example:5000", "http://r.example:5000", false},
		{"http://r.example", "https://r.example", true},
		{"http://r.example:80", "https://r.example:443", true},
		{"http://r.example:5000", "https://r.example", false},
		{"http://r.example", "https://r.example:5000", false},
		{"http://r.example:443", "https://r.example:443", false},
		{"http://r.example:80", "https://r.example:80", false},
		{"http://r.example", "ftp://r.example:443", false},
		{"http://[::1]:5000", "http://[::1]:5000", true},
		{"http://[::1]:5000", "http://[::2]:5000", false},
	} {
		from, err := url.Parse(c.from)
		if err != nil {
			t.Fatal(err)
		}
		to, err := url.Parse(c.to)
		if err != nil {
			t.Fatal(err)
		}
		if got := client.SameHost(from, to); got != c.want {
			t.Errorf("SameHost(%s, %s) = %v, want the opposite", c.from, c.to, got)
		}
	}
}
