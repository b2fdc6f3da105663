package volume_test

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// entry is an entry in an archive. It is a file, or a hard or symbolic link if link is set.
type entry struct {
	name, body, link string
	symbolic         bool
}

// pack packs entries, followed by two blocks of zeros.
func pack(t testing.TB, entries []entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Size: int64(len(e.body)), Mode: 0o644, Typeflag: tar.TypeReg, Format: tar.FormatGNU, Linkname: e.link}
		if e.link != "" {
			h.Typeflag = tar.TypeLink
		}
		if e.symbolic {
			h.Typeflag = tar.TypeSymlink
		}
		layouttest.Try(t, w.WriteHeader(h))
		if _, err := w.Write([]byte(e.body)); err != nil {
			t.Fatal(err)
		}
	}
	layouttest.Try(t, w.Close())
	return b.Bytes()
}

func digestOf(body string) digest.Digest { return digest.FromString(body) }
func sumOf(body string) string           { return digestOf(body).Encoded() }

func TestDataAfterEndOfArchive(t *testing.T) {
	one := pack(t, []entry{{name: "a/index.json", body: "{}"}})
	two := pack(t, []entry{{name: "b/index.json", body: "{}"}})
	zeros := func(n int) []byte { return make([]byte, n) }
	for name, c := range map[string]struct {
		behind   []byte
		want     string // the reason of the only problem; empty if there is none
		harmless bool
	}{
		"nothing":                                  {nil, "", false},
		"padding of GNU tar":                       {zeros(10240 - len(one)), "", false},
		"zeros":                                    {zeros(100_001), "", false},
		"a byte":                                   {[]byte("\n"), "1 byte after the archive's end, at byte 2048:", true},
		"text":                                     {[]byte("some text"), "9 bytes after the archive's end, at byte 2048:", true},
		"text after padding":                       {append(zeros(70_000), "text"...), "4 bytes after the archive's end, at byte 72048:", true},
		"a block that is not a header":             {bytes.Repeat([]byte{7}, 512), "512 bytes after", true},
		"a second archive":                         {two, "a second archive begins at byte 2048, after the end of this one, and is not read: 2048 bytes", false},
		"a second archive after padding":           {append(zeros(10240-len(one)), two...), "a second archive begins at byte 10240, ", false},
		"a second archive at an odd byte":          {append(zeros(7), two...), "a second archive begins at byte 2055, ", false},
		"a second archive, truncated":              {two[:700], "a second archive begins at byte 2048, ", false},
		"a second archive after text":              {append([]byte("text"), two...), "2052 bytes after", true},
		"a second archive with an extended header": {written(t, "gnu-sparse-1.0"), "a second archive begins at byte 2048, ", false},
	} {
		t.Run(name, func(t *testing.T) {
			openTwice(t, "bundle.tar", append(bytes.Clone(one), c.behind...), func(t *testing.T, _ *volume.Archive, problems []problem.Problem) {
				switch {
				case c.want == "" && len(problems) == 0:
				case len(problems) != 1 || c.want == "":
					t.Errorf("got the problems %v, want exactly one if the table has a reason, and otherwise none", problems)
				case problems[0].Kind != problem.Limited || problems[0].Harmless != c.harmless || !strings.HasPrefix(problems[0].Reason, c.want):
					t.Errorf("got the problem %+v; want the kind limited, and the reason and Harmless from the table", problems[0])
				}
			})
		})
	}
}

// Data far after the end of an archive is reported, but not read.
func TestDataFarAfterEndOfArchive(t *testing.T) {
	one := pack(t, []entry{{name: "a/index.json", body: "{}"}})
	dir := t.TempDir()
	file := filepath.Join(dir, "bundle.tar")
	layouttest.WriteFile(t, file, one)
	if err := os.Truncate(file, 1<<40); err != nil {
		t.Fatal(err)
	} // this makes a hole, which takes no space
	listing, err := openArchive(t, dir, "").Layouts(context.Background())
	if err != nil || len(listing.Problems) != 1 || !listing.Problems[0].Harmless || !strings.Contains(listing.Problems[0].Reason, "the rest is not read") {
		t.Errorf("got the problems %v and the error %v, want one harmless problem that says what is not read", listing.Problems, err)
	}
}

// Chunks that are left over from a longer set are reported by name. But the last chunk of a set may
// be empty, and others may contain only padding.
func TestChunksAfterEndOfArchive(t *testing.T) {
	const chunk = 1024
	one := pack(t, []entry{{name: "a/index.json", body: "{}"}})
	two := pack(t, []entry{{name: "b/index.json", body: "{}"}})
	stale := bytes.Repeat([]byte("stale"), chunk)[:chunk]
	for name, c := range map[string]struct {
		behind []byte
		want   []string // how the reasons of the problems begin
		failed bool
	}{
		"nothing":        {nil, nil, false},
		"padding":        {make([]byte, 3*chunk), nil, false},
		"a stale chunk":  {stale, []string{"after the archive's end, and not read: bundle.tar.0002.chunk, 1024 bytes"}, false},
		"behind padding": {append(make([]byte, chunk), stale...), []string{"after the archive's end, and not read: bundle.tar.0003.chunk, 1024 bytes"}, false},
		"two":            {append(bytes.Clone(stale), stale...), []string{"after the archive's end, and not read: bundle.tar.0002.chunk, bundle.tar.0003.chunk, 2048 bytes"}, false},
		"a stale chunk that begins with a header": {two[:chunk], []string{"after the archive's end, and not read: bundle.tar.0002.chunk"}, false},
		"a second archive":                        {append(make([]byte, chunk/2), two...), []string{"a second archive begins at byte 2560"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			data, dir := append(bytes.Clone(one), c.behind...), t.TempDir()
			for i := 0; i*chunk < len(data); i++ {
				layouttest.WriteFile(t, filepath.Join(dir, fmt.Sprintf("bundle.tar.%04d.chunk", i)), data[i*chunk:min(len(data), (i+1)*chunk)])
			}
			listing, err := whole(t, openArchive(t, dir, "")).Layouts(context.Background())
			if err != nil || len(listing.Problems) != len(c.want) {
				t.Fatalf("got the problems %v and the error %v, want as many problems as in the table", listing.Problems, err)
			}
			for i, f := range listing.Problems {
				if f.Harmless == c.failed || !strings.HasPrefix(f.Reason, c.want[i]) {
					t.Errorf("got the problem %+v, want the reason from the table, and Harmless = false only for a second archive", f)
				}
			}
		})
	}
}

