package registry

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/felixge/httpsnoop"
)

// maxRanges is how many ranges one request may ask for. If there are more, the Range header is
// ignored, which RFC 9110, section 14.2 allows.
const maxRanges = 100

// serveContent answers with content, which is size bytes long, or with the requested ranges of
// it. It uses http.ServeContent, but differs from it in these cases:
//   - HEAD ignores Range (RFC 9110, section 14.2 defines it for GET alone);
//   - a Range with an unknown unit is ignored, and units are case-insensitive;
//   - for an empty body the Range is ignored;
//   - a number that exceeds 64 bits is valid, and counts as the largest int64;
//   - a 416 response has the error body of the registry API.
func serveContent(w http.ResponseWriter, req *http.Request, content io.ReadSeeker, size int64) error {
	header, asked := req.Header["Range"]
	if !asked {
		http.ServeContent(w, req, "", noModTime, content)
		return nil
	}
	ranges, result := parseRange(strings.Join(header, ","), size)
	if req.Method == http.MethodHead || size == 0 {
		result = ignore
	}
	if result == satisfiable && len(header) == 1 && header[0] == ranges {
		http.ServeContent(w, req, "", noModTime, content)
		return nil
	}
	plain := *req
	plain.Header = req.Header.Clone()
	switch result {
	case ignore:
		plain.Header.Del("Range")
	case satisfiable:
		plain.Header.Set("Range", ranges)
	case unsatisfiable:
		// ServeContent has to evaluate If-Range and similar headers first.
		plain.Header.Set("Range", fmt.Sprintf("bytes=%d-", size))
		return serveUnsatisfiable(w, &plain, content, size)
	}
	http.ServeContent(w, &plain, "", noModTime, content)
	return nil
}

// neededPart returns a function that computes which part of the content is needed at the beginning
// of the answer. It is computed from the size of the content and the headers of req. The part is
// empty if the answer may have no body.
func neededPart(req *http.Request) func(size int64) (off, n int64) {
	return func(size int64) (off, n int64) {
		off, n = rangeOf(req, size)
		if len(req.Header["If-None-Match"])+len(req.Header["If-Match"]) > 0 {
			n = 0
		}
		return off, n
	}
}

// rangeOf returns the first range that a request asks for. size is the content's size in bytes.
func rangeOf(req *http.Request, size int64) (off, n int64) {
	if req.Method == http.MethodHead {
		return 0, 0
	}
	header, asked := req.Header["Range"]
	if !asked {
		return 0, size
	}
	ranges, result := parseRange(strings.Join(header, ","), size)
	switch result {
	case ignore:
		return 0, size
	case unsatisfiable:
		return 0, 0
	}
	one, _, _ := strings.Cut(strings.TrimPrefix(ranges, "bytes="), ",")
	first, last, _ := parseSpec(one, size) // this cannot fail, because parseRange wrote the range
	return first, last - first + 1
}

// parsePlainRange reads a single range `bytes=a-b` or `bytes=a-`, as most clients write it. size
// is the size of the content. It returns the offset of the first byte and the number of bytes.
// [parseRange] reads all other ranges.
func parsePlainRange(header []string, size int64) (first, n int64, ok bool) {
	if len(header) != 1 {
		return 0, 0, false
	}
	spec, ok := strings.CutPrefix(header[0], "bytes=")
	if !ok {
		return 0, 0, false
	}
	a, b, ok := strings.Cut(spec, "-")
	if !ok {
		return 0, 0, false
	}
	if first, ok = parseNumber(a); !ok || first >= size {
		return 0, 0, false
	}
	last := size - 1
	if b != "" {
		if last, ok = parseNumber(b); !ok || last < first {
			return 0, 0, false
		}
	}
	return first, min(last, size-1) - first + 1, true
}

// serveUnsatisfiable lets http.ServeContent answer. Instead of a 416 response, it returns errRange.
func serveUnsatisfiable(w http.ResponseWriter, req *http.Request, content io.ReadSeeker, size int64) error {
	refused := false
	hooked := httpsnoop.Wrap(w, httpsnoop.Hooks{
		WriteHeader: func(next httpsnoop.WriteHeaderFunc) httpsnoop.WriteHeaderFunc {
			return func(code int) {
				if refused = code == http.StatusRequestedRangeNotSatisfiable; !refused {
					next(code)
				}
			}
		},
		Write: func(next httpsnoop.WriteFunc) httpsnoop.WriteFunc {
			return func(p []byte) (int, error) {
				if refused {
					return len(p), nil
				}
				return next(p)
			}
		},
	})
	http.ServeContent(hooked, req, "", noModTime, content)
	if !refused {
		return nil
	}
	w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", size))
	return errRange
}

// rangeResult describes how to answer a Range header.
type rangeResult int

const (
	ignore rangeResult = iota
	satisfiable
	unsatisfiable
)

// parseRange reads a Range header (RFC 9110, section 14.1.2). size is the size of the content. The
// returned header contains only ranges that overlap with the content. The result is unsatisfiable if
// a range is malformed or all are outside, and ignore for another unit or more than maxRanges ranges.
func parseRange(header string, size int64) (string, rangeResult) {
	unit, set, ok := strings.Cut(header, "=")
	if !ok || !strings.EqualFold(strings.TrimSpace(unit), "bytes") {
		return "", ignore
	}
	var within []string
	specs := strings.Split(set, ",")
	if len(specs) > maxRanges {
		return "", ignore
	}
	for _, spec := range specs {
		spec = strings.Trim(spec, " \t")
		if spec == "" {
			continue
		}
		first, last, legal := parseSpec(spec, size)
		if !legal {
			return "", unsatisfiable
		}
		if first < size && first <= last {
			within = append(within, strconv.FormatInt(first, 10)+"-"+strconv.FormatInt(min(last, size-1), 10))
		}
	}
	if len(within) == 0 {
		return "", unsatisfiable
	}
	return "bytes=" + strings.Join(within, ","), satisfiable
}

// parseSpec reads one range of the form `a-b`, `a-` or `-n`. The range `-0` begins after the last
// byte, so it is empty.
func parseSpec(spec string, size int64) (first, last int64, legal bool) {
	a, b, ok := strings.Cut(spec, "-")
	if !ok {
		return 0, 0, false
	}
	if a == "" {
		n, ok := parseNumber(b)
		return max(size-n, 0), size - 1, ok
	}
	if first, ok = parseNumber(a); !ok {
		return 0, 0, false
	}
	if b == "" {
		return first, math.MaxInt64, true
	}
	last, ok = parseNumber(b)
	return first, last, ok && first <= last
}

// parseNumber reads decimal digits. A number that exceeds 64 bits becomes the largest int64.
func parseNumber(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return math.MaxInt64, true
	}
	return n, true
}
