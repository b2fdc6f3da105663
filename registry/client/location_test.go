package client

import (
	"errors"
	"net/url"
	"testing"
)

// follow returns the URL that a redirect or a Location header leads to. If the client must not send
// requests to that URL, follow returns an error.
func TestFollowLocation(t *testing.T) {
	const public, refused, private = "https://reg.example/v2/x/blobs/uploads/1", "refused", "private"
	for _, c := range []struct {
		from, location string
		allow, skip    bool // Options.AllowPrivateRedirects, InsecureSkipVerify
		want           string
	}{
		{public, "", false, false, refused},
		{public, "http://[", false, false, refused},
		{public, "ftp://reg.example/a", true, true, refused},
		{public, "https:///a", true, true, refused},
		{public, "/a?b=c#d", false, false, "https://reg.example/a?b=c"},
		{public, "https://user:secret@reg.example/a", false, false, "https://reg.example/a"},
		{public, "https://REG.example:443/a", false, false, "https://reg.example/a"},
		// The registry is behind a proxy that terminates TLS, so it does not know its own scheme.
		{public, "http://reg.example/a", false, false, "https://reg.example/a"},
		{public, "http://reg.example:80/a", false, false, "https://reg.example/a"},
		{"https://reg.example:8443/v2/", "http://reg.example:8443/a", false, false, "https://reg.example:8443/a"},
		{"https://reg.example:8443/v2/", "http://reg.example/a", false, false, "https://reg.example:8443/a"},
		{public, "http://reg.example:8080/a", false, false, refused},
		{public, "http://cdn.example/a", false, false, refused},
		{public, "http://cdn.example:80/a", false, false, refused},
		{public, "http://cdn.example/a", true, false, "http://cdn.example/a"},
		{public, "http://cdn.example/a", false, true, "http://cdn.example/a"},
		{public, "https://cdn.example/a", false, false, "https://cdn.example/a"},
		{"http://reg.example/v2/", "http://cdn.example/a", false, false, "http://cdn.example/a"},
		{"http://reg.example/v2/", "https://reg.example/a", false, false, "https://reg.example/a"},
		{"http://reg.example:5000/v2/", "https://cdn.example/a", false, false, "https://cdn.example/a"},
		{"http://reg.example:5000/v2/", "http://reg.example/a", false, false, "http://reg.example/a"}, // another server
		{"http://reg.example:80/v2/", "https://reg.example/a", false, false, "https://reg.example/a"},
		// Private addresses must be allowed explicitly.
		{public, "https://10.1.2.3/a", false, false, private},
		{public, "https://10.1.2.3/a", true, false, "https://10.1.2.3/a"},
		{public, "https://10.1.2.3/a", false, true, private},
		{"https://10.1.2.3/v2/", "https://10.1.2.3:443/a", false, false, "https://10.1.2.3/a"},
		{"https://cdn.example/a", "https://127.0.0.1:5000/a", false, false, "https://127.0.0.1:5000/a"}, // this is the registry itself
		{"https://10.1.2.3/v2/", "https://10.1.2.4/a", false, false, private},
		{"http://10.1.2.3:5000/v2/", "https://10.1.2.3:5000/a", false, false, "https://10.1.2.3:5000/a"},
		{"http://10.1.2.3:5000/v2/", "http://10.1.2.3:5001/a", false, false, private},
	} {
		from, err := url.Parse(c.from)
		if err != nil {
			t.Fatal(err)
		}
		client := &Client{options: Options{Registry: "127.0.0.1:5000", AllowPrivateRedirects: c.allow, InsecureSkipVerify: c.skip}}
		to, err := client.follow(from, c.location)
		got := ""
		switch {
		case errors.Is(err, ErrPrivate):
			got = private
		case errors.Is(err, ErrRefused):
			got = refused
		case err == nil:
			got = to.String()
		}
		if got != c.want {
			t.Errorf("follow from %s to %q, with AllowPrivateRedirects %v and InsecureSkipVerify %v: got %q (error %v), want %q", c.from, c.location, c.allow, c.skip, got, err, c.want)
		}
	}
}
