package registry

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// blobs answers GET and HEAD of a blob.
func (r *registry) blobs(w http.ResponseWriter, req *http.Request, s *layoutstore.Snapshot, name, reference string) error {
	var d digest.Digest
	repo, err := repository(s, name, func() (err error) {
		d, err = parseDigest(reference)
		return err
	})
	if err != nil {
		return err
	}
	blob, content, err := open(repo, d)
	if err != nil {
		return err
	}
	defer content.Close()
	h := w.Header()
	h["Cache-Control"] = r.immutable
	describe(h, "application/octet-stream", d)
	return serveContent(w, req, content, blob.Size)
}

// open opens a blob. A file that changed between being found and being opened is
// looked for once more.
func open(repo *layoutstore.Repository, d digest.Digest) (*layoutstore.Blob, io.ReadSeekCloser, error) {
	for again := false; ; again = true {
		blob, err := repo.Blob(d)
		if err != nil {
			return nil, nil, err
		}
		content, err := blob.Open()
		switch {
		case err == nil:
			return blob, content, nil
		case errors.Is(err, layoutstore.ErrStale) && !again:
		case layoutstore.Exhausted(err):
			return nil, nil, err
		default:
			return nil, nil, fmt.Errorf("%w: %w", layoutstore.ErrBlobUnknown, err)
		}
	}
}
