package registry

import (
	"bytes"
	"io"
	"net/http"
	"strconv"

	"github.com/felixge/httpsnoop"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

func (r *registry) blobs(w http.ResponseWriter, req *http.Request, s *layoutstore.Snapshot, name, reference string) error {
	repo, d, err := repositoryAndDigest(s, name, reference)
	if err != nil {
		return err
	}
	if r.options.Redirect != nil && req.Method == http.MethodGet {
		blob, err := repo.Blob(req.Context(), d)
		if err != nil {
			return err
		}
		if url, ok := r.options.Redirect(req.Context(), blob); ok {
			redirect(w, url)
			return nil
		}
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
		if sendPlain(w, req, sender, blob.Size) {
			return nil
		}
		w = sendSections(w, req, sender)
	}
	return serveContent(w, req, content, blob.Size)
}

// sendPlain answers a GET request for a complete blob or for one range of it. Nearly all requests
// for blobs are of these two kinds. It does the same as http.ServeContent with less work. For any
// other request, it does nothing and returns false.
func sendPlain(w http.ResponseWriter, req *http.Request, content extent.Sender, size int64) bool {
	out, ok := w.(io.ReaderFrom)
	if !ok || req.Method != http.MethodGet || size == 0 || hasCondition(req.Header) {
		return false
	}
	status, first, n := http.StatusOK, int64(0), size
	header, asked := req.Header["Range"]
	if asked {
		if first, n, ok = parsePlainRange(header, size); !ok {
			return false
		}
		status = http.StatusPartialContent
	}
	if _, err := content.Seek(first, io.SeekStart); err != nil {
		return false
	}
	h := w.Header()
	if asked {
		h["Content-Range"] = []string{contentRange(first, n, size)}
	}
	h["Accept-Ranges"] = acceptBytes
	h["Content-Length"] = []string{strconv.FormatInt(n, 10)}
	w.WriteHeader(status)
	// If this fails, the answer is too short, so net/http closes the connection.
	_, _ = sendParts(w, req, content, &io.LimitedReader{R: content, N: n}, out.ReadFrom)
	return true
}

// contentRange returns the value of Content-Range (RFC 9110, section 14.4).
func contentRange(first, n, size int64) string {
	var text [len("bytes -/") + 3*len("9223372036854775807")]byte
	b := strconv.AppendInt(append(text[:0], "bytes "...), first, 10)
	b = strconv.AppendInt(append(b, '-'), first+n-1, 10)
	b = strconv.AppendInt(append(b, '/'), size, 10)
	return string(b)
}

// redirect sends the client to a URL of an object store. The client sends the same method and Range
// header to that URL (RFC 9110, section 15.4.8). For each later download, it must ask this registry
// again, because the URL expires.
func redirect(w http.ResponseWriter, url string) {
	h := w.Header()
	h["Location"] = []string{url}
	h["Cache-Control"] = []string{"no-store"}
	h["Content-Length"] = []string{"0"}
	w.WriteHeader(http.StatusTemporaryRedirect)
}

// checkedEnd is the number of bytes at the end of a body that are sent only after the files of the
// blob were checked for changes. So if a file was overwritten before its bytes were queued for the
// client, the answer never completes. If every read checks the file, as in an archive, this number
// of bytes is copied through user space.
const checkedEnd = 512

// corkedSize is the size, in bytes, up to which a body shares packets with its head and its checked
// end. A larger body fills its packets in any case. Holding its packets back would make Linux on
// loopback wait for whole segments of 64 KiB: a range of 1 MiB would cost 50% more processor time.
const corkedSize = 32 << 10

// sendSections wraps w so that it sends content file by file. Otherwise, all bytes would be copied
// through user space, because the kernel cannot send from a reader over several files.
func sendSections(w http.ResponseWriter, req *http.Request, content extent.Sender) http.ResponseWriter {
	return httpsnoop.Wrap(w, httpsnoop.Hooks{
		ReadFrom: func(next httpsnoop.ReadFromFunc) httpsnoop.ReadFromFunc {
			return func(src io.Reader) (int64, error) {
				part, ok := src.(*io.LimitedReader)
				if !ok || part.R != io.Reader(content) {
					return next(src)
				}
				return sendParts(w, req, content, part, next)
			}
		},
	})
}

// sendParts sends the content that part reads, file by file. It checks the files before it sends the end.
// send is w.ReadFrom. If part has at most corkedSize bytes, sendParts holds back packets that are not full.
func sendParts(w http.ResponseWriter, req *http.Request, content extent.Sender, part *io.LimitedReader, send func(io.Reader) (int64, error)) (sent int64, err error) {
	corked := false
	if part.N <= corkedSize {
		var uncork func()
		uncork, corked = cork(req)
		defer uncork()
	}
	if flusher, ok := w.(http.Flusher); ok && corked && part.N > checkedEnd {
		flusher.Flush() // otherwise net/http copies the first bytes of the body into the buffer of the head
	}
	for part.N > checkedEnd {
		section, err := content.Section(part.N - checkedEnd)
		if err != nil {
			return sent, err
		}
		want := section.N
		n, err := send(section)
		sent += n
		part.N -= n
		if err != nil || n < want {
			return sent, err
		}
	}
	n, err := sendEnd(content, part, send)
	return sent + n, err
}

// sendEnd checks the files of the content, and sends its last bytes.
func sendEnd(content extent.Sender, part *io.LimitedReader, send func(io.Reader) (int64, error)) (int64, error) {
	if content.ReadChecks() {
		var end [checkedEnd]byte
		n, err := io.ReadFull(part, end[:part.N]) // reading also checks the file
		if err != nil {
			return 0, err
		}
		return send(&io.LimitedReader{R: bytes.NewReader(end[:n]), N: int64(n)}) // send bypasses net/http's buffer, so these bytes share packets with the bytes that sendParts held back
	}
	if err := content.Check(); err != nil {
		return 0, err
	}
	section, err := content.Section(part.N)
	if err != nil {
		return 0, err
	}
	n, err := send(section)
	part.N -= n
	return n, err
}
