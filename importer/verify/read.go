package verify

import (
	"cmp"
	"context"
	_ "crypto/sha512" // blobs may have sha512 digests
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"slices"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// task is a copy of a blob to read, or a file to compare with a checksum. It must be small, because there may
// be a million tasks.
type task struct {
	layout layoutstore.Layout
	digest digest.Digest
	size   int64 // bytes

	file string // archive or chunk where the blob begins; empty if it is a separate file

	off int64 // offset of the blob in file, in bytes

	checksum *Checksum
	where    extent.List // location of the file to compare
}

func taskOf(s layoutstore.Stored) task {
	t := task{layout: s.Layout, digest: s.Digest, size: s.Where.Size()}
	if t.size > 0 && !s.Where[0].Whole {
		t.file, t.off = s.Where[0].File.String(), s.Where[0].Off
	}
	return t
}

// bufferSize is the size of one read in bytes. It fits into the L2 cache of a processor.
const bufferSize = 256 << 10

func (r *run) readAll(ctx context.Context) error {
	var total int64
	for _, t := range r.tasks {
		total += t.size
	}
	schedule(r.tasks, total/int64(giantShare*r.Jobs))
	r.report.Files += len(r.tasks)
	r.report.Bytes += total
	r.Progress.Begin(r.report.Files, r.report.Bytes)
	r.Progress.Read(int(r.report.Bytes - total)) // the audit has already read the manifests
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range r.Jobs {
		group.Go(func() error {
			buf := make([]byte, bufferSize)
			for {
				i := int(next.Add(1)) - 1
				if i >= len(r.tasks) {
					return ctx.Err()
				}
				if err := r.do(ctx, i, buf); err != nil {
					return err
				}
			}
		})
	}
	return group.Wait()
}

// giantShare defines giants: a task is a giant if it is larger than 1/giantShare of the work per job. If a
// giant came last, one job would read it while all other jobs are idle.
const giantShare = 16

// schedule sorts tasks. Giants come first, from the largest to the smallest. The other tasks follow in disk
// order, so that reads are sequential.
func schedule(tasks []task, giant int64) {
	large := func(t task) int64 {
		if t.size > giant {
			return t.size
		}
		return 0
	}
	slices.SortStableFunc(tasks, func(a, b task) int {
		return cmp.Or(-cmp.Compare(large(a), large(b)), cmp.Compare(a.file, b.file), cmp.Compare(a.off, b.off))
	})
}

// do carries out one task, and records damaged content. number is the task's position in r.tasks.
// Errors are the context's, and those for which layoutstore.IsExhausted is true.
func (r *run) do(ctx context.Context, number int, buf []byte) error {
	t := &r.tasks[number]
	if t.checksum != nil {
		return t.checksum.compare(ctx, t.where, buf, r.Progress.Read)
	}
	stored := layoutstore.Stored{Layout: t.layout, Digest: t.digest}
	got, reason, err := r.readBlob(ctx, &stored, buf)
	if err != nil || got == "" && reason == "" {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrong = append(r.wrong, wrong{int32(number), got, reason})
	return nil
}

// readBlob locates and reads a copy of a blob. If the copy is damaged, got has the bytes of its
// content's digest. If that digest is unknown, reason says why the copy is damaged. If the file is
// replaced meanwhile, readBlob locates the copy again, once. Errors are those of do.
func (r *run) readBlob(ctx context.Context, s *layoutstore.Stored, buf []byte) (got, reason string, err error) {
	for again := false; ; again = true {
		if s.Where, err = s.Layout.Locate(ctx, s.Digest); err == nil {
			err = compare(ctx, *s, buf, r.Progress.Read)
		}
		if again || !errors.Is(err, layoutstore.ErrStale) {
			break
		}
	}
	var other *wrongBytes
	switch {
	case ctx.Err() != nil:
		return "", "", ctx.Err()
	case layoutstore.IsExhausted(err):
		return "", "", err
	case errors.As(err, &other):
		sum, err := hex.DecodeString(other.got.Encoded())
		return string(sum), "", err
	case errors.Is(err, layoutstore.ErrStale):
		return "", "it changed while it was being read", nil
	case errors.Is(err, fs.ErrNotExist):
		return "", "it was removed while it was being read", nil
	case err != nil:
		return "", err.Error(), nil
	}
	return "", "", nil
}

// wrongBytes reports that the content of a blob has a different digest.
type wrongBytes struct{ got digest.Digest }

func (e *wrongBytes) Error() string { return fmt.Sprintf("checksum mismatch: content is %s", e.got) }

// compare reads a copy of a blob, and compares its digest. If the digest differs, the error is *wrongBytes.
// Other errors are those of sum.
func compare(ctx context.Context, s layoutstore.Stored, buf []byte, read func(n int)) error {
	got, err := sum(ctx, s.Where, s.Digest.Algorithm().Hash(), buf, read)
	if err != nil {
		return err
	}
	if d := digest.NewDigestFromBytes(s.Digest.Algorithm(), got); d != s.Digest {
		return &wrongBytes{d}
	}
	return nil
}

// sum returns the hash of the content at a location. If some bytes are missing, the error wraps
// layoutstore.ErrStale.
func sum(ctx context.Context, where extent.List, h hash.Hash, buf []byte, read func(n int)) ([]byte, error) {
	content, err := where.OpenOnce(ctx)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	left := where.Size()
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := content.Read(buf)
		h.Write(buf[:n])
		read(n)
		left -= int64(n)
		switch {
		case errors.Is(err, io.EOF) && left > 0:
			return nil, fmt.Errorf("%s: truncated by %d bytes: %w", where, left, layoutstore.ErrStale)
		case errors.Is(err, io.EOF):
			return h.Sum(nil), nil
		case err != nil:
			return nil, err
		}
	}
}
