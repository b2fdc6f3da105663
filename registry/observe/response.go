package observe

import (
	"io"
	"net/http"
)

// response counts what passes through a response. It is written out here, because a general wrapper costs a
// manifest a tenth of all that its answer costs.
type response struct {
	http.ResponseWriter
	code  int
	bytes int64
}

// fileResponse is a response whose writer lets the kernel send files. ReadFrom is passed on unchanged for that.
type fileResponse struct{ *response }

// writer returns what the handler writes to: it has ReadFrom only if the wrapped writer has it, because a copy
// through user space is not what whoever finds ReadFrom expects.
func (r *response) writer() http.ResponseWriter {
	if _, ok := r.ResponseWriter.(io.ReaderFrom); ok {
		return fileResponse{r}
	}
	return r
}

func (r *response) WriteHeader(code int) {
	if r.code == 0 && code >= 200 {
		r.code = code
	}
	r.ResponseWriter.WriteHeader(code)
}

func (r *response) Write(p []byte) (int, error) {
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

// Flush implements http.Flusher, as all writers of net/http do.
func (r *response) Flush() {
	if f, ok := r.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Unwrap lets http.ResponseController find the rest of what the wrapped writer can do.
func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r fileResponse) ReadFrom(src io.Reader) (int64, error) {
	n, err := r.ResponseWriter.(io.ReaderFrom).ReadFrom(src)
	r.bytes += n
	return n, err
}
