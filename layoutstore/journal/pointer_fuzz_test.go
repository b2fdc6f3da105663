package journal_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// object is a bucket in which every object has this content.
type object []byte

func (object) List(context.Context, string, func(bucket.Object) error) error { return nil }

func (o object) Get(context.Context, string, int64, int64, string) (io.ReadCloser, bucket.Object, error) {
	return io.NopCloser(bytes.NewReader(o)), bucket.Object{Size: int64(len(o)), ETag: "tag"}, nil
}

func (o object) Stat(context.Context, string) (bucket.Object, error) {
	return bucket.Object{Size: int64(len(o)), ETag: "tag"}, nil
}

func (object) Place() string { return "s3://bundles/store" }

// A pointer or generation in an unknown format must be refused. "Not a store" is the error only for a state
// in the known format without a generation, because such an object is a copy of a store in a directory.
func FuzzPointer(f *testing.F) {
	f.Add([]byte(`{"format":1,"generation":7,"object":".layoutproxy/generations/7/generation.json","epoch":2}`))
	f.Add([]byte(`{"format":1,"generation":7}`))
	f.Add([]byte(`{"format":2,"object":"x"}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"format":1,"repositories":{"app":{"index":{"key":"k","size":-1,"digest":"sha256:x"}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := journal.ReadPointer(t.Context(), object(data))
		if err == nil && (p.Format != journal.Format || p.Object == "" || p.ETag != "tag") {
			t.Errorf("ReadPointer(%q) = %+v, want an error, or format 1 with an object and an ETag", data, p)
		}
		if errors.Is(err, journal.ErrNotStore) {
			var s struct{ Format int }
			if json.Unmarshal(data, &s) != nil || s.Format != journal.Format {
				t.Errorf("ReadPointer(%q): got the error %v, want an error other than ErrNotStore", data, err)
			}
		}
		if g, err := journal.ReadGeneration(t.Context(), object(data), "key"); err == nil && g.Format != journal.Format {
			t.Errorf("ReadGeneration(%q) = %+v, want an error or format 1", data, g)
		}
	})
}
