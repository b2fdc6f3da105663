package layoutstore_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// Unread files that look like archives are problems. Each problem names the file and what to do.
func TestUnreadArchivesAreReported(t *testing.T) {
	file := func(t *testing.T, name string) { layouttest.WriteFile(t, name, []byte("text")) }
	link := func(to string) func(*testing.T, string) {
		return func(t *testing.T, name string) {
			if err := os.Symlink(to, name); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		make func(t *testing.T, name string)
		want string // text in the reason; empty if there must be no problem
	}{
		"b.tar.aa":                         {file, "cat b.tar.?? > b.tar"},
		"b.tar.001":                        {file, "cat b.tar.??? > b.tar"},
		"b.tar.part1":                      {file, "cat b.tar.part? > b.tar"},
		"b.TAR":                            {file, "mv b.TAR b.tar"},
		"b.tar.0000.CHUNK":                 {file, "mv b.tar.0000.CHUNK b.tar.0000.chunk"},
		"b.tar.1.chunk":                    {file, "mv b.tar.1.chunk b.tar.0001.chunk"},
		"b.tar.gz":                         {file, "gunzip b.tar.gz"},
		"b.TGZ":                            {file, "gunzip b.TGZ"},
		"b.tar.zst":                        {file, "unzstd b.tar.zst"},
		"b.tar.filepart":                   {file, "wait for the upload to end"},
		"sub/b.tar.filepart":               {file, "wait for the upload to end"},
		"sub/dir/b.tar":                    {file, "below the top of the source"},
		"sub/b.tar.0000.chunk":             {file, "a chunk of b.tar below the top of the source"},
		"sub/b.tar.gz":                     {file, "gunzip b.tar.gz"},
		"usual/install/b.tar":              {file, "below the top of the source"},
		"link.tar":                         {link("other.tar"), "links to archives are not read"},
		"absolute.tar":                     {link("/nowhere/other.tar"), "links to archives are not read"},
		"link.tar.0000.chunk":              {link("other.tar"), "links to archives are not read"},
		"sub/link.tar":                     {link("../other.tar"), "below the top of the source"},
		"pipe.tar":                         {func(t *testing.T, name string) { layouttest.Try(t, syscall.Mkfifo(name, 0o600)) }, "a pipe"},
		"pipe.tar.gz":                      {func(t *testing.T, name string) { layouttest.Try(t, syscall.Mkfifo(name, 0o600)) }, "a pipe"},
		"socket.tar":                       {listen, "a socket"},
		"x.tar.tmp":                        {file, ""},
		".b.tar.Ab3xYz":                    {file, ""},
		".hidden/b.tar":                    {file, ""},
		"sub/.b.tar":                       {file, ""},
		"other.tar.gostsum":                {file, ""},
		"other.tar.sha256":                 {file, ""},
		"SHA256SUMS":                       {file, ""},
		"deckhousereleases.yaml":           {file, ""},
		"usual/install/blobs/sha256/b.tar": {file, ""}, // not reported: this directory should contain only blobs
		"dir.tar":                          {link("sub"), ""},
		"dir.tar.gz/x":                     {file, ""},
	} {
		t.Run(strings.ReplaceAll(name, "/", "_"), func(t *testing.T) {
			dir := t.TempDir()
			layouttest.Try(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o755))
			tree, other := build(t, "usual", "usual/install"), build(t, "other", "other")
			layouttest.Try(t, os.CopyFS(dir, os.DirFS(tree.Dir())))
			other.Archive(filepath.Join(dir, "other.tar"), layouttest.Archive{})
			path := filepath.Join(dir, name)
			layouttest.Try(t, os.MkdirAll(filepath.Dir(path), 0o755))
			c.make(t, path)
			var failures []layoutstore.Problem
			for _, p := range problemsOf(openWith(t, archiveOptions(dir)).Snapshot()) {
				if p.IsFailure() {
					failures = append(failures, p)
				}
			}
			if c.want == "" {
				if len(failures) > 0 {
					t.Errorf("got the failures %v, want none", failures)
				}
				return
			}
			kind := layoutstore.Limited
			if strings.HasSuffix(name, ".filepart") {
				kind = layoutstore.Incomplete // not Limited, because an upload may complete the file
			}
			if len(failures) != 1 || failures[0].Path != path || failures[0].Kind != kind || !failures[0].TagsUnknown || !strings.Contains(failures[0].Reason, c.want) {
				t.Errorf("got failures %v, want one about %s that contains %q", failures, path, c.want)
			}
		})
	}
}

// An archive in a subdirectory of a source is no problem if the archive is a source, too.
func TestNestedArchivesThatAreSources(t *testing.T) {
	dir := t.TempDir()
	one, two := build(t, "one", "one"), build(t, "two", "two")
	one.Archive(filepath.Join(dir, "one.tar"), layouttest.Archive{})
	two.Archive(filepath.Join(dir, "sub/two.tar"), layouttest.Archive{})
	for _, second := range []string{"sub", "sub/two.tar", "sub/../sub/"} {
		options := archiveOptions(dir)
		options.Sources = append(options.Sources, filepath.Join(dir, second))
		if found := problemsOf(openWith(t, options).Snapshot()); len(found) > 0 {
			t.Errorf("with the second source %s: got problems %v, want none", second, found)
		}
	}
}

// listen makes a socket. It uses a relative path, because the paths of sockets must be short.
func listen(t *testing.T, name string) {
	t.Helper()
	t.Chdir(filepath.Dir(name))
	l, err := net.Listen("unix", filepath.Base(name))
	layouttest.Try(t, err)
	t.Cleanup(func() { l.Close() })
}
