package pull

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

type plainFile string

func (f plainFile) Open(context.Context) (*os.File, error) { return os.Open(string(f)) }
func (f plainFile) String() string                         { return string(f) }

type noMeter struct{}

func (noMeter) Add(int64) {}

func newFetcher(t *testing.T) *fetcher {
	t.Helper()
	w, err := openWork(t.TempDir(), "", true, time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return &fetcher{work: w, meter: noMeter{}}
}

// If a copied blob is damaged, or copying is interrupted, an earlier partial download is kept.
func TestPartSurvivesDamagedCopy(t *testing.T) {
	f := newFetcher(t)
	data := bytes.Repeat([]byte("layer"), 1000)
	b := closure.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
	part := f.work.part(b.Digest)
	write := func(name string, data []byte) {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(part, data[:3000])
	elsewhere := filepath.Join(t.TempDir(), "blob")
	where := extent.List{{File: plainFile(elsewhere), Len: b.Size}}
	write(elsewhere, bytes.Repeat([]byte("wrong"), 1000))
	if good, err := f.copyBlob(t.Context(), where, b); good || err != nil {
		t.Fatalf("copyBlob of a damaged blob = %v, error %v; want false and no error", good, err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if good, err := f.copyBlob(stopped, where, b); good || !errors.Is(err, context.Canceled) {
		t.Fatalf("copyBlob with an ended context = %v, error %v; want false and context.Canceled", good, err)
	}
	if have, err := os.ReadFile(part); err != nil || !bytes.Equal(have, data[:3000]) {
		t.Fatalf("the partial download has %d bytes, error %v; want its 3000 bytes unchanged", len(have), err)
	}
	write(elsewhere, data)
	if good, err := f.copyBlob(t.Context(), where, b); !good || err != nil {
		t.Fatalf("copyBlob of an intact blob = %v, error %v; want true and no error", good, err)
	}
	if left, err := os.ReadDir(filepath.Dir(part)); err != nil || len(left) > 0 {
		t.Errorf("partial downloads after copyBlob: %v, error %v; want none", left, err)
	}
}

// The part of an interrupted download is hashed before the first request. If the context ends, the
// hashing stops.
func TestHashingEndsWithContext(t *testing.T) {
	f := newFetcher(t)
	b := closure.Descriptor{Digest: digest.FromString("layer"), Size: 5}
	if err := os.WriteFile(f.work.part(b.Digest), []byte("laye"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.fetchMissing(ctx, "repository", b, false); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
