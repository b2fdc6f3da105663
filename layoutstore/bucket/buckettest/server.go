// Package buckettest runs an object store inside a test. It records the requests, and can make them fail.
//
// The store is gofakes3, which supports If-Match and If-None-Match only in a PUT. This package adds
// two features that Amazon documents:
//   - If-Match in a GET or HEAD: 412 Precondition Failed
//     (https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html);
//   - a body that does not match x-amz-content-sha256: 400 XAmzContentSHA256Mismatch
//     (https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html).
package buckettest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/s3"
)

// Bucket is the name of the only bucket of a [Server].
const Bucket = "bundles"

// AccessKey and SecretKey are the credentials that [Getenv] returns. The server accepts any credentials.
const (
	AccessKey = "test-access-key"
	SecretKey = "test-secret-key"
)

// Server is an object store with one empty bucket.
type Server struct {
	URL string

	backend *s3mem.Backend
	clock   *clock
	store   http.Handler

	mu       sync.Mutex
	log      []Request
	fault    func(Request) Fault
	ignoring bool // whether to ignore If-Match and If-None-Match
}

// Operation is the S3 operation that a request asks for.
type Operation string

// These are the operations, under the names that S3 gives them.
const (
	List           Operation = "ListObjectsV2"
	Get            Operation = "GetObject"
	Head           Operation = "HeadObject"
	Put            Operation = "PutObject"
	Delete         Operation = "DeleteObject"
	CreateUpload   Operation = "CreateMultipartUpload"
	UploadPart     Operation = "UploadPart"
	CompleteUpload Operation = "CompleteMultipartUpload"
	AbortUpload    Operation = "AbortMultipartUpload"
	ListUploads    Operation = "ListMultipartUploads"
	ListParts      Operation = "ListParts"
	Other          Operation = "other"
)

// Request is a request that the server has received.
type Request struct {
	// Number counts the requests from 1, since the start or since [Server.ResetCounts].
	Number    int
	Operation Operation
	Key       string // the key of the object without the bucket, or the prefix of a List
	Range     string
	IfMatch   string
}

// Start starts a server that stops when the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	hurry()
	clock := &clock{}
	s := &Server{clock: clock, backend: s3mem.New(s3mem.WithTimeSource(clock))}
	if err := s.backend.CreateBucket(Bucket); err != nil {
		t.Fatal(err)
	}
	s.store = gofakes3.New(s.backend, gofakes3.WithTimeSource(clock), gofakes3.WithTimeSkewLimit(0)).Server()
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	s.URL = server.URL
	return s
}

// hurry shortens the pauses of minio-go between attempts, because minio-go has no clock that a test
// could replace.
var hurry = sync.OnceFunc(func() { minio.DefaultRetryUnit = time.Microsecond })

// Options returns options for a client of the server. The client does not wait between attempts.
func (s *Server) Options() s3.Options {
	return s3.Options{
		Endpoint: s.URL,
		Getenv:   Getenv,
		Sleep:    func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
}

// Getenv replaces os.Getenv. It returns AccessKey and SecretKey, and nothing else.
func Getenv(name string) string {
	return map[string]string{"AWS_ACCESS_KEY_ID": AccessKey, "AWS_SECRET_ACCESS_KEY": SecretKey}[name]
}

// Open opens a place in the bucket, with the options from [Server.Options].
func (s *Server) Open(t testing.TB, prefix string) bucket.Bucket {
	t.Helper()
	return s.OpenWith(t, prefix, s.Options())
}

// OpenWith opens a place in the bucket with the given options.
func (s *Server) OpenWith(t testing.TB, prefix string, options s3.Options) bucket.Bucket {
	t.Helper()
	client, err := s3.NewClient(options)
	if err != nil {
		t.Fatal(err)
	}
	at, err := bucket.ParsePlace("s3://" + Bucket + "/" + prefix)
	if err != nil {
		t.Fatal(err)
	}
	return client.Open(at)
}

// ServeHTTP records a request, applies its fault, and passes the request to the store.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault, ignoring := s.note(r)
	if fault.Done != nil {
		defer fault.Done()
	}
	body, err := io.ReadAll(r.Body) // first: the fault may kill the client, which may still be sending
	if fault.before(w) {
		return
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if sum := r.Header.Get("X-Amz-Content-Sha256"); len(sum) == hex.EncodedLen(sha256.Size) {
		if digest := sha256.Sum256(body); hex.EncodeToString(digest[:]) != sum {
			answerError(w, http.StatusBadRequest, "XAmzContentSHA256Mismatch")
			return
		}
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if ignoring {
		r.Header.Del("If-Match")
		r.Header.Del("If-None-Match")
	}
	out := &answer{w: w, fault: fault, read: r.Method == http.MethodGet || r.Method == http.MethodHead, ifMatch: r.Header.Get("If-Match")}
	s.store.ServeHTTP(out, r)
	out.end()
}

// note records a request. It returns the fault to apply, and whether to ignore If-Match and If-None-Match.
func (s *Server) note(r *http.Request) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/"+Bucket), "/")
	request := Request{Number: len(s.log) + 1, Operation: operationOf(r.Method, key, r.URL.Query()), Key: key, Range: r.Header.Get("Range"), IfMatch: r.Header.Get("If-Match")}
	if request.Operation == List {
		request.Key = r.URL.Query().Get("prefix")
	}
	s.log = append(s.log, request)
	if s.fault == nil {
		return Fault{}, s.ignoring
	}
	return s.fault(request), s.ignoring
}

func operationOf(method, key string, query url.Values) Operation {
	upload, uploads := query.Has("uploadId"), query.Has("uploads")
	switch {
	case method == http.MethodGet && uploads:
		return ListUploads
	case method == http.MethodGet && upload:
		return ListParts
	case method == http.MethodGet && key == "" && query.Get("list-type") == "2":
		return List
	case method == http.MethodGet && key != "":
		return Get
	case method == http.MethodHead && key != "":
		return Head
	case method == http.MethodPut && upload:
		return UploadPart
	case method == http.MethodPut && key != "":
		return Put
	case method == http.MethodPost && uploads:
		return CreateUpload
	case method == http.MethodPost && upload:
		return CompleteUpload
	case method == http.MethodDelete && upload:
		return AbortUpload
	case method == http.MethodDelete && key != "":
		return Delete
	}
	return Other
}

// Requests returns the requests since the start or since [Server.ResetCounts].
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.log...)
}

