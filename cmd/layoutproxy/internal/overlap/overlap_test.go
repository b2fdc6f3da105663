package overlap

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// at returns a place without links and mounts. Each directory has an inode number computed from its
// path.
func at(r Role, name string) Place {
	p := Place{Role: r, Path: name, resolved: name}
	for dir := name; ; dir = filepath.Dir(dir) {
		var number uint64 = 7
		for _, c := range dir {
			number = number*131 + uint64(c)
		}
		p.ids = append(p.ids, inode{1, number})
		if dir == "/" {
			return p
		}
	}
}

// mounted makes a place visible through the mounts of a table.
func mounted(p Place, table string) Place {
	p.spots = spotsOf(p.resolved, parseMounts(table))
	return p
}

func TestRelate(t *testing.T) {
	linked := at(Source, "/data/x")
	linked.ids[0] = at(Drop, "/srv/in").ids[0]
	linkedAbove := at(Source, "/data/x/y")
	linkedAbove.ids[1] = at(Drop, "/srv/in").ids[0]
	missing := at(Store, "/a")
	missing.ids[0] = inode{}
	alsoMissing := at(Store, "/b")
	alsoMissing.ids[0] = inode{}
	// A pod with two volumes of one host path (proc_pid_mountinfo(5) has the format).
	const pod = `1 0 0:50 / / rw - overlay overlay rw
2 1 8:1 /srv/in /in rw - ext4 /dev/sda1 rw
3 1 8:1 /srv/in/store /store rw - ext4 /dev/sda1 rw
4 1 8:1 /srv/in\040two /two rw - ext4 /dev/sda1 rw
5 1 8:2 /srv/in /other rw - ext4 /dev/sdb1 rw
6 2 8:1 /srv/data /in/mnt rw - ext4 /dev/sda1 rw
7 1 8:1 /srv/data/x /data rw - ext4 /dev/sda1 rw
`
	for name, c := range map[string]struct {
		a, b Place
		want string
	}{
		"equal":                      {at(Store, "/srv"), at(Drop, "/srv"), "same"},
		"inside":                     {at(Store, "/srv/in/store"), at(Drop, "/srv/in"), "inside"},
		"around":                     {at(Store, "/srv"), at(Drop, "/srv/in"), "around"},
		"in the root":                {at(Store, "/srv"), at(Source, "/"), "inside"},
		"beside":                     {at(Store, "/srv/store"), at(Drop, "/srv/in"), ""},
		"a longer name":              {at(Store, "/srv/in2"), at(Drop, "/srv/in"), ""},
		"one inode":                  {linked, at(Drop, "/srv/in"), "same"},
		"below one inode":            {linkedAbove, at(Drop, "/srv/in"), "inside"},
		"above one inode":            {at(Drop, "/srv/in"), linkedAbove, "around"},
		"two missing ones":           {missing, alsoMissing, ""},
		"a mount of a part":          {mounted(at(Store, "/store"), pod), mounted(at(Drop, "/in"), pod), "inside"},
		"deep in it":                 {mounted(at(Drop, "/in/store/x"), pod), mounted(at(Store, "/store"), pod), "inside"},
		"another name with a blank":  {mounted(at(Store, "/two"), pod), mounted(at(Drop, "/in"), pod), ""},
		"another device":             {mounted(at(Store, "/other"), pod), mounted(at(Drop, "/in"), pod), ""},
		"a mount below it":           {mounted(at(Source, "/data"), pod), mounted(at(Drop, "/in"), pod), "inside"},
		"a mount below it, reversed": {mounted(at(Drop, "/in"), pod), mounted(at(Source, "/data"), pod), "around"},
	} {
		r := relate(c.a, c.b)
		if r.kind != c.want || (r.kind == "") != (r.reason == "") {
			t.Errorf("%s: %q (%s), want %q", name, r.kind, r.reason, c.want)
		}
	}
}

// All pairs of roles, with each relation.
func TestLegal(t *testing.T) {
	kinds := []string{"same", "inside", "around"}
	free := map[string]bool{ // relations that are allowed
		"the source the source": true, "the source the bundle": true, "the bundle the source": true, "the bundle the bundle": true,
		"the store the cache directory": true, "the cache directory the store": true,
		"the source the cache directory": true, "the cache directory the source": true,
		"the bundle the cache directory": true, "the cache directory the bundle": true,
		"the cache directory the cache directory": true,
	}
	roles := []Role{Store, Drop, Source, Bundle, Cache}
	for _, a := range roles {
		for _, b := range roles {
			if !isLegal(a, b, "") {
				t.Errorf("%s and %s may not be used together at all", a, b)
			}
			for _, kind := range kinds {
				want := free[string(a)+" "+string(b)] ||
					a == Cache && b == Drop && kind == "around" || a == Drop && b == Cache && kind == "inside"
				if got := isLegal(a, b, kind); got != want {
					t.Errorf("%s %s %s: %v, want %v", a, kind, b, got, want)
				}
			}
		}
	}
}

// Links, missing paths, and links to missing paths.
func TestResolvePlaces(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"in/store", "beside"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"alias": "in", "future": "in/new/store", "loop": "loop2", "loop2": "loop", "back": "beside/../in"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"in/store": "inside", "alias/store": "inside", "alias": "same", "in/": "same", "in/../in/new": "inside", "alias/new/deep": "inside",
		"future": "inside", "back": "same", "beside/../alias/x": "inside", "beside": "", "nowhere/in": "", "in2": "", ".": "around",
	} {
		err := Guard(Place{Role: Store, Path: filepath.Join(dir, "x", "..") + "/" + name}, Place{Role: Drop, Path: filepath.Join(dir, "in")})
		var e *Error
		if errors.As(err, &e); (e == nil) != (want == "") || e != nil && e.kind != want {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	// The guard refuses if something cannot be resolved. The check at the start leaves that to the
	// code that opens the place.
	places := []Place{{Role: Store, Path: filepath.Join(dir, "loop")}, {Role: Drop, Path: filepath.Join(dir, "in")}}
	if err := Guard(places...); err == nil || !strings.Contains(err.Error(), "the store") {
		t.Errorf("the guard allows what it cannot resolve: %v", err)
	}
	if err := Check(places...); err != nil {
		t.Error(err)
	}
}
