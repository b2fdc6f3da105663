package imagefile_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/imagefile"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	layouttest.Try(t, err)
	layouttest.Try(t, w.Close())
	return b.Bytes()
}

func zstandard(t *testing.T, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	layouttest.Try(t, err)
	defer w.Close()
	return w.EncodeAll(data, nil)
}

// image consists of layers, from the bottom up. It records which of them are opened.
type image struct {
	layers []imagefile.Layer
	bytes  map[digest.Digest][]byte
	opened []digest.Digest
}

func imageOf(layers ...[]byte) *image {
	i := &image{bytes: map[digest.Digest][]byte{}}
	for _, l := range layers {
		d := digest.FromBytes(l)
		i.layers = append(i.layers, imagefile.Layer{MediaType: specs.MediaTypeImageLayerGzip, Digest: d, Size: int64(len(l))})
		i.bytes[d] = l
	}
	return i
}

func (i *image) open(_ context.Context, l imagefile.Layer) (io.ReadCloser, error) {
	i.opened = append(i.opened, l.Digest)
	return io.NopCloser(bytes.NewReader(i.bytes[l.Digest])), nil
}

// Read returns the file in the topmost layer, whatever the compression, unless a layer above
// removes it (OCI image layer specification 1.1, "Whiteouts" and "Opaque Whiteout"). A truncated
// layer is an error, not a missing file.
func TestReadFileFromTopmostLayer(t *testing.T) {
	const name = "version.json"
	large := strings.Repeat("x", 1<<20)
	for what, test := range map[string]struct {
		// layers contains the layers from the bottom up.
		layers [][]byte
		// want is the content of the file, or a part of the error.
		want  string
		fails bool
	}{
		"one layer":                      {[][]byte{layouttest.TarOf(t, name, "1")}, "1", false},
		"in both layers":                 {[][]byte{layouttest.TarOf(t, name, "1"), layouttest.TarOf(t, name, "2")}, "2", false},
		"gzip":                           {[][]byte{gzipped(t, layouttest.TarOf(t, name, "1")), gzipped(t, layouttest.TarOf(t, "other", "x"))}, "1", false},
		"zstd":                           {[][]byte{zstandard(t, layouttest.TarOf(t, name, "1"))}, "1", false},
		"a name that begins with ./":     {[][]byte{layouttest.TarOf(t, "./version.json", "1")}, "1", false},
		"an absolute file name":          {[][]byte{layouttest.TarOf(t, "/version.json", "1")}, "1", false},
		"removed":                        {[][]byte{layouttest.TarOf(t, name, "1"), layouttest.TarOf(t, ".wh.version.json", "")}, "", false},
		"all removed":                    {[][]byte{layouttest.TarOf(t, name, "1"), layouttest.TarOf(t, ".wh..wh..opq", "")}, "", false},
		"removed and added in one layer": {[][]byte{layouttest.TarOf(t, name, "1"), layouttest.TarOf(t, ".wh.version.json", "", name, "2")}, "2", false},
		"another file is removed":        {[][]byte{layouttest.TarOf(t, name, "1"), layouttest.TarOf(t, ".wh.version", "")}, "1", false},
		"none":                           {[][]byte{layouttest.TarOf(t, "other", "x")}, "", false},
		"a truncated archive":            {[][]byte{layouttest.TarOf(t, name, "1"), layouttest.TarOf(t, "other", large)[:1000]}, "unexpected EOF", true},
		"a truncated compressed archive": {[][]byte{layouttest.TarOf(t, name, "1"), gzipped(t, layouttest.TarOf(t, "other", large))[:200]}, "unexpected EOF", true},
		"no archive":                     {[][]byte{layouttest.TarOf(t, name, "1"), []byte(strings.Repeat("none", 300))}, "invalid tar header", true},
		"a file that is too long":        {[][]byte{gzipped(t, layouttest.TarOf(t, name, strings.Repeat("x", imagefile.MaxFile+1)))}, "more than 16777216 bytes", true},
		"a file of the maximum size":     {[][]byte{gzipped(t, layouttest.TarOf(t, name, strings.Repeat("x", imagefile.MaxFile)))}, strings.Repeat("x", imagefile.MaxFile), false},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			i := imageOf(test.layers...)
			files, err := imagefile.Read(t.Context(), i.layers, i.open, name)
			if test.fails {
				top := i.layers[len(i.layers)-1].Digest
				var format *imagefile.FormatError
				if !errors.As(err, &format) || format.Layer != top || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), top.String()) {
					t.Errorf("got the error %v, want one that contains %q", err, test.want)
				}
				return
			}
			layouttest.Try(t, err)
			if got := string(files[name]); got != test.want {
				t.Errorf("got the content %.50q, want %.50q", got, test.want)
			}
		})
	}
}

// entry is the type and the name of a tar entry in a layer.
type entry struct {
	typeflag byte
	name     string
}

// layerOf returns a tar archive with the given entries. Each file contains the word "content".
func layerOf(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.typeflag, Mode: 0o755}
		switch e.typeflag {
		case tar.TypeReg:
			h.Size = int64(len("content"))
		case tar.TypeSymlink, tar.TypeLink:
			h.Linkname = "elsewhere"
		}
		layouttest.Try(t, w.WriteHeader(h))
		if e.typeflag == tar.TypeReg {
			_, err := w.Write([]byte("content"))
			layouttest.Try(t, err)
		}
	}
	layouttest.Try(t, w.Close())
	return b.Bytes()
}

