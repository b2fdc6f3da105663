package importer

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

// minUploads is the minimum number of parallel uploads. Uploads mostly wait for the network.
const minUploads = 4

// uploadContent proves a content, and uploads it if it is missing or damaged in the bucket.
func (t *transfer) uploadContent(ctx context.Context, c *content) error {
	for _, from := range c.copies {
		err := t.uploadCopy(ctx, c, from)
		if err == nil {
			c.size, c.proven, c.from = from.size, true, from
			t.count(func(b *Blobs) { b.Verified++ })
			return nil
		}
		if err := t.addBad(ctx, c, from, fmt.Errorf("uploading %s: %w", c.digest, err)); err != nil {
			return err
		}
	}
	return nil
}

// uploadCopy reads one copy of a content, and uploads it unless the bucket has an intact object.
func (t *transfer) uploadCopy(ctx context.Context, c *content, from bundleCopy) error {
	o, found := t.session.bucket.Find(c.digest)
	if !found || o.Size != from.size {
		if err := t.send(ctx, c, from); err != nil {
			return err
		}
		t.count(func(b *Blobs) {
			b.Written++
			b.Linked += max(0, len(c.places)-1)
		})
		return nil
	}
	etag := bucket.NewETag(o.Size)
	if err := t.readCopy(ctx, c, from, etag); err != nil {
		return err
	}
	if !etag.Is(o.ETag) {
		intact, err := t.isIntact(ctx, c, o)
		if err != nil {
			return err
		}
		if !intact {
			t.count(func(b *Blobs) { b.Repaired++ })
			return t.send(ctx, c, from)
		}
	}
	t.count(func(b *Blobs) {
		b.Linked += len(c.places)
		if len(c.places) == 0 {
			b.Present++
		}
	})
	return nil
}

func (t *transfer) openCopy(ctx context.Context, c *content, from bundleCopy) (*provenReader, error) {
	where, err := from.layout.Locate(ctx, c.digest)
	if err != nil {
		return nil, unreadable(ctx, err)
	}
	r, err := where.OpenOnce(ctx)
	if err != nil {
		return nil, unreadable(ctx, err)
	}
	return &provenReader{ctx: ctx, file: r, digest: c.digest, hash: c.digest.Algorithm().Hash(), left: from.size, progress: t.session.options.Progress}, nil
}

// readCopy reads and proves a copy of a content, and writes the content to a hash.
func (t *transfer) readCopy(ctx context.Context, c *content, from bundleCopy, to io.Writer) error {
	r, err := t.openCopy(ctx, c, from)
	if err != nil {
		return err
	}
	defer r.file.Close()
	buf := t.bufs.Get().(*[bufferSize]byte)
	defer t.bufs.Put(buf)
	n, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{r}, buf[:])
	t.count(func(b *Blobs) { b.Bytes += n })
	return err
}

func (t *transfer) send(ctx context.Context, c *content, from bundleCopy) error {
	r, err := t.openCopy(ctx, c, from)
	if err != nil {
		return err
	}
	defer r.file.Close()
	if from.size == 0 { // PutBlob does not read an empty body, so check the digest here
		if err := r.end(); !errors.Is(err, io.EOF) {
			return err
		}
	}
	if err := t.session.bucket.PutBlob(ctx, c.digest, r, from.size); err != nil {
		return err
	}
	t.count(func(b *Blobs) { b.Bytes += from.size })
	return nil
}

// isIntact reads an object in the bucket whose ETag does not prove its content. It reports whether
// the object has the content's digest.
func (t *transfer) isIntact(ctx context.Context, c *content, o bucket.Object) (bool, error) {
	r, err := t.session.bucket.OpenBlob(ctx, o)
	if err != nil {
		return false, err
	}
	defer r.Close()
	err = prove(ctx, r, c.digest)
	if errors.Is(err, errMismatch) {
		return false, nil
	}
	return err == nil, err
}

// provenReader reads a copy of a blob. If the copy is damaged, provenReader returns a badError
// instead of the last bytes.
type provenReader struct {
	ctx      context.Context // if it ends, reading fails
	file     io.ReadCloser
	digest   digest.Digest
	hash     hash.Hash
	left     int64
	progress Progress
}

// Read implements io.Reader.
func (r *provenReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if r.left == 0 {
		return 0, r.end()
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.file.Read(p)
	r.hash.Write(p[:n])
	r.left -= int64(n)
	r.progress.Read(n)
	switch {
	case n > 0 && r.left == 0:
		if err := r.end(); !errors.Is(err, io.EOF) {
			return 0, err
		}
		return n, nil
	case errors.Is(err, io.EOF):
		return 0, &badError{fmt.Errorf("the content is %d bytes too short", r.left)}
	case err != nil:
		return 0, unreadable(r.ctx, err)
	}
	return n, nil
}

// end returns io.EOF if the digest matches. Otherwise, it returns a badError.
func (r *provenReader) end() error {
	if got := digest.NewDigest(r.digest.Algorithm(), r.hash); got != r.digest {
		return &badError{fmt.Errorf("checksum mismatch: content is %s", got)}
	}
	return io.EOF
}
