package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	specsgo "github.com/opencontainers/image-spec/specs-go"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// layout is an OCI image layout in memory. It has a single tag.
type layout struct {
	blobs map[digest.Digest][]byte
	root  specs.Descriptor
}

func newLayout() *layout { return &layout{blobs: map[digest.Digest][]byte{}} }

func (l *layout) add(mediaType string, data []byte) specs.Descriptor {
	d := digest.FromBytes(data)
	l.blobs[d] = data
	return specs.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
}

// addJSON encodes a value as JSON, and adds it as a blob.
func (l *layout) addJSON(mediaType string, v any) (specs.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return specs.Descriptor{}, err
	}
	return l.add(mediaType, data), nil
}

// archive returns the layout as a tar file. The same layout and time always give the same bytes.
func (l *layout) archive(made time.Time) ([]byte, error) {
	index, err := json.Marshal(specs.Index{
		Versioned: versioned(), MediaType: specs.MediaTypeImageIndex, Manifests: []specs.Descriptor{l.root},
	})
	if err != nil {
		return nil, err
	}
	mark := []byte(`{"imageLayoutVersion":"` + specs.ImageLayoutVersion + `"}`)
	files := []file{{name: specs.ImageLayoutFile, data: mark}, {name: specs.ImageIndexFile, data: index}}
	for _, d := range slices.Sorted(maps.Keys(l.blobs)) {
		files = append(files, file{name: specs.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded(), data: l.blobs[d]})
	}
	return writeTar(files, made)
}

// file is an entry of a tar archive. If the name ends in /, it is a directory.
type file struct {
	name  string
	data  []byte
	mode  int64 // permissions; 0 means 0644 for a file, and 0755 for a directory
	owner int   // id of both the user and the group
}

// writeTar returns a tar archive of files. All entries have the same modification time.
func writeTar(files []file, made time.Time) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := tar.Header{Typeflag: tar.TypeReg, Name: f.name, Size: int64(len(f.data)), Uid: f.owner, Gid: f.owner, ModTime: made, Format: tar.FormatUSTAR}
		h.Mode = cmp.Or(f.mode, 0o644)
		if strings.HasSuffix(f.name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, cmp.Or(f.mode, 0o755)
		}
		if err := w.WriteHeader(&h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

// compress compresses data with gzip. The gzip header contains neither a name nor a time.
func compress(data []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(data)
	err = errors.Join(err, w.Close())
	return b.Bytes(), err
}

func versioned() specsgo.Versioned { return specsgo.Versioned{SchemaVersion: 2} }
