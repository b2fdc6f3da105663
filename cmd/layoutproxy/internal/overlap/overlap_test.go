package overlap

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// at returns a place that no link or mount leads to. It computes inode numbers from the paths.
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

// mounted returns p with the spots that follow from a mount table in the format of mountinfo.
func mounted(p Place, table string) Place {
	p.spots = spotsOf(p.resolved, parseMounts(table))
	return p
}

func TestHowPlacesOverlap(t *testing.T) {
	linked := at(Source, "/data/x")
	linked.ids[0] = at(Drop, "/srv/in").ids[0]
	linkedAbove := at(Source, "/data/x/y")
	linkedAbove.ids[1] = at(Drop, "/srv/in").ids[0]
	missing := at(Store, "/a")
	missing.ids[0] = inode{}
	alsoMissing := at(Store, "/b")
	alsoMissing.ids[0] = inode{}
	// This is the mount table of a pod with two volumes from one directory of the host (format:
	// proc_pid_mountinfo(5)).
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
		"equal":                             {at(Store, "/srv"), at(Drop, "/srv"), "same"},
		"inside":                            {at(Store, "/srv/in/store"), at(Drop, "/srv/in"), "inside"},
		"around":                            {at(Store, "/srv"), at(Drop, "/srv/in"), "around"},
		"inside the root":                   {at(Store, "/srv"), at(Source, "/"), "inside"},
		"siblings":                          {at(Store, "/srv/store"), at(Drop, "/srv/in"), ""},
		"one name is a prefix of the other": {at(Store, "/srv/in2"), at(Drop, "/srv/in"), ""},
		"same inode":                        {linked, at(Drop, "/srv/in"), "same"},
		"inside according to inodes":        {linkedAbove, at(Drop, "/srv/in"), "inside"},
		"contains the other, according to inodes": {at(Drop, "/srv/in"), linkedAbove, "around"},
		"both missing":                              {missing, alsoMissing, ""},
		"mount of a subdirectory":                   {mounted(at(Store, "/store"), pod), mounted(at(Drop, "/in"), pod), "inside"},
		"below the mount of a subdirectory":         {mounted(at(Drop, "/in/store/x"), pod), mounted(at(Store, "/store"), pod), "inside"},
		"mounted name with a blank":                 {mounted(at(Store, "/two"), pod), mounted(at(Drop, "/in"), pod), ""},
		"same path on another device":               {mounted(at(Store, "/other"), pod), mounted(at(Drop, "/in"), pod), ""},
		"mount inside the drop directory":           {mounted(at(Source, "/data"), pod), mounted(at(Drop, "/in"), pod), "inside"},
		"mount inside the drop directory, reversed": {mounted(at(Drop, "/in"), pod), mounted(at(Source, "/data"), pod), "around"},
	} {
		r := relate(c.a, c.b)
		if r.kind != c.want || (r.kind == "") != (r.reason == "") {
			t.Errorf("%s: the relation is %q (%s), want %q", name, r.kind, r.reason, c.want)
		}
	}
}

// The test checks isLegal for all pairs of roles, in all relations.
func TestWhichPlacesMayOverlap(t *testing.T) {
	kinds := []string{"same", "inside", "around"}
	free := map[string]bool{ // pairs of roles that may overlap in any way
		"the source and the source": true, "the source and the bundle": true, "the bundle and the source": true, "the bundle and the bundle": true,
		"the store and the cache directory": true, "the cache directory and the store": true,
		"the source and the cache directory": true, "the cache directory and the source": true,
		"the bundle and the cache directory": true, "the cache directory and the bundle": true,
		"the cache directory and the cache directory": true,
	}
	roles := []Role{Store, Drop, Source, Bundle, Cache}
	for _, a := range roles {
		for _, b := range roles {
			if !isLegal(a, b, "") {
				t.Errorf("isLegal(%q, %q, \"\") = false, want true: the places do not overlap", a, b)
			}
			for _, kind := range kinds {
				want := free[string(a)+" and "+string(b)] ||
					a == Cache && b == Drop && kind == "around" || a == Drop && b == Cache && kind == "inside"
				if got := isLegal(a, b, kind); got != want {
					t.Errorf("isLegal(%q, %q, %q) = %v, want %v", a, b, kind, got, want)
				}
			}
		}
	}
}

// Places may be links, missing paths, and links to missing paths.
func TestOverlapThroughLinksAndMissingPaths(t *testing.T) {
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
			t.Errorf("%s: got the error %v, want the relation %q", name, err, want)
		}
	}
	// Guard refuses a place that cannot be resolved. Check allows it, because the code that opens
	// the place will report the error.
	places := []Place{{Role: Store, Path: filepath.Join(dir, "loop")}, {Role: Drop, Path: filepath.Join(dir, "in")}}
	if err := Guard(places...); err == nil || !strings.Contains(err.Error(), "the store") {
		t.Errorf("Guard with a place that cannot be resolved: got the error %v, want one with \"the store\"", err)
	}
	if err := Check(places...); err != nil {
		t.Error(err)
	}
}