// When its context ends, a scan stops reading after the end of the archive.
func TestCancelScanAfterEndOfArchive(t *testing.T) {
	dir := t.TempDir()
	layouttest.WriteFile(t, filepath.Join(dir, "bundle.tar"), append(pack(t, []entry{{name: "a/index.json", body: "{}"}}), make([]byte, 1<<20)...))
	found, err := volume.FindArchives(dir)
	layouttest.Try(t, err)
	// The scan first checks the context before the first header. It checks the context again after
	// the end of the archive.
	if _, err := volume.OpenArchive(&afterCalls{context.Background(), 1}, found.Sets[0], ""); !errors.Is(err, context.Canceled) {
		t.Errorf("OpenArchive: got %v, want context.Canceled", err)
	}
}

// afterCalls is a context that ends after a number of checks.
type afterCalls struct {
	context.Context
	left int
}

func (c *afterCalls) Err() error {
	c.left--
	return cmp.Or(c.Context.Err(), map[bool]error{true: context.Canceled}[c.left < 0])
}

func TestReservedAndMisplacedLayouts(t *testing.T) {
	layout := func(p string) entry { return entry{name: p + "/index.json", body: "{}"} }
	type reported struct {
		entry    string
		harmless bool
	}
	for name, c := range map[string]struct {
		archive  string
		entries  []entry
		layouts  string
		problems []reported
	}{
		"tmp":                            {"platform.tar", []entry{layout("install"), layout("tmp/x")}, "install", []reported{{"tmp", true}}},
		"only tmp":                       {"platform.tar", []entry{layout("/tmp/x/security/trivy-db")}, "", []reported{{"tmp", false}}},
		"no layout in tmp":               {"platform.tar", []entry{layout("install"), {name: "tmp/note", body: "x"}}, "install", nil},
		"tmp further down":               {"platform.tar", []entry{layout("modules/tmp/x")}, "modules/tmp/x", nil},
		"a directory that was not empty": {"security.tar", []entry{layout("/mnt/tmp/security/trivy-db"), layout("/mnt/tmp/security/trivy-bdu")}, "mnt/tmp/security/trivy-bdu mnt/tmp/security/trivy-db", []reported{{"mnt/tmp/security/trivy-bdu", true}, {"mnt/tmp/security/trivy-db", true}}},
		"a relative directory that was not empty": {"security.tar", []entry{layout("scratch/security/trivy-db")}, "scratch/security/trivy-db", []reported{{"scratch/security/trivy-db", true}}},
		"an empty directory":                      {"security.tar", []entry{layout("security/trivy-db")}, "security/trivy-db", nil},
		"the old form":                            {"security.tar", []entry{layout("trivy-db")}, "security/trivy-db", nil},
		"in another archive":                      {"mirror.tar", []entry{layout("scratch/security/trivy-db")}, "scratch/security/trivy-db", nil},
	} {
		t.Run(name, func(t *testing.T) {
			openTwice(t, c.archive, pack(t, c.entries), func(t *testing.T, a *volume.Archive, problems []problem.Problem) {
				listing, err := a.Layouts(context.Background())
				layouttest.Try(t, err)
				var paths []string
				for _, l := range listing.Layouts {
					paths = append(paths, l.Path)
				}
				if got := strings.Join(paths, " "); got != c.layouts {
					t.Errorf("got the layouts %q, want %q", got, c.layouts)
				}
				var got []reported
				for _, f := range problems {
					got = append(got, reported{f.Entry, f.Harmless})
					if f.Kind != problem.Limited {
						t.Errorf("got the problem %+v, want the kind limited", f)
					}
				}
				if fmt.Sprint(got) != fmt.Sprint(c.problems) {
					t.Errorf("got the problems %v, want %v", got, c.problems)
				}
			})
		})
	}
}

// For each layout, Where returns the path of the layout in the archive, even in an archive of the old form.
func TestWhereOfLayoutsInTheOldForm(t *testing.T) {
	for archive, want := range map[string]map[string]string{
		"module-x.tar": {"modules/x": ".", "modules/x/release": "release", "modules/x/extra/y": "extra/y"},
		"security.tar": {"security/trivy-db": "trivy-db"},
		"platform.tar": {".": ".", "install": "install"},
	} {
		var entries []entry
		for _, p := range want {
			entries = append(entries, entry{name: path.Join(p, "index.json"), body: "{}"})
		}
		openTwice(t, archive, pack(t, entries), func(t *testing.T, a *volume.Archive, _ []problem.Problem) {
			listing, err := a.Layouts(t.Context())
			layouttest.Try(t, err)
			got := map[string]string{}
			for _, l := range listing.Layouts {
				_, got[l.Path] = a.Where(l.Path)
			}
			if !maps.Equal(got, want) {
				t.Errorf("%s: got the places %q, want %q", archive, got, want)
			}
		})
	}
}