// An entry replaces whatever has the same path in the layers below, and everything below that path.
// As an exception, a directory does not replace a directory (OCI image layer specification 1.1,
// "Changeset over existing files"). containerd does the same in applyNaive of pkg/archive/tar.go.
func TestEntriesReplacePathsInLowerLayers(t *testing.T) {
	const name = "a/b/version.json"
	file, dir, link, hard := byte(tar.TypeReg), byte(tar.TypeDir), byte(tar.TypeSymlink), byte(tar.TypeLink)
	lower := layerOf(t, entry{dir, "a/"}, entry{dir, "a/b/"}, entry{file, name})
	for what, test := range map[string]struct {
		upper  []entry
		hidden bool
	}{
		"a file replaces the file's directory":             {[]entry{{file, "a/b"}}, true},
		"a file replaces a directory further up":           {[]entry{{file, "a"}}, true},
		"a symbolic link replaces the file's directory":    {[]entry{{link, "a/b"}}, true},
		"a hard link replaces the file's directory":        {[]entry{{hard, "./a/b"}}, true},
		"a device replaces the file's directory":           {[]entry{{tar.TypeChar, "/a/b"}}, true},
		"a named pipe replaces a directory further up":     {[]entry{{tar.TypeFifo, "a"}}, true},
		"a directory replaces the file":                    {[]entry{{dir, name + "/"}}, true},
		"a directory with a file replaces the file":        {[]entry{{file, name + "/more"}}, true},
		"a directory with a directory replaces the file":   {[]entry{{dir, name + "/more/"}}, true},
		"the file's directory occurs again":                {[]entry{{dir, "a/"}, {dir, "a/b/"}}, false},
		"another file in the same directory":               {[]entry{{file, "a/b/version"}, {file, "a/b/version.json.old"}}, false},
		"a file whose path is a prefix of the file's path": {[]entry{{file, "a/b/version.jso"}, {file, "a/bb"}, {file, "b"}}, false},
		"nothing": {nil, false},
	} {
		t.Run(what, func(t *testing.T) {
			upper := layerOf(t, test.upper...)
			for where, layers := range map[string][][]byte{
				"the replacing entry is in the next layer": {lower, upper},
				"another layer is in between":              {lower, layouttest.TarOf(t, "other", "x"), upper},
				"another layer is above":                   {lower, upper, layouttest.TarOf(t, "other", "x")},
				"the directory is added again":             {lower, upper, layerOf(t, entry{dir, "a/"}, entry{dir, "a/b/"})},
			} {
				i := imageOf(layers...)
				files, err := imagefile.Read(t.Context(), i.layers, i.open, name)
				if _, found := files[name]; err != nil || found == test.hidden {
					t.Errorf("%s: Read found the file: %v, error %v; want %v and no error", where, found, err, !test.hidden)
				}
			}
			// If a layer above adds the file again, Read returns that file.
			i := imageOf(lower, upper, layouttest.TarOf(t, name, "back"))
			if files, err := imagefile.Read(t.Context(), i.layers, i.open, name); err != nil || string(files[name]) != "back" {
				t.Errorf("file that a layer above adds again: got %q and the error %v, want the added content", files, err)
			}
		})
	}
	// If the path leads to something other than a file, Read fails.
	for _, typeflag := range []byte{link, hard, tar.TypeFifo} {
		i := imageOf(lower, layerOf(t, entry{typeflag, name}))
		if files, err := imagefile.Read(t.Context(), i.layers, i.open, name); err == nil {
			t.Errorf("an entry of type %q in place of the file: got %q, want an error", typeflag, files)
		}
	}
}

// Read does not open a layer below the one in which it finds the last file. It never opens layers
// of an artifact.
func TestReadOpensOnlyNeededLayers(t *testing.T) {
	i := imageOf(layouttest.TarOf(t, "a", "low"), layouttest.TarOf(t, "b", "2"), layouttest.TarOf(t, "a", "1"), []byte("an artifact"))
	i.layers[3].MediaType = "application/vnd.example.signature"
	files, err := imagefile.Read(t.Context(), i.layers, i.open, "a", "b")
	layouttest.Try(t, err)
	if string(files["a"]) != "1" || string(files["b"]) != "2" {
		t.Errorf("got the files %q, want the content 1 for a, and 2 for b", files)
	}
	if want := []digest.Digest{i.layers[2].Digest, i.layers[1].Digest}; !slices.Equal(i.opened, want) {
		t.Errorf("Read opened the layers %q, want %q", i.opened, want)
	}
}

// lying is a reader that returns err where it should return io.EOF.
type lying struct {
	io.Reader
	err error
}

func (l lying) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if err == io.EOF {
		err = l.err
	}
	return n, err
}

// If the reader fails, Read returns that error instead of a FormatError, because the content is wrong.
func TestReaderErrorTakesPrecedence(t *testing.T) {
	mismatch := errors.New("checksum mismatch")
	for _, data := range [][]byte{layouttest.TarOf(t, "a", "1"), layouttest.TarOf(t, "other", "1"), []byte("this is not an archive"), layouttest.TarOf(t, "a", strings.Repeat("x", 5000))[:1500]} {
		layers := imageOf(data).layers
		_, err := imagefile.Read(t.Context(), layers, func(context.Context, imagefile.Layer) (io.ReadCloser, error) {
			return io.NopCloser(lying{bytes.NewReader(data), mismatch}), nil
		}, "a")
		var format *imagefile.FormatError
		if !errors.Is(err, mismatch) || errors.As(err, &format) || !strings.Contains(err.Error(), layers[0].Digest.String()) {
			t.Errorf("layer %.20q: got the error %v, want that of the reader, with the digest of the layer", data, err)
		}
	}
}

// When its context has ended, Read fails.
func TestReadCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	i := imageOf(layouttest.TarOf(t, "a", "1"))
	if _, err := imagefile.Read(ctx, i.layers, i.open, "a"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
