package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	specsgo "github.com/opencontainers/image-spec/specs-go"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// layout is an OCI image layout of one tag, in memory.
type layout struct {
	blobs map[digest.Digest][]byte
	root  specs.Descriptor
}

func newLayout() *layout { return &layout{blobs: map[digest.Digest][]byte{}} }

// add adds a blob.
func (l *layout) add(mediaType string, data []byte) specs.Descriptor {
	d := digest.FromBytes(data)
	l.blobs[d] = data
	return specs.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
}

// addJSON adds a blob that is the JSON of a value.
func (l *layout) addJSON(mediaType string, v any) (specs.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return specs.Descriptor{}, err
	}
	return l.add(mediaType, data), nil
}

// archive returns the layout as a tar file. Its bytes depend only on the layout and the time.
func (l *layout) archive(made time.Time) ([]byte, error) {
	index, err := json.Marshal(specs.Index{
		Versioned: versioned(), MediaType: specs.MediaTypeImageIndex, Manifests: []specs.Descriptor{l.root},
	})
	if err != nil {
		return nil, err
	}
	mark, err := json.Marshal(specs.ImageLayout{Version: specs.ImageLayoutVersion})
	if err != nil {
		return nil, err
	}
	files := []file{{name: specs.ImageLayoutFile, data: mark}, {name: specs.ImageIndexFile, data: index}}
	for _, d := range slices.Sorted(maps.Keys(l.blobs)) {
		files = append(files, file{name: specs.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded(), data: l.blobs[d]})
	}
	return writeTar(files, made)
}

// file is an entry of a tar archive. A name that ends in / is a directory.
type file struct {
	name  string
	data  []byte
	mode  int64 // 0 is 0644, or 0755 for a directory
	owner int
}

// writeTar returns an archive of files, all of one time.
func writeTar(files []file, made time.Time) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := tar.Header{Typeflag: tar.TypeReg, Name: f.name, Size: int64(len(f.data)), Mode: f.mode, Uid: f.owner, Gid: f.owner, ModTime: made, Format: tar.FormatUSTAR}
		if f.name[len(f.name)-1] == '/' {
			h.Typeflag = tar.TypeDir
		}
		switch {
		case h.Mode != 0:
		case h.Typeflag == tar.TypeDir:
			h.Mode = 0o755
		default:
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// compress returns data in gzip's form, without a name or a time.
func compress(data []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(w, bytes.NewReader(data)); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func versioned() specsgo.Versioned { return specsgo.Versioned{SchemaVersion: 2} }
