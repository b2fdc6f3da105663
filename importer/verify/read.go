package verify

import (
	"cmp"
	"context"
	_ "crypto/sha512" // an algorithm that blobs may be named by
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

// task is something to read to its end: a copy of a blob, or what a checksum is of.
// There may be a million, so it says no more than it has to.
type task struct {
	layout layoutstore.Layout
	digest digest.Digest
	size   int64  // bytes
	file   string // archive or chunk that it begins in; in a directory there is no order
	off    int64  // and where

	checksum *Checksum
	where    extent.List // of the checksum's file
}

func taskOf(s layoutstore.Stored) task {
	t := task{layout: s.Layout, digest: s.Digest, size: s.Where.Size()}
	if t.size > 0 && !s.Where[0].Whole {
		t.file, t.off = s.Where[0].File.String(), s.Where[0].Off
	}
	return t
}

// bufferSize is how much is read at once: what a processor's second cache holds.
const bufferSize = 256 << 10

// readAll reads each task once, several at a time.
func (r *run) readAll(ctx context.Context) error {
	var total int64
	for _, t := range r.tasks {
		total += t.size
	}
	schedule(r.tasks, total/int64(giantShare*r.Jobs))
	r.report.Files += len(r.tasks)
	r.report.Bytes += total
	r.Progress.Begin(r.report.Files, r.report.Bytes)
	r.Progress.Read(int(r.report.Bytes - total)) // manifests, which the audit has read
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

// giantShare: what is larger than this part of what each job has to read may not
// come last, where the other jobs would wait for it.
const giantShare = 16

// schedule puts giants first, the largest before the others, and behind them the
// rest in the order in which it lies: a disk reads on where it is.
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

// do reads the task of that number. The error is the context's, or one that layoutstore.Exhausted
// knows: what is wrong with the content is noted.
func (r *run) do(ctx context.Context, number int, buf []byte) error {
	t := &r.tasks[number]
	if t.checksum != nil {
		return t.checksum.compare(ctx, t.where, buf, r.Progress.Read)
	}
	stored := layoutstore.Stored{Layout: t.layout, Digest: t.digest}
	got, reason, err := r.blob(ctx, &stored, buf)
	if err != nil || got == "" && reason == "" {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrong = append(r.wrong, wrong{int32(number), got, reason})
	return nil
}

// blob locates and reads a copy of a blob and says why it is not what its name says, or
// the sum of its bytes if that is why; neither is set where it is. A file that is
// replaced between the two is located once more. The error is as that of do.
func (r *run) blob(ctx context.Context, s *layoutstore.Stored, buf []byte) (got, reason string, err error) {
	for again := false; ; again = true {
		if s.Where, err = s.Layout.Locate(s.Digest); err == nil {
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
		return "", "it changed while it was read", nil
	case errors.Is(err, fs.ErrNotExist):
		return "", "it was removed while it was read", nil
	case err != nil:
		return "", err.Error(), nil
	}
	return "", "", nil
}

// wrongBytes says that a copy of a blob has other bytes than its name says.
type wrongBytes struct{ got digest.Digest }

func (e *wrongBytes) Error() string { return fmt.Sprintf("its bytes are those of %s", e.got) }

// compare reads a copy of a blob. Errors: *wrongBytes; those of sum.
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

// sum hashes the bytes of a list. Fewer of them than the list has are an error that
// wraps layoutstore.ErrStale.
func sum(ctx context.Context, where extent.List, h hash.Hash, buf []byte, read func(n int)) ([]byte, error) {
	content, err := where.OpenOnce()
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
			return nil, fmt.Errorf("%s: %d bytes less than there were: %w", where, left, layoutstore.ErrStale)
		case errors.Is(err, io.EOF):
			return h.Sum(nil), nil
		case err != nil:
			return nil, err
		}
	}
}