// Counts returns how often each operation was requested.
func (s *Server) Counts() map[Operation]int {
	counts := map[Operation]int{}
	for _, r := range s.Requests() {
		counts[r.Operation]++
	}
	return counts
}

// ResetCounts deletes the recorded requests, and restarts their numbers at 1.
func (s *Server) ResetCounts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = nil
}

// IgnoreConditions makes the server ignore If-Match and If-None-Match, as some stores do.
func (s *Server) IgnoreConditions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ignoring = true
}

// Advance sets the clock of the store forward.
func (s *Server) Advance(d time.Duration) { s.clock.advance(d) }

// Now returns the time of the store's clock.
func (s *Server) Now() time.Time { return s.clock.Now() }

// Write writes an object directly, without a request and without a fault.
func (s *Server) Write(t testing.TB, key string, data []byte) {
	t.Helper()
	modified := map[string]string{"Last-Modified": s.Now().Format(http.TimeFormat)} // gofakes3 itself sets this attribute only for a PUT request
	if _, err := s.backend.PutObject(Bucket, key, modified, bytes.NewReader(data), int64(len(data)), nil); err != nil {
		t.Fatal(err)
	}
}

// Read returns the content of an object directly, without a request.
func (s *Server) Read(t testing.TB, key string) []byte {
	t.Helper()
	o, err := s.backend.GetObject(Bucket, key, nil)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	defer o.Contents.Close()
	data, err := io.ReadAll(o.Contents)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Remove deletes an object directly, without a request.
func (s *Server) Remove(t testing.TB, key string) {
	t.Helper()
	if _, err := s.backend.DeleteObject(Bucket, key); err != nil {
		t.Fatal(err)
	}
}

// Keys returns the keys that begin with prefix, without a request.
func (s *Server) Keys(t testing.TB, prefix string) []string {
	t.Helper()
	p := gofakes3.NewPrefix(&prefix, nil)
	list, err := s.backend.ListBucket(Bucket, &p, gofakes3.ListBucketPage{})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, c := range list.Contents {
		keys = append(keys, c.Key)
	}
	return keys
}

// clock is the real clock, set forward by a duration.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

// Now returns the real time plus the duration.
func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead).UTC()
}

// Since returns the time that has passed on this clock since t.
func (c *clock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

func answerError(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>made by a test</Message></Error>`, code)
}

// Buckets returns a function that opens places in the bucket for reading and writing.
func (s *Server) Buckets(t testing.TB) func(bucket.Place) bucket.Bucket {
	t.Helper()
	client, err := s3.NewClient(s.Options())
	if err != nil {
		t.Fatal(err)
	}
	return client.Open
}

// Readers returns a function that opens places in the bucket for reading.
func (s *Server) Readers(t testing.TB) func(bucket.Place) bucket.Reader {
	t.Helper()
	open := s.Buckets(t)
	return func(at bucket.Place) bucket.Reader { return open(at) }
}
