package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/buckettest"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/s3"
)

func read(t *testing.T, b bucket.Reader, key string, off, n int64, ifMatch string) (string, error) {
	t.Helper()
	r, _, err := b.Get(t.Context(), key, off, n, ifMatch)
	if err != nil {
		return "", err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	return string(data), err
}

func put(t *testing.T, b bucket.Bucket, key, body string, options bucket.PutOptions) (bucket.Object, error) {
	t.Helper()
	return b.Put(t.Context(), key, strings.NewReader(body), int64(len(body)), options)
}

func TestReadRanges(t *testing.T) {
	s := buckettest.Start(t)
	b := s.Open(t, "some/prefix")
	o, err := put(t, b, "key", "0123456789", bucket.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Read(t, "some/prefix/key"); string(got) != "0123456789" {
		t.Fatalf("the store contains %q, want the ten digits", got)
	}
	for _, c := range []struct {
		off, n int64
		want   string
	}{{0, -1, "0123456789"}, {0, 10, "0123456789"}, {3, 4, "3456"}, {9, 1, "9"}, {4, -1, "456789"}, {0, 0, ""}} {
		if got, err := read(t, b, "key", c.off, c.n, o.ETag); err != nil || got != c.want {
			t.Errorf("Get of %d bytes from offset %d: got %q, error %v; want %q", c.n, c.off, got, err, c.want)
		}
	}
	if _, err := read(t, b, "key", 8, 5, o.ETag); !errors.Is(err, bucket.ErrChanged) {
		t.Errorf("Get of a range that ends beyond the object: got %v, want ErrChanged", err)
	}
	if _, err := read(t, b, "key", 50, 5, o.ETag); !errors.Is(err, bucket.ErrChanged) {
		t.Errorf("Get of a range that starts beyond the object: got %v, want ErrChanged", err)
	}
	if _, err := read(t, b, "none", 0, -1, ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get of a missing object: got %v, want ErrNotExist", err)
	}
	if _, err := b.Stat(t.Context(), "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat of a missing object: got %v, want ErrNotExist", err)
	}
	if got, err := b.Stat(t.Context(), "key"); err != nil || got.Size != 10 || got.ETag != o.ETag || got.Key != "key" {
		t.Errorf("Stat of an object: got %+v, error %v; want 10 bytes and the ETag %s", got, err, o.ETag)
	}
}

func TestReadChangedObject(t *testing.T) {
	for _, ignoring := range []bool{false, true} {
		t.Run(fmt.Sprintf("ignoring %t", ignoring), func(t *testing.T) {
			s := buckettest.Start(t)
			b := s.Open(t, "")
			o, err := put(t, b, "key", "old bytes", bucket.PutOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if ignoring {
				s.IgnoreConditions()
			}
			s.Write(t, "key", []byte("new bytes"))
			if got, err := read(t, b, "key", 2, 3, o.ETag); !errors.Is(err, bucket.ErrChanged) {
				t.Errorf("Get of a changed object: got %q and the error %v, want ErrChanged", got, err)
			}
		})
	}
}

func TestConditionalWrites(t *testing.T) {
	s := buckettest.Start(t)
	b := s.Open(t, "")
	first, err := put(t, b, "key", "first", bucket.PutOptions{IfAbsent: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := put(t, b, "key", "again", bucket.PutOptions{IfAbsent: true}); !errors.Is(err, bucket.ErrChanged) {
		t.Errorf("Put of an existing object with IfAbsent: got %v, want ErrChanged", err)
	}
	second, err := put(t, b, "key", "second", bucket.PutOptions{IfMatch: first.ETag})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := put(t, b, "key", "third", bucket.PutOptions{IfMatch: first.ETag}); !errors.Is(err, bucket.ErrChanged) {
		t.Errorf("Put with an old ETag in IfMatch: got %v, want ErrChanged", err)
	}
	if _, err := put(t, b, "none", "third", bucket.PutOptions{IfMatch: second.ETag}); !errors.Is(err, bucket.ErrChanged) {
		t.Errorf("Put of a missing object with IfMatch: got %v, want ErrChanged", err)
	}
	if got := s.Read(t, "key"); string(got) != "second" {
		t.Errorf("the store contains %q, want second", got)
	}
}

// If the answer to a conditional write is lost, the second attempt finds the object that the first
// attempt wrote. The write still succeeds.
func TestLostAnswerOfConditionalWrite(t *testing.T) {
	s := buckettest.Start(t)
	b := s.Open(t, "")
	lose := func() {
		lost := false
		s.Fail(func(r buckettest.Request) (f buckettest.Fault) {
			if r.Operation == buckettest.Put && !lost {
				lost, f.DropAnswer = true, true
			}
			return f
		})
	}
	lose()
	o, err := put(t, b, "key", "mine", bucket.PutOptions{IfAbsent: true})
	if err != nil || o.ETag == "" {
		t.Fatalf("Put whose answer is lost = %+v, error %v; want an ETag and no error", o, err)
	}
	lose()
	if _, err = put(t, b, "key", "mine too", bucket.PutOptions{IfMatch: o.ETag}); err != nil {
		t.Fatal(err)
	}
	if got := s.Counts()[buckettest.Put]; got != 4 {
		t.Errorf("got %d write requests, want 4", got)
	}
}

func TestFailureNeverMeansMissing(t *testing.T) {
	s := buckettest.Start(t)
	b := s.Open(t, "")
	s.Write(t, "key", bytes.Repeat([]byte("x"), 1000))
	for name, fault := range map[string]buckettest.Fault{
		"dropped":       {Drop: true},
		"answer lost":   {DropAnswer: true},
		"503":           buckettest.Unavailable(),
		"500":           {Status: http.StatusInternalServerError, Code: "InternalError"},
		"429":           {Status: http.StatusTooManyRequests, Code: "TooManyRequests"},
		"access denied": {Status: http.StatusForbidden, Code: "AccessDenied"},
		"no bucket":     {Status: http.StatusNotFound, Code: "NoSuchBucket"},
		"body cut":      {Cut: true, CutAfter: 10},
	} {
		t.Run(name, func(t *testing.T) {
			s.Fail(func(buckettest.Request) buckettest.Fault { return fault })
			if got, err := read(t, b, "key", 0, -1, ""); !errors.Is(err, bucket.ErrUnreachable) {
				t.Errorf("Get: got %d bytes and the error %v, want ErrUnreachable", len(got), err)
			}
			if err := b.List(t.Context(), "", func(bucket.Object) error { return nil }); !errors.Is(err, bucket.ErrUnreachable) {
				t.Errorf("List: got the error %v, want ErrUnreachable", err)
			}
			if fault.Cut || name == "no bucket" { // HEAD is not affected: its response has no body, and does not show that the bucket is missing
				return
			}
			if _, err := b.Stat(t.Context(), "key"); !errors.Is(err, bucket.ErrUnreachable) {
				t.Errorf("Stat: got the error %v, want ErrUnreachable", err)
			}
			if _, err := put(t, b, "other", "body", bucket.PutOptions{}); !errors.Is(err, bucket.ErrUnreachable) {
				t.Errorf("Put: got the error %v, want ErrUnreachable", err)
			}
		})
	}
}

func TestRetryTemporaryFailures(t *testing.T) {
	s := buckettest.Start(t)
	b := s.Open(t, "")
	for _, fault := range []buckettest.Fault{{Drop: true}, buckettest.Unavailable()} {
		n := 0
		s.Fail(func(buckettest.Request) buckettest.Fault {
			if n++; n%3 != 0 {
				return fault
			}
			return buckettest.Fault{}
		})
		if _, err := put(t, b, "key", "body", bucket.PutOptions{}); err != nil {
			t.Error(err)
		}
		if got, err := read(t, b, "key", 0, -1, ""); err != nil || got != "body" {
			t.Errorf("Get with temporary failures: got %q and the error %v, want body and none", got, err)
		}
	}
}

func TestCancelledContextIsNotUnreachable(t *testing.T) {
	s := buckettest.Start(t)
	b := s.Open(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	s.Fail(func(buckettest.Request) buckettest.Fault { return buckettest.Fault{Then: cancel, Drop: true} })
	_, _, err := b.Get(ctx, "key", 0, -1, "")
	if !errors.Is(err, context.Canceled) || errors.Is(err, bucket.ErrUnreachable) {
		t.Errorf("Get whose context ends: got the error %v, want context.Canceled and not ErrUnreachable", err)
	}
	err = b.List(ctx, "", func(bucket.Object) error { return nil })
	if !errors.Is(err, context.Canceled) || errors.Is(err, bucket.ErrUnreachable) {
		t.Errorf("List whose context ends: got the error %v, want context.Canceled and not ErrUnreachable", err)
	}
}

func TestListAllPages(t *testing.T) {
	s := buckettest.Start(t)
	var want []string
	for i := range 2500 {
		key := fmt.Sprintf("dir/%05d", i)
		s.Write(t, "p/"+key, nil)
		want = append(want, key)
	}
	s.Write(t, "q", nil)
	s.Write(t, "p/other", nil)
	n := 0
	s.Fail(func(buckettest.Request) (f buckettest.Fault) {
		if n++; n == 2 {
			f.Drop = true
		}
		return f
	})
	var got []string
	b := s.Open(t, "p")
	if err := b.List(t.Context(), "dir/", func(o bucket.Object) error { got = append(got, o.Key); return nil }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("List: got %d keys, want the %d keys in byte order", len(got), len(want))
	}
	if n != 4 { // three pages, of which one is requested twice
		t.Errorf("got %d list requests, want 4", n)
	}
	stop := errors.New("stop")
	if err := b.List(t.Context(), "", func(bucket.Object) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("List that its caller stops: got the error %v, want that of the caller", err)
	}
}

// Each page of a list is retried on its own: a long list succeeds, although more requests fail than one page
// is retried. A page that fails at every attempt ends the list.
func TestRetryEachPageOfList(t *testing.T) {
	s := buckettest.Start(t)
	const pages = 6
	for i := range pages*1000 - 1 {
		s.Write(t, fmt.Sprintf("%05d", i), nil)
	}
	b := s.Open(t, "")
	requests := 0
	s.Fail(func(buckettest.Request) (f buckettest.Fault) {
		if requests++; requests%2 == 1 {
			f = buckettest.Unavailable()
		}
		return f
	})
	n := 0
	if err := b.List(t.Context(), "", func(bucket.Object) error { n++; return nil }); err != nil || n != pages*1000-1 || requests != 2*pages {
		t.Errorf("List: got %d objects with %d requests and the error %v, want %d objects with 2 requests for each of %d pages", n, requests, err, pages*1000-1, pages)
	}
	requests = 0
	s.Fail(func(buckettest.Request) (f buckettest.Fault) {
		if requests++; requests > 2 {
			f = buckettest.Unavailable()
		}
		return f
	})
	if err := b.List(t.Context(), "", func(bucket.Object) error { return nil }); !errors.Is(err, bucket.ErrUnreachable) || requests > 2+2*4 {
		t.Errorf("List whose third page fails: got the error %v after %d requests, want ErrUnreachable after few", err, requests)
	}
}

// If the store stops sending a list, the list fails after a minute without data. As after other temporary
// failures, the request is sent again.
func TestListStalls(t *testing.T) {
	for stalls, want := range map[int]error{1: nil, 100: bucket.ErrUnreachable} {
		s := buckettest.Start(t)
		for i := range 3 {
			s.Write(t, fmt.Sprint(i), nil)
		}
		expire, resume := make(chan func(), 100), make(chan struct{})
		defer close(resume)
		options := s.Options()
		options.AfterFunc = func(d time.Duration, f func()) *time.Timer {
			if d != time.Minute {
				t.Errorf("a body may stall for %s, want a minute", d)
			}
			expire <- f
			return time.NewTimer(time.Hour)
		}
		requests := 0
		s.Fail(func(buckettest.Request) (f buckettest.Fault) {
			if requests++; requests <= stalls {
				f.CutAfter, f.Pause = 10, func() {
					(<-expire)() // the time limit expires while the client waits for the rest of the body
					<-resume
				}
			}
			return f
		})
		n := 0
		err := s.OpenWith(t, "", options).List(t.Context(), "", func(bucket.Object) error { n++; return nil })
		if !errors.Is(err, want) || want == nil && n != 3 {
			t.Errorf("List of which %d requests stall: got %d objects and the error %v, want the error %v and, without an error, 3 objects", stalls, n, err, want)
		}
		if want != nil && !strings.Contains(err.Error(), "no data for 1m0s") {
			t.Errorf("List of which %d requests stall: got the error %v, want one that says so", stalls, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func smallParts(s *buckettest.Server) s3.Options {
	o := s.Options()
	o.PartSize, o.Threshold = 10, 30
	return o
}

// If the body fails or is too short, Put writes no object. This holds for small objects and for
// objects in parts.
func TestPutFailingBody(t *testing.T) {
	s := buckettest.Start(t)
	b := s.OpenWith(t, "", smallParts(s))
	wrong := errors.New("checksum mismatch")
	for _, size := range []int{5, 10, 25, 30, 31, 95} {
		for name, body := range map[string]io.Reader{
			"failure at the end": io.MultiReader(strings.NewReader(strings.Repeat("x", size-1)), failing{wrong}),
			"failure at once":    failing{wrong},
		} {
			if _, err := b.Put(t.Context(), "key", body, int64(size), bucket.PutOptions{}); !errors.Is(err, wrong) || errors.Is(err, bucket.ErrUnreachable) {
				t.Errorf("Put of %d bytes, %s: got the error %v, want %v", size, name, err, wrong)
			}
		}
		if _, err := b.Put(t.Context(), "key", strings.NewReader(strings.Repeat("x", size-1)), int64(size), bucket.PutOptions{}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Put of %d bytes with a body that is one byte shorter: got the error %v, want io.ErrUnexpectedEOF", size, err)
		}
		if keys := s.Keys(t, ""); len(keys) != 0 {
			t.Fatalf("after failed writes of %d bytes, the store contains %q, want no objects", size, keys)
		}
	}
}

func TestResumeUpload(t *testing.T) {
	s := buckettest.Start(t)
	b := s.OpenWith(t, "p", smallParts(s))
	body := "0123456789abcdefghijABCDEFGHIJ0123456789-end"
	s.Fail(func(r buckettest.Request) (f buckettest.Fault) {
		f.Drop = r.Operation == buckettest.CompleteUpload
		return f
	})
	if _, err := put(t, b, "key", body, bucket.PutOptions{}); !errors.Is(err, bucket.ErrUnreachable) {
		t.Fatal(err)
	}
	s.Fail(nil)
	s.ResetCounts()
	changed := strings.Replace(body, "c", "C", 1) // change a byte of the second part
	if _, err := put(t, b, "key", changed, bucket.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := s.Read(t, "p/key"); string(got) != changed {
		t.Errorf("the store contains %q, want the changed body", got)
	}
	if c := s.Counts(); c[buckettest.UploadPart] != 1 || c[buckettest.CreateUpload] != 0 {
		t.Errorf("requests: %v; want one UploadPart, for the changed part", c)
	}
	if err := b.Uploads(t.Context(), "", func(u bucket.Upload) error { return fmt.Errorf("the unfinished upload %+v remains, want none", u) }); err != nil {
		t.Error(err)
	}
}

func TestListAndAbortUploads(t *testing.T) {
	s := buckettest.Start(t)
	b := s.OpenWith(t, "p", smallParts(s))
	s.Fail(func(r buckettest.Request) (f buckettest.Fault) {
		f.Drop = r.Operation == buckettest.CompleteUpload
		return f
	})
	for _, key := range []string{"a", "b"} {
		if _, err := put(t, b, key, strings.Repeat("x", 40), bucket.PutOptions{}); err == nil {
			t.Fatal("Put of an upload that cannot be completed: got no error, want one")
		}
	}
	s.Fail(nil)
	var keys []string
	abort := func(u bucket.Upload) error {
		keys = append(keys, u.Key)
		return b.Abort(t.Context(), u)
	}
	if err := b.Uploads(t.Context(), "", abort); err != nil || !slices.Equal(keys, []string{"a", "b"}) {
		t.Errorf("unfinished uploads: got the keys %q and the error %v, want a and b", keys, err)
	}
	keys = nil
	if err := b.Uploads(t.Context(), "", abort); err != nil || len(keys) != 0 {
		t.Errorf("unfinished uploads after Abort: got the keys %q and the error %v, want none", keys, err)
	}
}

func TestDeleteObject(t *testing.T) {
	s := buckettest.Start(t)
	b := s.Open(t, "p")
	s.Write(t, "p/key", []byte("x"))
	for range 2 {
		if err := b.Delete(t.Context(), "key"); err != nil {
			t.Error(err)
		}
	}
	if keys := s.Keys(t, ""); len(keys) != 0 {
		t.Errorf("after Delete: got the keys %q, want none", keys)
	}
}

func TestPresignedURLs(t *testing.T) {
	s := buckettest.Start(t)
	s.Write(t, "p/key", []byte("0123456789"))
	options := s.Options()
	u, err := s.OpenWith(t, "p", options).PresignGet(t.Context(), "key", time.Minute)
	if err != nil || len(s.Requests()) != 0 {
		t.Fatalf("PresignGet: got the error %v and the requests %v, want neither", err, s.Requests())
	}
	response, err := http.Get(u)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if data, _ := io.ReadAll(response.Body); string(data) != "0123456789" {
		t.Errorf("GET of the presigned URL: got status %d and %q, want the content of the object", response.StatusCode, data)
	}
	options.PublicEndpoint = "https://public.example"
	if u, err = s.OpenWith(t, "p", options).PresignGet(t.Context(), "key", time.Minute); err != nil || !strings.HasPrefix(u, "https://public.example/bundles/p/key?") {
		t.Errorf("PresignGet with a public endpoint = %s, error %v; want a URL with this endpoint", u, err)
	}
	if strings.Contains(u, buckettest.SecretKey) {
		t.Error("the presigned URL contains the secret key, want no secret in it")
	}
}

func TestParsePlaces(t *testing.T) {
	for name, want := range map[string]string{
		"s3://bundles":          "s3://bundles",
		"s3://bundles/":         "s3://bundles",
		"s3://bundles/a/b":      "s3://bundles/a/b",
		"s3://bundles/a/b//":    "s3://bundles/a/b",
		"s3://bundles/a//b":     "",
		"s3://bundles/../b":     "",
		"s3://b":                "",
		"s3://":                 "",
		"s3:///x":               "",
		"/srv/store":            "",
		"s3://bundles/\xff/b":   "",
		"s3://user:pw@bundles/": "",
	} {
		p, err := bucket.ParsePlace(name)
		if (err == nil) != (want != "") || err == nil && p.String() != want {
			t.Errorf("ParsePlace(%q) = %s, error %v; want %q (empty: an error)", name, p, err, want)
		}
	}
}

func TestCredentials(t *testing.T) {
	dir, home := t.TempDir(), t.TempDir()
	file := filepath.Join(home, ".aws", "credentials")
	if err := os.Mkdir(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("[default]\naws_access_key_id = one\naws_secret_access_key = secret-one\n[other]\naws_access_key_id = two\naws_secret_access_key = secret-two\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		env  map[string]string
		want string // what the presigned URL must contain
		fail string
	}{
		"environment":     {env: map[string]string{"AWS_ACCESS_KEY_ID": "env", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SHARED_CREDENTIALS_FILE": file}, want: "Credential=env%2F"},
		"token":           {env: map[string]string{"AWS_ACCESS_KEY_ID": "env", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "tok"}, want: "X-Amz-Security-Token=tok"},
		"region":          {env: map[string]string{"AWS_ACCESS_KEY_ID": "env", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "ru-1"}, want: "%2Fru-1%2F"},
		"file":            {env: map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file}, want: "Credential=one%2F"},
		"profile":         {env: map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file, "AWS_PROFILE": "other"}, want: "Credential=two%2F"},
		"half":            {env: map[string]string{"AWS_ACCESS_KEY_ID": "env"}, fail: "AWS_SECRET_ACCESS_KEY"},
		"missing profile": {env: map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file, "AWS_PROFILE": "third"}, fail: "third"},
		"missing file":    {env: map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file + ".none"}, fail: "credentials.none"},
		"none":            {env: map[string]string{"HOME": dir}, fail: "nonymous"},
		// The file is in .aws in the directory HOME or, on Windows, USERPROFILE
		// (https://docs.aws.amazon.com/sdkref/latest/guide/file-location.html).
		"home":         {env: map[string]string{"HOME": home, "USERPROFILE": dir}, want: "Credential=one%2F"},
		"Windows":      {env: map[string]string{"USERPROFILE": home, "AWS_PROFILE": "other"}, want: "Credential=two%2F"},
		"no directory": {env: map[string]string{"AWS_PROFILE": "other"}, fail: "USERPROFILE"},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := s3.NewClient(s3.Options{Endpoint: "http://store.example:9000", Getenv: func(n string) string { return c.env[n] }})
			var u string
			if err == nil {
				u, err = client.Open(bucket.Place{Bucket: "bundles"}).PresignGet(t.Context(), "key", time.Minute)
			}
			switch {
			case c.fail != "" && (err == nil || !strings.Contains(err.Error(), c.fail) || strings.Contains(err.Error(), "secret-")):
				t.Errorf("got the error %v, want one that contains %s", err, c.fail)
			case c.fail == "" && (err != nil || !strings.Contains(u, c.want)):
				t.Errorf("got the URL %s, error %v; want a URL that contains %s", u, err, c.want)
			}
		})
	}
}

func TestInvalidOptions(t *testing.T) {
	for _, endpoint := range []string{"store.example", "ftp://store.example", "http://store.example/path", "http://user:secret@store.example", "http://", "http://store.example?x=y"} {
		if _, err := s3.NewClient(s3.Options{Endpoint: endpoint, Getenv: buckettest.Getenv}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("NewClient(endpoint %s): got the error %v, want one that does not contain the secret", endpoint, err)
		}
	}
	if _, err := s3.NewClient(s3.Options{CAFile: "s3_test.go", Getenv: buckettest.Getenv}); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("NewClient(file without certificates): got the error %v, want one that says so", err)
	}
}

// Amazon documents status 409 for two conditional writes at the same time. The client then retries the write.
func TestRetryConflictingWrites(t *testing.T) {
	s := buckettest.Start(t)
	b := s.Open(t, "")
	s.Fail(func(r buckettest.Request) (f buckettest.Fault) {
		if r.Operation == buckettest.Put {
			return buckettest.Fault{Status: http.StatusConflict, Code: "ConditionalRequestConflict"}
		}
		return f
	})
	if _, err := put(t, b, "key", "x", bucket.PutOptions{IfAbsent: true}); !errors.Is(err, bucket.ErrChanged) {
		t.Errorf("Put during conflicting writes: got the error %v, want ErrChanged", err)
	}
	if got := s.Counts()[buckettest.Put]; got < 2 {
		t.Errorf("got %d write requests, want at least 2", got)
	}
}
