package registry

import (
	"bytes"
	"io"
	"net/http"

	"github.com/felixge/httpsnoop"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// blobs answers GET and HEAD of a blob.
func (r *registry) blobs(w http.ResponseWriter, req *http.Request, s *layoutstore.Snapshot, name, reference string) error {
	repo, d, err := repositoryAndDigest(s, name, reference)
	if err != nil {
		return err
	}
	blob, err := repo.OpenBlob(req.Context(), d, neededPart(req))
	if err != nil {
		return err
	}
	defer blob.Close()
	content := blob.ReadSeekCloser
	h := w.Header()
	h["Cache-Control"] = r.immutable
	setContentHeaders(h, "application/octet-stream", d)
	if sender, ok := content.(extent.Sender); ok {
		w = sendSections(w, req, sender)
	}
	return serveContent(w, req, content, blob.Size)
}

// checkedEnd is how many bytes at the end of a file are sent only after the file was
// checked: a blob whose file was overwritten before its bytes were queued for the client
// never completes. The end of an archive is copied through user space, so that nothing
// comes between the check and its bytes.
const checkedEnd = 512

// corkedSize is up to which size, in bytes, head, content and checked end share packets.
// A larger body fills its packets in any case, and holding them back costs the kernel more
// than the two packets that are saved.
const corkedSize = 4 << 20

// sendSections wraps w so that the content is sent file by file: the kernel cannot send
// from a reader that joins several files, and everything would be copied.
func sendSections(w http.ResponseWriter, req *http.Request, content extent.Sender) http.ResponseWriter {
	return httpsnoop.Wrap(w, httpsnoop.Hooks{
		ReadFrom: func(next httpsnoop.ReadFromFunc) httpsnoop.ReadFromFunc {
			return func(src io.Reader) (sent int64, err error) {
				part, ok := src.(*io.LimitedReader)
				if !ok || part.R != io.Reader(content) {
					return next(src)
				}
				corked := false
				if part.N <= corkedSize {
					var uncork func()
					uncork, corked = cork(req)
					defer uncork()
				}
				if flusher, ok := w.(http.Flusher); ok && corked && part.N > checkedEnd {
					flusher.Flush() // otherwise net/http copies the first bytes into the head's buffer
				}
				for part.N > checkedEnd {
					section, err := content.Section(part.N - checkedEnd)
					if err != nil {
						return sent, err
					}
					want := section.N
					n, err := next(section)
					sent += n
					part.N -= n
					if err != nil || n < want {
						return sent, err
					}
				}
				if !content.ReadChecks() {
					if err := content.Check(); err != nil {
						return sent, err
					}
					section, err := content.Section(part.N)
					if err != nil {
						return sent, err
					}
					n, err := next(section)
					part.N -= n
					return sent + n, err
				}
				var end [checkedEnd]byte
				n, err := io.ReadFull(part, end[:part.N]) // checks the file as well
				if err != nil {
					return sent, err
				}
				last, err := next(&io.LimitedReader{R: bytes.NewReader(end[:n]), N: int64(n)}) // what was corked is not buffered
				return sent + last, err
			}
		},
	})
}
