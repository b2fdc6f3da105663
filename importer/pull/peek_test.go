package pull_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// layer is a tar archive of files.
func layer(t *testing.T, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		try(t, w.WriteHeader(&tar.Header{Name: files[i], Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[i+1]))}))
		_, err := w.Write([]byte(files[i+1]))
		try(t, err)
	}
	try(t, w.Close())
	return b.Bytes()
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	try(t, err)
	try(t, w.Close())
	return b.Bytes()
}

func zstandard(t *testing.T, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	try(t, err)
	return w.EncodeAll(data, nil)
}

// The file of the topmost layer counts, whatever layers are packed with, unless a layer
// above takes it away; a layer that is cut is an error and not a file that is missing.
func TestFilesOfImages(t *testing.T) {
	version := func(v string) []string { return []string{"version.json", `{"version":"` + v + `"}`} }
	large := strings.Repeat("x", 1<<20)
	for name, test := range map[string]struct {
		layers [][]byte // the lowest first
		want   string   // the version, or what the error says
	}{
		"one layer":              {[][]byte{layer(t, version("v1.0.0")...)}, "v1.0.0"},
		"the upper one":          {[][]byte{layer(t, version("v1.0.0")...), layer(t, version("v1.0.1")...)}, "v1.0.1"},
		"gzip":                   {[][]byte{gzipped(t, layer(t, version("v1.0.0")...)), gzipped(t, layer(t, "other", "x"))}, "v1.0.0"},
		"zstd":                   {[][]byte{zstandard(t, layer(t, version("v1.0.0")...))}, "v1.0.0"},
		"a name with a dot":      {[][]byte{layer(t, "./version.json", `{"version":"v1.0.0"}`)}, "v1.0.0"},
		"an absolute name":       {[][]byte{layer(t, "/version.json", `{"version":"v1.0.0"}`)}, "v1.0.0"},
		"taken away":             {[][]byte{layer(t, version("v1.0.0")...), layer(t, ".wh.version.json", "")}, "no version.json"},
		"all taken away":         {[][]byte{layer(t, version("v1.0.0")...), layer(t, ".wh..wh..opq", "")}, "no version.json"},
		"taken away and put":     {[][]byte{layer(t, version("v1.0.0")...), layer(t, append([]string{".wh.version.json", ""}, version("v1.0.1")...)...)}, "v1.0.1"},
		"another is taken away":  {[][]byte{layer(t, version("v1.0.0")...), layer(t, ".wh.version", "")}, "v1.0.0"},
		"none":                   {[][]byte{layer(t, "other", "x")}, "no version.json"},
		"a cut archive":          {[][]byte{layer(t, version("v1.0.0")...), layer(t, "other", large)[:1000]}, "unexpected EOF"},
		"a cut packed archive":   {[][]byte{layer(t, version("v1.0.0")...), gzipped(t, layer(t, "other", large))[:200]}, "unexpected EOF"},
		"no archive":             {[][]byte{layer(t, version("v1.0.0")...), []byte(strings.Repeat("none", 300))}, "invalid tar header"},
		"no JSON":                {[][]byte{layer(t, "version.json", "v1.0.0")}, "invalid character"},
		"a version that is none": {[][]byte{layer(t, "version.json", "{}")}, "names no version"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSynthetic(t)
			const releases = edition + "/modules/console/release"
			s.image(edition+"/modules", "console", nil)
			for _, v := range []string{"v1.0.0", "v1.0.1"} {
				s.image(edition+"/modules/console", v, map[string]string{"x": "x"})
			}
			s.tag(releases, s.tree.Layout(releases).Image(layouttest.Image{Name: name, Layers: test.layers}), "stable")
			s.writeAll()
			r, _ := serveTree(t, s.tree.Dir())
			o := options(t, r, edition)
			o.Selection = only(func(s *pull.Selection) { s.NoModules = false })
			for range 2 { // from the network and from the disk
				plan, err := pull.Dry(t.Context(), o, nil)
				if !strings.HasPrefix(test.want, "v") {
					if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), releases+":stable") {
						t.Errorf("%v, want %q", err, test.want)
					}
					if _, err := pull.Run(t.Context(), o, nil); err == nil {
						t.Error("it was pulled all the same")
					}
					return
				}
				try(t, err)
				if got := plan.Components[0].Channels["stable"]; got != test.want {
					t.Errorf("%s, want %s", got, test.want)
				}
				run(t, o)
			}
		})
	}
}
