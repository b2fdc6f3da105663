package auth

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// hash returns a hash of password with the lowest cost, so that tests are fast.
func hash(t testing.TB, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

func TestParseUsers(t *testing.T) {
	a, b := hash(t, "a"), strings.Replace(hash(t, "b"), "$2a$", "$2y$", 1)
	u, err := parseUsers([]byte("# users\n\nann:" + a + "\r\n  bob:" + b + "\n"))
	if err != nil || len(u.hashes) != 2 || string(u.hashes["ann"]) != a || string(u.hashes["bob"]) != b {
		t.Errorf("%v, %v", u.hashes, err)
	}
	if cost, err := bcrypt.Cost(u.dummy); err != nil || cost != bcrypt.MinCost {
		t.Errorf("the dummy hash has the cost %d (error %v), want %d", cost, err, bcrypt.MinCost)
	}
	for name, c := range map[string]struct{ data, want string }{
		"a truncated hash":                 {"ann:" + a + "\nbob:" + b[:40], "line 2: truncated bcrypt hash"},
		"a truncated name":                 {"ann:" + a + "\nbo", "line 2: not USER:HASH"},
		"no name":                          {":" + a, "line 1: not USER:HASH"},
		"MD5":                              {"ann:$apr1$abc$def", "line 1: not a bcrypt hash"},
		"SHA":                              {"ann:{SHA}5siv5c0SHx681xU6GiSx9ZQryqs=", "line 1: not a bcrypt hash"},
		"a plain password":                 {"ann:secret", "line 1: not a bcrypt hash"},
		"twice":                            {"ann:" + a + "\nann:" + b, "line 2: duplicate user"},
		"a duplicate user with a bad hash": {"ann:" + a + "\nann:" + b[:40], "line 2: truncated bcrypt hash"},
		"an overlong line":                 {"\n# " + strings.Repeat("x", 1<<16) + "\nann:" + a, "line 2: longer than 65536 bytes"},
		"too expensive":                    {"ann:" + strings.Replace(a, "$04$", "$31$", 1), "line 1: bcrypt cost 31"},
		"an invalid byte":                  {"ann:" + a[:59] + "!", "line 1: truncated"},
	} {
		_, err := parseUsers([]byte(c.data))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want %q", name, err, c.want)
		}
		if err != nil && (strings.Contains(err.Error(), "ann") || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: the error contains text of the file, want none: %v", name, err)
		}
	}
}

func TestHtpasswdTooLarge(t *testing.T) {
	file := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(file, []byte(strings.Repeat("#\n", maxHtpasswd/2)+"#"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readUsers(file); !errors.Is(err, plainfile.ErrTooLong) || !strings.Contains(err.Error(), file) {
		t.Errorf("got error %v, want ErrTooLong", err)
	}
}

// If parseUsers accepts a file, it returns all users, each with a hash that bcrypt can use.
func FuzzHtpasswd(f *testing.F) {
	good := "ann:" + hash(f, "a") + "\n# comment\nbob:" + hash(f, "b") + "\n"
	for i := 0; i <= len(good); i += 7 {
		f.Add(good[:i])
	}
	f.Add("ann:$2y$05$926C3y10Quzn/LnqQH86VOEVh/18T6RnLaS.khre96jLNL/7e.K5W\r\n")
	f.Add("ann:" + strings.Repeat("\x00", 60))
	f.Fuzz(func(t *testing.T, data string) {
		u, err := parseUsers([]byte(data))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "line ") && !strings.Contains(err.Error(), "too long") {
				t.Fatalf("got the error %v, want the number of the line in it", err)
			}
			return
		}
		for name, hash := range u.hashes {
			if !strings.Contains(data, fmt.Sprintf("%s:%s", name, hash)) {
				t.Fatalf("parseUsers returned %q:%q, want only lines of the file", name, hash)
			}
			if cost, err := bcrypt.Cost(hash); err != nil || cost > maxCost {
				t.Fatalf("the accepted hash %q has the cost %d (error %v), want at most %d", hash, cost, err, maxCost)
			}
		}
		if cost, err := bcrypt.Cost(u.dummy); err != nil || cost > maxCost {
			t.Fatalf("the dummy hash %q has the cost %d (error %v), want at most %d", u.dummy, cost, err, maxCost)
		}
	})
}
